// Monitoring of services: what metrics, the web page and `zcache top` read of a service.
//
//   Monitor             the interface: counters, frame map, size histogram, what-if comparison
//   monitorNbd          a monitor of the NBD server and its store
//   monitorMemcached    a monitor of the memcached server and its store
//   control, web/       the control socket; the web server with its API, metrics and access rules
//   monitored_store     the part of a store that is read
//   hit_rates           a study of hit rates with other limits and policies
//   what_if_worker, hit_rates_worker    the threads of comparisons and studies
//
// Concurrency: everything runs on the daemon's main thread, which also serves clients. Walks
// through the store run in steps of about a millisecond with turns of the event loop in between; a
// what-if comparison runs in a worker, and so does a study. Limits: a sample has at most SAMPLE_MAX
// entries and 16 MiB, and a comparison takes at most a minute.
import type { Worker } from "node:worker_threads";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import type {
  Choices,
  Connections,
  FrameMap,
  HitRates,
  Latency,
  ServicePicture,
  Setup,
  Sizes,
  WhatIf,
} from "../dashboard/api.ts";
import { CELL_BYTES, FrameMapBuilder } from "../lab/frame_map.ts";
import type { SampledContent, WhatIfResult } from "../lab/what_if.ts";
import type { MemcachedServer } from "../memcached/server.ts";
import type { NbdServer } from "../nbd/server.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { startWorker } from "../node/workers.ts";
import { poolTypes } from "../pool/registry.ts";
import type { SampleTaker } from "../store/sampler.ts";
import type { SizeHistogram } from "../store/size_histogram.ts";
import type { StoreStats } from "../store/statistics.ts";
import { HitRateStudy } from "./hit_rates.ts";
import { inSteps, type MonitoredStore } from "./monitored_store.ts";
import { WORKER } from "./what_if_worker.binary.ts";

/** A service of the daemon as the web server, metrics and `zcache top` read it. */
export interface Monitor {
  /** Unique among the services of a daemon: a letter, then letters, digits, `-`, `_`, `.`. */
  readonly name: string;
  readonly kind: string;
  /** One consistent snapshot of all counters; cheap enough for several calls a second. */
  picture(): ServicePicture;
  /**
   * Page frames [from, to) in at most `cellsMax` cells, read in steps.
   * @param to a number above the count of frames means all
   */
  frames(from: number, to: number, cellsMax: number): Promise<FrameMap>;
  /** The histogram of stored sizes, read in steps. */
  sizes(): Promise<Sizes>;
  choices(): Choices;
  /**
   * Measures how much memory a sample of the content would take with another codec and pool. A
   * worker does the work.
   * @throws ZcacheError ERR_OPTION for a name that is not among the choices
   */
  whatIf(codec: string, pool: string): Promise<WhatIf>;
  /**
   * The last study of hit rates, which tells those that the live traffic would have with other
   * limits and policies.
   * @param seconds starts a study of this length, unless one is running
   */
  hitRates(seconds?: number): HitRates;
  /** Ends walks, comparisons and studies that are running. */
  close(): Promise<void>;
}

/** Counters that a server keeps beside those of its store, at one moment. */
export interface ServiceFigures {
  /** Operations since the start of the service, by name. */
  readonly operations: Readonly<Record<string, number>>;
  /** Look-ups (default: those that the store counts). */
  readonly lookups?: { readonly hits: number; readonly misses: number };
  readonly connections: Connections;
  /** Unexpected errors (default: 0). */
  readonly internalErrors?: number;
  /** Latency of requests as the server measures it, by operation (default: none). */
  readonly latency?: Readonly<Record<string, Latency>>;
}

export interface ServiceParts {
  readonly name: string;
  readonly kind: string;
  readonly store: MonitoredStore;
  figures(): ServiceFigures;
}

/** The part of a block device that is monitored. */
interface CountedDevice {
  requests(): { readonly reads: number; readonly writes: number; readonly discards: number };
}

/** Monitors the NBD server with its devices, which share one store. */
export function monitorNbd(
  store: MonitoredStore,
  server: NbdServer,
  devices: readonly CountedDevice[],
  name = "nbd",
): Monitor {
  const figures = (): ServiceFigures => {
    const operations = { read: 0, write: 0, discard: 0 };
    for (const device of devices) {
      const { reads, writes, discards } = device.requests();
      operations.read += reads;
      operations.write += writes;
      operations.discard += discards;
    }
    const { connections: now, accepted, refused, internal_errors } = server.stats();
    const latency = Object.fromEntries(
      Object.entries(server.latencies()).map(([kind, times]) => [`request_${kind}`, times]),
    );
    return {
      operations,
      connections: { now, accepted, refused },
      latency,
      internalErrors: internal_errors,
    };
  };
  return monitorStore({ name, kind: "nbd", store, figures });
}

/** Monitors the memcached server with its store of values. */
export function monitorMemcached(
  store: MonitoredStore,
  server: MemcachedServer,
  name = "memcached",
): Monitor {
  const figures = (): ServiceFigures => {
    const stats = server.stats();
    const sum = (...keys: string[]) => keys.reduce((all, key) => all + Number(stats[key] ?? 0), 0);
    return {
      operations: {
        get: sum("cmd_get"),
        set: sum("cmd_set"),
        delete: sum("delete_hits", "delete_misses"),
        incr: sum("incr_hits", "incr_misses"),
        decr: sum("decr_hits", "decr_misses"),
        cas: sum("cas_hits", "cas_misses", "cas_badval"),
        touch: sum("cmd_touch"),
        flush: sum("cmd_flush"),
      },
      latency: { request_batch: server.latency() },
      lookups: { hits: sum("get_hits"), misses: sum("get_misses") },
      connections: {
        now: sum("curr_connections"),
        accepted: sum("total_connections"),
        refused: sum("rejected_connections"),
      },
      internalErrors: sum("internal_errors"),
    };
  };
  return monitorStore({ name, kind: "memcached", store, figures });
}

/** Steps of the size histogram for one request; the next request continues the walk. */
const HISTOGRAM_STEPS_MAX = 1500;
/** The most pages or values, and bytes, in a sample of a store's content. */
export const SAMPLE_MAX = 2000;
const SAMPLE_BYTES_MAX = 16 * MIB;
/** The slowest codecs need less for such a sample. */
const WHAT_IF_MS = 60_000;

/** Monitors a service by its store and the counters of its server. */
export function monitorStore(parts: ServiceParts): Monitor {
  return new StoreMonitor(parts);
}

class StoreMonitor implements Monitor {
  readonly name: string;
  readonly kind: string;
  readonly #parts: ServiceParts;
  readonly #workers = new Set<Worker>();
  /** The size histogram that is being filled, and the last one that is complete. */
  #filling: SizeHistogram | undefined;
  #complete: SizeHistogram | undefined;
  readonly #ending = new AbortController();
  readonly #study: HitRateStudy;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.kind = parts.kind;
    this.#study = new HitRateStudy(parts.store);
  }

  picture(): ServicePicture {
    const { name, kind, store } = this.#parts;
    const stats = store.stats();
    const figures = this.#parts.figures();
    const { operations, connections, lookups, latency, internalErrors = 0 } = figures;
    const { hits, misses } = lookups ?? stats.counters;
    return {
      ...{ name, kind, setup: setupOf(store) },
      ...pictureOf(stats),
      ...{ operations, hits, misses, connections, internalErrors },
      latency: { ...latencyOf(store), ...latency },
    };
  }

  async frames(from: number, to: number, cellsMax: number): Promise<FrameMap> {
    const { store } = this.#parts;
    const builder = new FrameMapBuilder(store.inspection, from, to, cellsMax);
    await this.#inSteps(() => builder.step());
    const [first, second] = store.inspection.frameClasses;
    const { perCell, framesTotal, uses, byClass, cells } = builder;
    return {
      ...{ from: builder.from, to: builder.to, perCell, framesTotal, uses },
      cellBytes: CELL_BYTES,
      pageSizeBytes: store.pageSize,
      classes: first === second ? first! : "",
      byClass: Array.from(byClass, ([objectClass, sum]) => ({ class: objectClass, ...sum })).sort(
        (a, b) => a.class - b.class,
      ),
      cells: Buffer.from(cells).toString("base64"),
    };
  }

  async sizes(): Promise<Sizes> {
    const { store } = this.#parts;
    const filling = this.#filling ?? store.inspection.sizes();
    this.#filling = filling;
    let steps = HISTOGRAM_STEPS_MAX;
    let isWhole = false;
    await this.#inSteps(() => {
      isWhole = filling.step();
      return isWhole || --steps === 0;
    });
    if (isWhole) {
      this.#filling = undefined;
      this.#complete = filling;
    }
    // The last complete histogram is better than a later one that is not complete yet.
    const { looked, sameFilled, bins, byCodec } = this.#complete ?? filling;
    const [raw, fast, dense] = byCodec;
    const { ephemeral, persistent } = store.stats();
    return {
      ...{ looked, of: ephemeral.pagesInMemory + persistent.pagesInMemory, sameFilled },
      pageSizeBytes: store.pageSize,
      bins: [...bins],
      ...{ raw: raw!, fast: fast!, dense: dense! },
    };
  }

  choices(): Choices {
    const codecs = nodeCodecs().list();
    return {
      codecs: codecs.filter((one) => one.available).map((one) => one.name),
      pools: poolTypes(),
    };
  }

  async whatIf(codec: string, pool: string): Promise<WhatIf> {
    const { codecs, pools } = this.choices();
    checkChoice("codec", codec, codecs);
    checkChoice("pool", pool, pools);
    const { store } = this.#parts;
    const drawn = new DrawnSample(store);
    const sampler = store.inspection.sample(drawn.wanted, (Math.random() * 2 ** 32) >>> 0, drawn);
    await this.#inSteps(() => sampler.step());
    const content = drawn.content();
    const current = { codec: store.options.codec, pool: poolOf(store) };
    const rows = await this.#compare({
      content,
      codecs: [...new Set([current.codec, codec])],
      pools: [...new Set([current.pool, pool])],
    });
    const originalBytes = content.bytes.length + content.sameFilled * store.pageSize;
    return {
      sampled: content.sizes.length + content.sameFilled,
      of: sampler.population,
      sameFilled: content.sameFilled,
      ...{ originalBytes, storedBytes: drawn.storedBytes },
      rows: rows.map((row) => ({
        ...row,
        isCurrent: row.codec === current.codec && row.pool === current.pool,
      })),
    };
  }

  hitRates(seconds?: number): HitRates {
    if (seconds !== undefined) this.#study.start(seconds);
    return this.#study.state();
  }

  async close(): Promise<void> {
    this.#ending.abort(new ZcacheError("ERR_STORE_CLOSED", "the service has ended"));
    await this.#study.close();
    await Promise.all([...this.#workers].map((worker) => worker.terminate()));
  }

  #inSteps(step: () => boolean): Promise<void> {
    return inSteps(step, this.#ending.signal);
  }

  async #compare(task: WhatIfTask): Promise<readonly WhatIfResult[]> {
    const worker = startWorker(WORKER, { workerData: task });
    worker.unref();
    this.#workers.add(worker);
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const fail = (why: string) => reject(new ZcacheError("ERR_IO", `the comparison ${why}`));
        timer = setTimeout(() => fail(`took more than ${WHAT_IF_MS} ms`), WHAT_IF_MS).unref();
        worker.on("error", (cause) => reject(cause));
        worker.on("exit", () => fail("was ended"));
        worker.on("message", (answer: WhatIfAnswer) => {
          if ("results" in answer) resolve(answer.results);
          else reject(new ZcacheError(answer.code, answer.message));
        });
      });
    } finally {
      clearTimeout(timer);
      this.#workers.delete(worker);
      await worker.terminate();
    }
  }
}

/** The worker's task: the sample, and what to try on it. */
export interface WhatIfTask {
  readonly content: SampledContent;
  readonly codecs: readonly string[];
  readonly pools: readonly string[];
}

/** The worker's answer. */
export type WhatIfAnswer =
  | { readonly results: readonly WhatIfResult[] }
  | { readonly code: ErrorCode; readonly message: string };

/** A sample in shared memory, which the worker reads without a copy. */
class DrawnSample implements SampleTaker {
  readonly wanted: number;
  storedBytes = 0;
  #sameFilled = 0;
  #used = 0;
  readonly #bytes: Uint8Array;
  readonly #sizes: number[] = [];
  readonly #prefixes: number[] = [];
  readonly #store: MonitoredStore;

  constructor(store: MonitoredStore) {
    this.#store = store;
    this.wanted = Math.min(SAMPLE_MAX, Math.floor(SAMPLE_BYTES_MAX / store.pageSize));
    this.#bytes = new Uint8Array(new SharedArrayBuffer(this.wanted * store.pageSize));
  }

  take(content: Uint8Array, prefixBytes: number, storedBytes: number): void {
    this.#bytes.set(content, this.#used);
    this.#used += content.length;
    this.#sizes.push(content.length);
    this.#prefixes.push(prefixBytes);
    this.storedBytes += storedBytes;
  }

  sameFilled(): void {
    this.#sameFilled++;
  }

  content(): SampledContent {
    return {
      pageSizeBytes: this.#store.pageSize,
      holds: this.#store.options.content,
      bytes: this.#bytes.subarray(0, this.#used),
      sizes: Uint32Array.from(this.#sizes),
      prefixes: Uint16Array.from(this.#prefixes),
      sameFilled: this.#sameFilled,
    };
  }
}

function checkChoice(what: string, name: string, all: readonly string[]): void {
  if (all.includes(name)) return;
  throw new ZcacheError("ERR_OPTION", `${what} "${name}" is not one of ${all.join(", ")}`);
}

/** The pool with the most frames; a store may have one for each kind of page. */
function poolOf(store: MonitoredStore): string {
  const [ephemeral, persistent] = store.options.zpools;
  if (ephemeral === persistent) return ephemeral;
  const stats = store.stats();
  return stats.persistent.pool.pages > stats.ephemeral.pool.pages ? persistent : ephemeral;
}

function setupOf({ options, pageSize }: MonitoredStore): Setup {
  return {
    codec: options.codec,
    denseCodec: options.recompress?.codec ?? null,
    pool: [...new Set(options.zpools)].join(" and "),
    policy: options.policy,
    pageSizeBytes: pageSize,
    holds: options.content,
  };
}

function latencyOf(store: MonitoredStore): Record<string, Latency> {
  const entries = Object.entries(store.inspection.latencies());
  return Object.fromEntries(entries.map(([name, buckets]) => [`store_${name}`, buckets]));
}

function remoteOf({ remote, counters, ephemeral, persistent }: StoreStats) {
  if (remote === undefined) return null;
  return {
    pages: ephemeral.pagesRemote + persistent.pagesRemote,
    bytes: ephemeral.remoteBytes + persistent.remoteBytes,
    inTransit: remote.in_transit,
    sent: counters.eph_pages_remoted + counters.pers_pages_remoted,
    failed: counters.eph_pages_remote_failed + counters.pers_pages_remote_failed,
    refused: counters.eph_pages_remote_nomem + counters.pers_pages_remote_nomem,
    read: counters.remote_eph_pages_succ_get + counters.remote_pers_pages_succ_get,
    readFailures: counters.remote_eph_pages_unsucc_get + counters.remote_pers_pages_unsucc_get,
    repatriated: counters.repatriated_pages,
  };
}

/** The store's statistics under the names of the web API. */
function pictureOf(stats: StoreStats) {
  const { counters, memory, ephemeral, persistent, writeBack } = stats;
  return {
    memory: {
      logicalBytes: stats.orig_data_size,
      compressedBytes: stats.compr_data_size,
      usedBytes: stats.mem_used_total,
      usedMaxBytes: stats.mem_used_max,
      limitBytes: stats.mem_limit,
      pressure: stats.pressure.source === "none" ? null : stats.pressure,
      parts: { compressed: stats.compr_data_size, ...memory },
    },
    stored: {
      inPool: ephemeral.pagesInMemory + persistent.pagesInMemory,
      sameFilled: stats.same_pages,
      huge: stats.huge_pages,
      inFile: ephemeral.pagesInFile + persistent.pagesInFile,
    },
    evictions: {
      no_room: counters.evicted_ephemeral_pages,
      file_full: counters.dropped_from_file,
      lost: counters.lost_pages,
    },
    refusals: {
      frozen: counters.put_to_flush,
      limit: counters.pool_limit_hit,
      no_frame: counters.reject_alloc_fail,
      nothing_to_evict: counters.reject_reclaim_fail,
      compresses_poorly: counters.reject_compress_poor,
      mean_compresses_poorly: counters.mean_compress_poor,
      too_many: counters.reject_page_count,
    },
    expired: counters.expired,
    recompressed: counters.recompressed_pages,
    recoveries: stats.recoveries,
    locks: stats.locks,
    remote: remoteOf(stats),
    writeBack: {
      writtenPages: counters.written_back_pages,
      writtenBytes: counters.written_back_bytes,
      readPages: counters.loads_from_file,
      file:
        writeBack === undefined
          ? null
          : {
              usedBytes: Number(writeBack["liveBytes"]),
              maxBytes: Number(writeBack["sizeBytesMax"]),
            },
    },
  };
}
