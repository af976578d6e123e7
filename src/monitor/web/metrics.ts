// Prometheus's metrics: what the services say of themselves at the moment of a scrape, by the
// conventions of Prometheus (base units, `_total` for what only grows). Nothing is kept between two
// scrapes. docs/dashboard.md lists them.
import { Counter, Gauge, Registry } from "prom-client";
import type { Latency, ServicePicture, State } from "../../dashboard/api.ts";

type Labels = Readonly<Record<string, string>>;
type Tell = (value: number, labels?: Labels) => void;

interface Metric {
  readonly name: string;
  readonly help: string;
  /** Besides `service`. */
  readonly labels?: readonly string[];
  /** Tells what a service has to say; a counter's value since the service's start. */
  readonly of: (service: ServicePicture, tell: Tell) => void;
}

/** Tells each entry of a record under a label. */
function each(record: Readonly<Record<string, number>>, label: string, tell: Tell): void {
  for (const [name, value] of Object.entries(record)) tell(value, { [label]: name });
}

const NS_PER_S = 1e9;
/** Upper ends of Prometheus's buckets, in ns: from a quarter of a microsecond to 17 s, by fours. */
const BOUNDS_NS = Array.from({ length: 14 }, (_, nth) => 2 ** (8 + 2 * nth));

const METRICS: readonly Metric[] = [
  {
    name: "zcache_service_info",
    help: "What a service is made of",
    labels: ["kind", "codec", "dense_codec", "pool", "policy", "holds"],
    of: ({ kind, setup: { codec, denseCodec, pool, policy, holds } }, tell) =>
      tell(1, { kind, codec, dense_codec: denseCodec ?? "", pool, policy, holds }),
  },
  {
    name: "zcache_page_size_bytes",
    help: "Bytes of a page frame",
    of: ({ setup }, tell) => tell(setup.pageSizeBytes),
  },
  {
    name: "zcache_logical_bytes",
    help: "Content in memory, as it came in",
    of: ({ memory }, tell) => tell(memory.logicalBytes),
  },
  {
    name: "zcache_compressed_bytes",
    help: "Content in the pools, as it is stored",
    of: ({ memory }, tell) => tell(memory.compressedBytes),
  },
  {
    name: "zcache_memory_used_bytes",
    help: "Memory in use, everything counted",
    of: ({ memory }, tell) => tell(memory.usedBytes),
  },
  {
    name: "zcache_memory_used_max_bytes",
    help: "The most memory that was in use since the start",
    of: ({ memory }, tell) => tell(memory.usedMaxBytes),
  },
  {
    name: "zcache_memory_limit_bytes",
    help: "Memory that may be in use",
    of: ({ memory }, tell) => tell(memory.limitBytes),
  },
  {
    name: "zcache_memory_part_bytes",
    help: "What the memory in use is used for; the parts add up to it",
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
    help: "Pages or values stored, by where they are",
    labels: ["place"],
    of: ({ stored: { inPool, sameFilled, inFile } }, tell) =>
      each({ pool: inPool, same_filled: sameFilled, file: inFile }, "place", tell),
  },
  {
    name: "zcache_huge_entries",
    help: "Of those in the pool, stored as they came",
    of: ({ stored }, tell) => tell(stored.huge),
  },
  {
    name: "zcache_operations_total",
    help: "Operations that clients asked for",
    labels: ["operation"],
    of: ({ operations }, tell) => each(operations, "operation", tell),
  },
  {
    name: "zcache_hits_total",
    help: "Look-ups that found something",
    of: ({ hits }, tell) => tell(hits),
  },
  {
    name: "zcache_misses_total",
    help: "Look-ups that found nothing",
    of: ({ misses }, tell) => tell(misses),
  },
  {
    name: "zcache_evictions_total",
    help: "Pages or values that went without being asked to",
    labels: ["reason"],
    of: ({ evictions }, tell) => each(evictions, "reason", tell),
  },
  {
    name: "zcache_refusals_total",
    help: "Times that something was not taken in",
    labels: ["reason"],
    of: ({ refusals }, tell) => each(refusals, "reason", tell),
  },
  {
    name: "zcache_expired_total",
    help: "Values removed because their time was over",
    of: ({ expired }, tell) => tell(expired),
  },
  {
    name: "zcache_recompressed_total",
    help: "Pages or values compressed anew, more densely",
    of: ({ recompressed }, tell) => tell(recompressed),
  },
  {
    name: "zcache_recoveries_total",
    help: "Threads that died inside of the store, and whose steps were undone",
    of: ({ recoveries }, tell) => tell(recoveries),
  },
  {
    name: "zcache_internal_errors_total",
    help: "Unexpected errors, each of which ended one connection, request or task",
    of: ({ internalErrors }, tell) => tell(internalErrors),
  },
  {
    name: "zcache_write_back_entries_total",
    help: "Pages or values written to the write-back file",
    of: ({ writeBack }, tell) => tell(writeBack.writtenPages),
  },
  {
    name: "zcache_write_back_bytes_total",
    help: "Their bytes, as compressed",
    of: ({ writeBack }, tell) => tell(writeBack.writtenBytes),
  },
  {
    name: "zcache_write_back_reads_total",
    help: "Pages or values read from the write-back file",
    of: ({ writeBack }, tell) => tell(writeBack.readPages),
  },
  {
    name: "zcache_write_back_file_bytes",
    help: "Bytes in the write-back file that are wanted; absent without a file",
    of: ({ writeBack: { file } }, tell) => {
      if (file !== null) tell(file.usedBytes);
    },
  },
  {
    name: "zcache_write_back_file_limit_bytes",
    help: "Bytes that the write-back file may have",
    of: ({ writeBack: { file } }, tell) => {
      if (file !== null) tell(file.maxBytes);
    },
  },
  {
    name: "zcache_connections",
    help: "Clients connected",
    of: ({ connections }, tell) => tell(connections.now),
  },
  {
    name: "zcache_connections_accepted_total",
    help: "Clients that came",
    of: ({ connections }, tell) => tell(connections.accepted),
  },
  {
    name: "zcache_connections_refused_total",
    help: "Clients that were turned away",
    of: ({ connections }, tell) => tell(connections.refused),
  },
];

export class Metrics {
  readonly #registry = new Registry();
  readonly #state: () => State;
  #scraped: State | undefined;

  /** @param state asked once for each scrape */
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
    const collect = (tell: (service: string, value: number, labels: Labels) => void) => {
      for (const service of this.#scraped?.services ?? []) {
        of(service, (value, more = {}) => tell(service.name, value, more));
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

  /** A histogram of the client's can only be observed into; this one is read from elsewhere. */
  #registerLatency(): void {
    const name = "zcache_latency_seconds";
    const metric = {
      name,
      get: async () => ({
        name,
        help: "Times of the operations that are measured; the sum to within a sixteenth",
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

  /** What is the process's and not a service's, by the names that Prometheus has for it. */
  #registerProcess(): void {
    const registers = [this.#registry];
    const gauges: readonly [name: string, help: string, of: (state: State) => number][] = [
      ["process_resident_memory_bytes", "Resident memory", (state) => state.residentBytes],
      [
        "process_start_time_seconds",
        "When the process began, in seconds since 1970",
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
      help: "Unexpected errors outside of the services: web page, control socket, tasks",
      registers,
      collect: () => {
        errors.reset();
        errors.inc(this.#scraped?.internalErrors ?? 0);
      },
    });
    const cpu = new Counter({
      name: "process_cpu_seconds_total",
      help: "Processor time, of all threads",
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

/** The lines of one histogram: how many took up to each bound, the sum, and how many there are. */
function histogramValues(name: string, labels: Labels, latency: Latency) {
  const upTo = (bound: number) =>
    latency.reduce((sum, [upToNs, count]) => sum + (upToNs <= bound ? count : 0), 0);
  const count = upTo(Number.POSITIVE_INFINITY);
  // A bucket of the store's is an eighth of its value wide: its middle is a sixteenth below its
  // end.
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
