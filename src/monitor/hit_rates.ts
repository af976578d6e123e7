// A study of hit rates: what the live traffic of a service would have as hit rates with other
// memory limits and other eviction policies. The store records the requests for a sample of its
// keys while the study runs, and a worker simulates miniature caches with them (lab/simulate/).
//
//   1. The rate of requests is measured for a moment. It decides which share of the keys is
//      sampled.
//   2. The sampled pages that are stored now are listed in steps, and all simulated caches get
//      them.
//   3. The store begins to record. During the first third of the time nothing is counted, so that
//      the simulated caches get into their order.
//   4. Hits are counted. The worker answers with its tallies every second, and at the end.
//
// Limits: one study of a service at a time; SECONDS_MAX; SAMPLED_PAGES of the store's pages and
// SAMPLED_RATE requests a second, at about.
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import type { HitRateRow, HitRates } from "../dashboard/api.ts";
import { estimates, type StreamTotals, whyNone } from "../lab/simulate/estimate.ts";
import type { Costs, SampledSetup, SampledTallies, Variant } from "../lab/simulate/sampled.ts";
import { startWorker, workerError } from "../node/workers.ts";
import { policyNames } from "../policy/registry.ts";
import type { SampledPage } from "../store/request_sampling.ts";
import type { SampleShare } from "../store/sample_reader.ts";
import type { StoreStats } from "../store/statistics.ts";
import { WORKER } from "./hit_rates_worker.binary.ts";
import { inSteps, type MonitoredStore } from "./monitored_store.ts";

export const SECONDS_MIN = 1;
export const SECONDS_MAX = 3600;
/** Limits that are simulated, as multiples of today's. */
const LIMITS = [1, 0.25, 0.5, 2, 4];
/** Sampled pages that the store holds, at most, at about. */
const SAMPLED_PAGES = 8192;
/** Sampled requests a second, at most, at about. */
const SAMPLED_RATE = 20_000;
/** How long the rate of requests is measured. */
const RATE_MS = 500;
const REPORT_MS = 1000;
/** Pages without which there is nothing to simulate. */
const PAGES_MIN = 100;
/** The worker answers within milliseconds, unless the machine is busy. */
const ANSWER_MS = 30_000;

/** What the worker begins with. */
export interface HitRatesTask {
  readonly setup: SampledSetup;
  readonly pages: readonly SampledPage[];
  readonly rings: readonly SampleShare[];
}

/** What the worker is asked: to count anew, or to tell what it has counted. */
export type HitRatesQuestion = "count" | "tell";

interface Counted {
  readonly tallies: SampledTallies;
  /** Sampled requests that were not recorded meanwhile. */
  readonly dropped: number;
}

export type HitRatesAnswer = Counted | { readonly code: ErrorCode; readonly message: string };

export class HitRateStudy {
  readonly #store: MonitoredStore;
  #state: HitRates;
  #running: Promise<void> | undefined;
  #ending = new AbortController();
  /** An unexpected error of the last study, which nobody has been told of. */
  #failure: { readonly error: unknown } | undefined;

  constructor(store: MonitoredStore) {
    this.#store = store;
    this.#state = nothingYet("none");
  }

  /**
   * The study that runs, or the last one.
   * @throws once: an unexpected error that has ended it
   */
  state(): HitRates {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
    return this.#state;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Starts a study, unless one is running. */
  start(seconds: number): void {
    if (this.#running !== undefined) return;
    this.#state = { ...nothingYet("running"), seconds };
    this.#ending = new AbortController();
    this.#running = this.#run(seconds).finally(() => {
      this.#running = undefined;
    });
  }

  /** Ends a study that is running. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  async #run(seconds: number): Promise<void> {
    try {
      await this.#study(seconds);
      this.#state = { ...this.#state, state: "ended" };
    } catch (error) {
      const isOver = this.#ending.signal.aborted;
      if (!isOver && !(error instanceof ZcacheError)) this.#failure = { error };
      const why = isOver ? "the service has ended" : (error as Error).message;
      this.#state = { ...this.#state, state: "failed", why };
    }
  }

  async #study(seconds: number): Promise<void> {
    const store = this.#store;
    const { signal } = this.#ending;
    const sampling = store.inspection.sampleRequests(await this.#share());
    await inSteps(() => sampling.step(), signal);
    const setup = setupOf(store, sampling.share);
    const task = { setup, pages: sampling.pages(), rings: sampling.rings };
    if (task.pages.length < PAGES_MIN * sampling.share) {
      const why = `the store holds too few ${store.options.content}; ${PAGES_MIN} are needed`;
      this.#state = { ...this.#state, why };
      return;
    }
    const simulator = new Simulator(task, signal);
    try {
      await simulator.ask("count");
      sampling.begin();
      const begunMs = performance.now();
      await sleep((seconds * 1000) / 3, undefined, { signal, ref: false });
      await simulator.ask("count");
      const before = store.stats();
      const countedMs = performance.now();
      for (let isLast = false; !isLast; ) {
        const leftMs = begunMs + seconds * 1000 - performance.now();
        isLast = leftMs <= REPORT_MS;
        await sleep(Math.max(0, Math.min(leftMs, REPORT_MS)), undefined, { signal, ref: false });
        const counted = await simulator.ask("tell");
        this.#state = {
          ...this.#state,
          ...resultOf(store, setup, counted, totalsOf(before, store.stats())),
          watchedSeconds: (performance.now() - begunMs) / 1000,
          countedSeconds: (performance.now() - countedMs) / 1000,
        };
      }
    } finally {
      sampling.end();
      await simulator.close();
    }
  }

  /** The share of the keys to sample. */
  async #share(): Promise<number> {
    const before = this.#store.stats();
    await sleep(RATE_MS, undefined, { signal: this.#ending.signal, ref: false });
    const { counters } = this.#store.stats();
    const done = counters.gets + counters.puts - before.counters.gets - before.counters.puts;
    const rate = (Math.max(0, done) * 1000) / RATE_MS;
    const pages = pagesOf(before);
    return Math.min(1, SAMPLED_PAGES / Math.max(1, pages), SAMPLED_RATE / Math.max(1, rate));
  }
}

/** The worker of a study. */
class Simulator {
  readonly #worker: Worker;
  readonly #signal: AbortSignal;
  #failure: unknown;
  #settle: ((answer: HitRatesAnswer | undefined) => void) | undefined;

  constructor(task: HitRatesTask, signal: AbortSignal) {
    this.#signal = signal;
    const worker = startWorker(WORKER, { workerData: task });
    worker.unref();
    worker.on("message", (answer: HitRatesAnswer) => this.#settle?.(answer));
    worker.on("error", (cause) => this.#fail(workerError("the simulation", cause)));
    worker.on("exit", () => this.#fail(new ZcacheError("ERR_WORKER", "the simulation has ended")));
    signal.addEventListener("abort", () => this.#fail(signal.reason), { once: true });
    this.#worker = worker;
  }

  async ask(question: HitRatesQuestion): Promise<Counted> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#signal.throwIfAborted();
    const answered = new Promise<HitRatesAnswer | undefined>((resolve) => {
      this.#settle = resolve;
    });
    const fail = () => this.#fail(new ZcacheError("ERR_WORKER", "the simulation does not answer"));
    const timer = setTimeout(fail, ANSWER_MS).unref();
    this.#worker.postMessage(question);
    const answer = await answered;
    clearTimeout(timer);
    if (answer === undefined) throw this.#failure;
    if ("code" in answer) throw new ZcacheError(answer.code, answer.message);
    return answer;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(failure: unknown): void {
    this.#failure ??= failure;
    this.#settle?.(undefined);
  }
}

/** What a service that was never studied shows. */
function nothingYet(state: "none" | "running"): HitRates {
  return {
    ...{ state, why: null, seconds: 0, watchedSeconds: 0, countedSeconds: 0 },
    ...{ share: 0, keys: 0, requests: 0, dropped: 0, rows: [] },
  };
}

function pagesOf({ ephemeral, persistent }: StoreStats): number {
  const inMemory = ephemeral.pagesInMemory + persistent.pagesInMemory;
  return inMemory + ephemeral.samePages + persistent.samePages;
}

/** Whether pages have left memory for want of room. */
function hasEvicted({ counters, ephemeral, persistent }: StoreStats): boolean {
  const elsewhere = [ephemeral, persistent].some((kind) => kind.pagesInFile + kind.pagesRemote > 0);
  return elsewhere || counters.evicted_ephemeral_pages > 0;
}

/** The caches to simulate, which share the memory that the store's pages share now. */
function setupOf(store: MonitoredStore, share: number): SampledSetup {
  const { options } = store;
  const stats = store.stats();
  const { memory, mem_limit: limitBytes, compr_data_size: compressed } = stats;
  const pages = Math.max(1, pagesOf(stats));
  const costs: Costs = {
    perByte: 1 + Math.min(1, memory.unused / Math.max(1, compressed)),
    perPage: (memory.poolMetadata + memory.index) / pages,
  };
  const fixedBytes = memory.writeBack + memory.remote + memory.other;
  const variant = (policy: string, limit: number): Variant => ({
    ...{ policy, limit },
    budgetBytes: Math.max(0, limit * (limitBytes - memory.arena) - fixedBytes),
  });
  const others = policyNames().filter((policy) => policy !== options.policy);
  return {
    variants: [
      ...LIMITS.map((limit) => variant(options.policy, limit)),
      ...others.map((policy) => variant(policy, 1)),
    ],
    ...{ share, costs, hasEvicted: hasEvicted(stats) },
    meanCostBytes: (compressed * costs.perByte) / pages + costs.perPage,
  };
}

/** Requests between two moments, and those that were answered from memory. */
function totalsOf(before: StoreStats, after: StoreStats): Pick<StreamTotals, "requests" | "hits"> {
  const since = (name: keyof StoreStats["counters"]) =>
    Math.max(0, after.counters[name] - before.counters[name]);
  const hits = since("hits");
  const outside =
    since("loads_from_file") +
    since("remote_eph_pages_succ_get") +
    since("remote_pers_pages_succ_get");
  const { ephemeral, persistent } = after;
  // A persistent page is missing only if it was never written.
  const isDisk = persistent.pagesInMemory + persistent.pagesInFile > ephemeral.pagesInMemory;
  return { requests: isDisk ? hits : since("gets"), hits: Math.max(0, hits - outside) };
}

function resultOf(
  store: MonitoredStore,
  { variants, share }: SampledSetup,
  { tallies, dropped }: Counted,
  total: Pick<StreamTotals, "requests" | "hits">,
): Pick<HitRates, "why" | "share" | "keys" | "requests" | "dropped" | "rows"> {
  const totals: StreamTotals = { ...total, share, dropped };
  const why = whyNone(tallies, totals) ?? null;
  const { mem_limit: limitBytes } = store.stats();
  const found = why === null ? estimates(tallies, totals) : [];
  const rows = found.map((row, nth): HitRateRow => {
    const { policy, limit } = variants[nth]!;
    return { ...row, policy, limit, limitBytes: limit * limitBytes, isCurrent: nth === 0 };
  });
  const requests = tallies.requests.reduce((sum, one) => sum + one, 0);
  return { why, share, keys: tallies.keys, requests, dropped, rows };
}
