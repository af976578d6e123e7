// Prometheus metrics of all services at the moment of a scrape, by the conventions of Prometheus
// (base units, `_total` for counters). Nothing is kept between two scrapes. docs/dashboard.md lists
// the metrics.
import { Counter, Gauge, Registry } from "prom-client";
import type { Latency, LockWaits, ServicePicture, State } from "../../dashboard/api.ts";

type Labels = Readonly<Record<string, string>>;
type Report = (value: number, labels?: Labels) => void;

interface Metric {
  readonly name: string;
  readonly help: string;
  /** Labels besides `service`. */
  readonly labels?: readonly string[];
  /** Reports the values of a service; counters count since its start. */
  readonly of: (service: ServicePicture, report: Report) => void;
}

/** Reports each entry of a record, with its name as a label. */
function each(record: Readonly<Record<string, number>>, label: string, report: Report): void {
  for (const [name, value] of Object.entries(record)) report(value, { [label]: name });
}

/** Reports one number of the waits for each kind of lock. */
function eachLock(
  locks: ServicePicture["locks"],
  of: (waits: LockWaits) => number,
  report: Report,
): void {
  for (const [lock, waits] of Object.entries(locks)) report(of(waits), { lock });
}

const NS_PER_S = 1e9;
/** Upper bounds of the buckets in ns: from 256 ns to 17 s, each four times the one before. */
const BOUNDS_NS = Array.from({ length: 14 }, (_, nth) => 2 ** (8 + 2 * nth));

const METRICS: readonly Metric[] = [
  {
    name: "zcache_service_info",
    help: "The codecs, pool and eviction policy of a service; always 1",
    labels: ["kind", "codec", "dense_codec", "pool", "policy", "holds"],
    of: ({ kind, setup: { codec, denseCodec, pool, policy, holds } }, tell) =>
      tell(1, { kind, codec, dense_codec: denseCodec ?? "", pool, policy, holds }),
  },
  {
    name: "zcache_page_size_bytes",
    help: "Size of a page frame",
    of: ({ setup }, tell) => tell(setup.pageSizeBytes),
  },
  {
    name: "zcache_logical_bytes",
    help: "Size of the data in memory before compression",
    of: ({ memory }, tell) => tell(memory.logicalBytes),
  },
  {
    name: "zcache_compressed_bytes",
    help: "Size of the data in the pools after compression",
    of: ({ memory }, tell) => tell(memory.compressedBytes),
  },
  {
    name: "zcache_memory_used_bytes",
    help: "Memory in use, including all metadata",
    of: ({ memory }, tell) => tell(memory.usedBytes),
  },
  {
    name: "zcache_memory_used_max_bytes",
    help: "Peak of the memory in use since the start",
    of: ({ memory }, tell) => tell(memory.usedMaxBytes),
  },
  {
    name: "zcache_memory_limit_bytes",
    help: "Limit of the memory in use",
    of: ({ memory }, tell) => tell(memory.limitBytes),
  },
  {
    name: "zcache_pressure_limit_changes_total",
    help: "Times that the limit was lowered or raised under memory pressure",
    labels: ["direction"],
    of: ({ memory: { pressure } }, tell) => {
      if (pressure === null) return;
      each({ lower: pressure.lowered, raise: pressure.raised }, "direction", tell);
    },
  },
  {
    name: "zcache_pressure_available_bytes",
    help: "Memory that the control group or the machine has left",
    of: ({ memory: { pressure } }, tell) => {
      if (pressure !== null) tell(pressure.availableBytes);
    },
  },
  {
    name: "zcache_memory_part_bytes",
    help: "Memory in use by part; the parts add up to zcache_memory_used_bytes",
    labels: ["part"],
    of: ({ memory }, tell) =>
      each(
        Object.fromEntries(
          Object.entries(memory.parts).map(([part, bytes]) => [snakeCase(part), bytes]),
        ),
        "part",
        tell,
      ),
  },
  {
    name: "zcache_entries",
    help: "Pages or values stored, by place",
    labels: ["place"],
    of: ({ stored: { inPool, sameFilled, inFile } }, tell) =>
      each({ pool: inPool, same_filled: sameFilled, file: inFile }, "place", tell),
  },
  {
    name: "zcache_huge_entries",
    help: "Pages or values in the pool that are stored uncompressed",
    of: ({ stored }, tell) => tell(stored.huge),
  },
  {
    name: "zcache_operations_total",
    help: "Operations requested by clients",
    labels: ["operation"],
    of: ({ operations }, tell) => each(operations, "operation", tell),
  },
  {
    name: "zcache_hits_total",
    help: "Look-ups that found an entry",
    of: ({ hits }, tell) => tell(hits),
  },
  {
    name: "zcache_misses_total",
    help: "Look-ups that found no entry",
    of: ({ misses }, tell) => tell(misses),
  },
  {
    name: "zcache_evictions_total",
    help: "Pages or values removed by the store rather than by a client",
    labels: ["reason"],
    of: ({ evictions }, tell) => each(evictions, "reason", tell),
  },
  {
    name: "zcache_refusals_total",
    help: "Pages or values that the store did not accept",
    labels: ["reason"],
    of: ({ refusals }, tell) => each(refusals, "reason", tell),
  },
  {
    name: "zcache_expired_total",
    help: "Values removed because their time to live was over",
    of: ({ expired }, tell) => tell(expired),
  },
  {
    name: "zcache_recompressed_total",
    help: "Pages or values recompressed with the denser codec",
    of: ({ recompressed }, tell) => tell(recompressed),
  },
  {
    name: "zcache_recoveries_total",
    help: "Threads that died inside the store and whose changes were rolled back",
    of: ({ recoveries }, tell) => tell(recoveries),
  },
  {
    name: "zcache_lock_waits_total",
    help: "Acquisitions of a lock that had to wait, by kind of lock",
    labels: ["lock"],
    of: ({ locks }, tell) => eachLock(locks, ({ contended }) => contended, tell),
  },
  {
    name: "zcache_lock_wait_seconds_total",
    help: "Time of all threads spent waiting for locks, by kind of lock",
    labels: ["lock"],
    of: ({ locks }, tell) => eachLock(locks, ({ waitedNs }) => waitedNs / NS_PER_S, tell),
  },
  {
    name: "zcache_lock_sleeps_total",
    help: "Times that a thread slept while it waited for a lock, by kind of lock",
    labels: ["lock"],
    of: ({ locks }, tell) => eachLock(locks, ({ slept }) => slept, tell),
  },
  {
    name: "zcache_internal_errors_total",
    help: "Unexpected errors; each ended one connection, request or task",
    of: ({ internalErrors }, tell) => tell(internalErrors),
  },
  {
    name: "zcache_write_back_entries_total",
    help: "Pages or values written to the write-back file",
    of: ({ writeBack }, tell) => tell(writeBack.writtenPages),
  },
  {
    name: "zcache_write_back_bytes_total",
    help: "Bytes written to the write-back file, after compression",
    of: ({ writeBack }, tell) => tell(writeBack.writtenBytes),
  },
  {
    name: "zcache_write_back_reads_total",
    help: "Pages or values read from the write-back file",
    of: ({ writeBack }, tell) => tell(writeBack.readPages),
  },
  {
    name: "zcache_write_back_file_bytes",
    help: "Bytes of live data in the write-back file; absent without a file",
    of: ({ writeBack: { file } }, tell) => {
      if (file !== null) tell(file.usedBytes);
    },
  },
  {
    name: "zcache_write_back_file_limit_bytes",
    help: "Maximum size of the write-back file; absent without a file",
    of: ({ writeBack: { file } }, tell) => {
      if (file !== null) tell(file.maxBytes);
    },
  },
  {
    name: "zcache_remote_pages",
    help: "Pages in the remote tier or on their way; absent without one, as all that follow",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.pages);
    },
  },
  {
    name: "zcache_remote_bytes",
    help: "Bytes of these pages, after compression",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.bytes);
    },
  },
  {
    name: "zcache_remote_in_transit",
    help: "Pages that are being sent",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.inTransit);
    },
  },
  {
    name: "zcache_remote_sent_total",
    help: "Pages that the remote tier has acknowledged",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.sent);
    },
  },
  {
    name: "zcache_remote_failed_total",
    help: "Attempts to send a page that ended without an answer",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.failed);
    },
  },
  {
    name: "zcache_remote_refused_total",
    help: "Pages that the remote tier has refused for want of memory",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.refused);
    },
  },
  {
    name: "zcache_remote_reads_total",
    help: "Pages read from the remote tier",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.read);
    },
  },
  {
    name: "zcache_remote_read_failures_total",
    help: "Reads from the remote tier that found no page",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.readFailures);
    },
  },
  {
    name: "zcache_remote_repatriated_total",
    help: "Pages that have returned in the background",
    of: ({ remote }, tell) => {
      if (remote !== null) tell(remote.repatriated);
    },
  },
  {
    name: "zcache_connections",
    help: "Connections open now",
    of: ({ connections }, tell) => tell(connections.now),
  },
  {
    name: "zcache_connections_accepted_total",
    help: "Connections accepted",
    of: ({ connections }, tell) => tell(connections.accepted),
  },
  {
    name: "zcache_connections_refused_total",
    help: "Connections refused",
    of: ({ connections }, tell) => tell(connections.refused),
  },
];

export class Metrics {
  readonly #registry = new Registry();
  readonly #state: () => State;
  #scraped: State | undefined;

  /** @param state called once for each scrape */
  constructor(state: () => State) {
    this.#state = state;
    for (const metric of METRICS) this.#register(metric);
    this.#registerLatency();
    this.#registerProcess();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The text of one scrape. */
  async text(): Promise<string> {
    this.#scraped = this.#state();
    return await this.#registry.metrics();
  }

  #register({ name, help, labels = [], of }: Metric): void {
    const collect = (report: (service: string, value: number, labels: Labels) => void) => {
      for (const service of this.#scraped?.services ?? []) {
        of(service, (value, more = {}) => report(service.name, value, more));
      }
    };
    const labelNames = ["service", ...labels];
    const options = { name, help, labelNames, registers: [this.#registry] };
    if (name.endsWith("_total")) {
      const counter = new Counter({
        ...options,
        collect: () => {
          counter.reset();
          collect((service, value, more) => counter.inc({ service, ...more }, value));
        },
      });
      return;
    }
    const gauge = new Gauge({
      ...options,
      collect: () => {
        gauge.reset();
        collect((service, value, more) => gauge.set({ service, ...more }, value));
      },
    });
  }

  /** prom-client's Histogram only takes single observations, but these buckets exist already. */
  #registerLatency(): void {
    const name = "zcache_latency_seconds";
    const metric = {
      name,
      get: async () => ({
        name,
        help: "Latency of a sample of operations; the sum is exact to a sixteenth",
        type: "histogram",
        aggregator: "sum",
        values: (this.#scraped?.services ?? []).flatMap((service) =>
          Object.entries(service.latency).flatMap(([operation, latency]) =>
            histogramValues(name, { service: service.name, operation }, latency),
          ),
        ),
      }),
      reset: () => {},
    };
    this.#registry.registerMetric(metric as unknown as Gauge);
  }

  /** Metrics of the process, by Prometheus's standard names. */
  #registerProcess(): void {
    const registers = [this.#registry];
    const gauges: readonly [name: string, help: string, of: (state: State) => number][] = [
      [
        "process_resident_memory_bytes",
        "Resident memory of the process",
        (state) => state.residentBytes,
      ],
      [
        "process_start_time_seconds",
        "Start time of the process, in seconds since 1970",
        (state) => (state.nowMs - state.uptimeMs) / 1000,
      ],
    ];
    for (const [name, help, of] of gauges) {
      const gauge = new Gauge({
        ...{ name, help, registers },
        collect: () => {
          if (this.#scraped !== undefined) gauge.set(of(this.#scraped));
        },
      });
    }
    const errors = new Counter({
      name: "zcache_daemon_internal_errors_total",
      help: "Unexpected errors outside the services: web page, control socket, tasks",
      registers,
      collect: () => {
        errors.reset();
        errors.inc(this.#scraped?.internalErrors ?? 0);
      },
    });
    const cpu = new Counter({
      name: "process_cpu_seconds_total",
      help: "Processor time of all threads",
      registers,
      collect: () => {
        const { user, system } = process.cpuUsage();
        cpu.reset();
        cpu.inc((user + system) / 1e6);
      },
    });
    const build = new Gauge({
      name: "zcache_build_info",
      help: "Version of the program",
      labelNames: ["version"],
      registers,
      collect: () => {
        build.set({ version: this.#scraped?.version ?? "" }, 1);
      },
    });
  }
}

/** The lines of one histogram: the cumulative count of each bucket, the sum and the count. */
function histogramValues(name: string, labels: Labels, latency: Latency) {
  const upTo = (bound: number) =>
    latency.reduce((sum, [upToNs, count]) => sum + (upToNs <= bound ? count : 0), 0);
  const count = upTo(Number.POSITIVE_INFINITY);
  // A bucket of the store is an eighth of its upper bound wide, so its middle lies a sixteenth
  // below that bound.
  const sumNs = latency.reduce((sum, [upToNs, n]) => sum + upToNs * (15 / 16) * n, 0);
  const bucket = `${name}_bucket`;
  return [
    ...BOUNDS_NS.map((bound) => ({
      metricName: bucket,
      labels: { le: bound / NS_PER_S, ...labels },
      value: upTo(bound),
    })),
    { metricName: bucket, labels: { le: "+Inf", ...labels }, value: count },
    { metricName: `${name}_sum`, labels, value: sumNs / NS_PER_S },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

/** `poolMetadata` as `pool_metadata`. */
function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
