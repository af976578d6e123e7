// The text of `zcache top`: the state of a daemon, and rates between two states. The lines are made
// without a terminal, so they can be tested.
import { formatBytes } from "../base/units.ts";
import { quantile, type ServicePicture, type State } from "../dashboard/api.ts";
import { count, micros, percent, times } from "../lab/report/format.ts";
import { bar } from "../lab/report/text.ts";

const BAR_WIDTH = 30;
const LABEL_WIDTH = 15;

/** The rate per second between two counts. A count that is lower than before has restarted at 0. */
function rate(before: number | undefined, after: number, seconds: number): number {
  const since = before === undefined || before > after ? 0 : before;
  return seconds > 0 ? (after - since) / seconds : 0;
}

/** A rate as text; a small one has a decimal. */
export function perSecond(value: number): string {
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : count(Math.round(value))}/s`;
}

/** A service at two moments, or since its start if there is no earlier one. */
class Interval {
  readonly before: ServicePicture | undefined;
  readonly after: ServicePicture;
  readonly seconds: number;

  constructor(before: State | undefined, now: State, after: ServicePicture) {
    // A shorter uptime means that another daemon has replaced the previous one.
    const isSame = before !== undefined && before.uptimeMs <= now.uptimeMs;
    this.before = isSame ? before.services.find(({ name }) => name === after.name) : undefined;
    const sinceMs = this.before === undefined ? now.uptimeMs : now.nowMs - before!.nowMs;
    this.after = after;
    this.seconds = sinceMs / 1000;
  }

  per(of: (picture: ServicePicture) => number): number {
    const { before, after, seconds } = this;
    return rate(before === undefined ? undefined : of(before), of(after), seconds);
  }

  /** The rates of several counts by name, without those that are 0. */
  rates(of: (picture: ServicePicture) => Readonly<Record<string, number>>): string[] {
    return Object.keys(of(this.after)).flatMap((name) => {
      const value = this.per((picture) => of(picture)[name] ?? 0);
      return value > 0 ? [`${name} ${perSecond(value)}`] : [];
    });
  }

  /** The rate of operations of all kinds. */
  get operations(): number {
    return this.per(({ operations }) => total(operations));
  }

  /** Hits per look-up; undefined without look-ups. */
  get hitShare(): number | undefined {
    const [hits, misses] = [this.per((one) => one.hits), this.per((one) => one.misses)];
    return hits + misses > 0 ? hits / (hits + misses) : undefined;
  }

  get evictions(): number {
    return this.per(({ evictions }) => total(evictions));
  }

  get writtenBack(): number {
    return this.per(({ writeBack }) => writeBack.writtenBytes);
  }
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}

function ratio({ memory: { logicalBytes, usedBytes } }: ServicePicture): string {
  return usedBytes > 0 ? times(logicalBytes / usedBytes) : "–";
}

function line(label: string, ...parts: (string | undefined)[]): string {
  return `  ${label.padEnd(LABEL_WIDTH)}${parts.filter((part) => part).join("   ")}`.trimEnd();
}

function orNone(parts: readonly string[]): string {
  return parts.length > 0 ? parts.join("   ") : "none";
}

/** The page without colours. The first line is the heading. */
export function pageLines(before: State | undefined, now: State): string[] {
  const { version, uptimeMs, residentBytes, services } = now;
  const errors = services.reduce((sum, one) => sum + one.internalErrors, now.internalErrors);
  const span =
    before === undefined ? "average rates since the start" : "rates of the last interval";
  const head = [
    `zcache ${version}`,
    `up ${duration(uptimeMs)}`,
    `resident ${formatBytes(residentBytes)}`,
    span,
    ...(errors > 0 ? [`internal errors ${count(errors)}`] : []),
  ];
  const pages = services.map((service) => serviceLines(new Interval(before, now, service)));
  return [head.join("   "), ...pages.flatMap((lines) => ["", ...lines])];
}

function serviceLines(interval: Interval): string[] {
  const { after } = interval;
  const { name, kind, setup, connections } = after;
  const codecs = [setup.codec, ...(setup.denseCodec === null ? [] : [setup.denseCodec])];
  const title = name === kind ? name : `${name} (${kind})`;
  return [
    `${title}   ${codecs.join(" and ")}   ${setup.pool}   ${setup.policy}`,
    ...memoryLines(after),
    line("hits", ...hits(interval)),
    line("operations", perSecond(interval.operations), ...interval.rates((one) => one.operations)),
    line("evicted", orNone(interval.rates((one) => one.evictions))),
    line(
      "refused",
      orNone(interval.rates((one) => one.refusals)),
      after.expired > 0 ? `expired ${perSecond(interval.per((one) => one.expired))}` : undefined,
    ),
    ...fileLines(interval),
    ...latencyLines(interval),
    line(
      "clients",
      `${count(connections.now)} connected`,
      `${perSecond(interval.per((one) => one.connections.accepted))} new`,
      `${count(connections.refused)} refused so far`,
    ),
  ];
}

function hits(interval: Interval): string[] {
  const { hitShare } = interval;
  if (hitShare === undefined) return ["no look-ups"];
  const found = interval.per((one) => one.hits);
  const all = interval.per((one) => one.hits + one.misses);
  return [percent(hitShare), `${perSecond(found)} of ${perSecond(all)}`];
}

function memoryLines(after: ServicePicture): string[] {
  const { memory, stored, setup, recompressed } = after;
  const { logicalBytes, compressedBytes, usedBytes, limitBytes, usedMaxBytes } = memory;
  const share = limitBytes > 0 ? usedBytes / limitBytes : 0;
  return [
    line(
      "memory",
      `${bar(Math.min(1, share), 1, BAR_WIDTH)} ${formatBytes(usedBytes)} of ${formatBytes(
        limitBytes,
      )}, ${percent(share)}`,
      `peak ${formatBytes(usedMaxBytes)}`,
    ),
    line(
      "ratio",
      ratio(after),
      `${formatBytes(logicalBytes)} of data`,
      `${formatBytes(compressedBytes)} compressed`,
    ),
    line(
      setup.holds,
      `${count(stored.inPool)} in memory`,
      `${count(stored.sameFilled)} same-filled`,
      `${count(stored.huge)} uncompressed`,
      recompressed > 0 ? `${count(recompressed)} recompressed so far` : undefined,
    ),
  ];
}

function fileLines(interval: Interval): string[] {
  const { writeBack, stored } = interval.after;
  if (writeBack.file === null) return [];
  const { usedBytes, maxBytes } = writeBack.file;
  return [
    line(
      "write-back",
      `${formatBytes(Math.round(interval.writtenBack))}/s out`,
      `${perSecond(interval.per((one) => one.writeBack.readPages))} read`,
      `${count(stored.inFile)} in the file`,
      `${formatBytes(usedBytes)} of ${formatBytes(maxBytes)}`,
    ),
  ];
}

/** Latency since the earlier state, for operations that were measured. */
function latencyLines({ before, after }: Interval): string[] {
  return Object.entries(after.latency).flatMap(([name, buckets]) => {
    const old = new Map(before?.latency[name]);
    const since = buckets.map(([upTo, times]): [number, number] => {
      const had = old.get(upTo) ?? 0;
      return [upTo, times - (had > times ? 0 : had)];
    });
    if (since.every(([, times]) => times === 0)) return [];
    const up = (share: number) => `≤ ${micros(quantile(since, share) ?? 0)}`;
    return [line(name.replace("_", " "), `p50 ${up(0.5)}`, `p99 ${up(0.99)}`)];
  });
}

const ROW_HEAD = [
  ["time", 8],
  ["service", 9],
  ["ops/s", 10],
  ["hits", 8],
  ["used", 9],
  ["ratio", 7],
  ["evict/s", 9],
  ["back/s", 9],
  ["clients", 8],
] as const;

/** One line for each service, for pipes; `rowHead` is the heading. */
export function rowLines(before: State | undefined, now: State): string[] {
  const time = new Date(now.nowMs).toTimeString().slice(0, 8);
  return now.services.map((service) => {
    const interval = new Interval(before, now, service);
    const { hitShare } = interval;
    return cells([
      time,
      service.name,
      count(Math.round(interval.operations)),
      hitShare === undefined ? "-" : percent(hitShare).replace(" ", ""),
      formatBytes(service.memory.usedBytes).replace(" ", ""),
      ratio(service),
      count(Math.round(interval.evictions)),
      formatBytes(Math.round(interval.writtenBack)).replace(" ", ""),
      count(service.connections.now),
    ]);
  });
}

export function rowHead(): string {
  return cells(ROW_HEAD.map(([name]) => name));
}

function cells(texts: readonly string[]): string {
  return texts
    .map((text, nth) => {
      const width = ROW_HEAD[nth]![1];
      return nth < 2 ? text.padEnd(width) : text.padStart(width);
    })
    .join(" ");
}

/** `3 d 04:05:06`, `4:05:06`. */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  const [days, hours] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24];
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days > 0 ? `${days} d ${two(hours)}:${rest}` : `${hours}:${rest}`;
}
