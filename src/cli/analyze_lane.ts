// A pool lane in a thread of its own: the pools of one codec are filled while the next codec is at
// work, so an analysis takes little longer than its codecs.
import { Worker } from "node:worker_threads";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import type { PoolResult } from "../lab/analysis.ts";
import type { LaneMemory } from "../lab/analyzer.ts";
import type { LaneJob, PoolLane, Totals, Work } from "../lab/pool_lane.ts";
import type { ArenaShare } from "../memory/arena.ts";

/** What the thread is started with. */
export interface LaneSetup {
  readonly arena: ArenaShare;
  readonly tables: readonly SharedArrayBuffer[];
  readonly windowPages: number;
  readonly pools: readonly string[];
}

export type LaneRequest =
  | LaneJob
  | { readonly results: readonly string[]; readonly totals: Totals };

export interface LaneAnswer {
  readonly results?: PoolResult[];
  readonly error?: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly context: Readonly<Record<string, unknown>>;
  };
}

/** Beside this file, built or not. */
const WORKER_URL = new URL(
  import.meta.url.endsWith(".ts") ? "analyze_worker.ts" : "analyze_worker.js",
  import.meta.url,
);

export class WorkerLane implements PoolLane {
  readonly #worker: Worker;
  /** The answer that is being waited for. */
  #pending: Promise<LaneAnswer> | undefined;

  constructor({ arena, tables, windowPages }: LaneMemory, pools: readonly string[]) {
    const workerData: LaneSetup = { arena: arena.share(), tables, windowPages, pools };
    this.#worker = new Worker(WORKER_URL, { workerData });
  }

  *start(job: LaneJob): Work {
    yield* this.drain();
    this.#pending = this.#ask(job);
    // Whoever drives the work meets a failure at the next `drain`; until then nobody listens.
    this.#pending.catch(() => {});
  }

  *drain(): Work {
    if (this.#pending !== undefined) yield this.#pending.then(() => {});
    this.#pending = undefined;
  }

  async results(codecs: readonly string[], totals: Totals): Promise<PoolResult[]> {
    const { results } = await this.#ask({ results: codecs, totals });
    return results!;
  }

  close(): void {
    void this.#worker.terminate();
  }

  #ask(request: LaneRequest): Promise<LaneAnswer> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.#worker.off("message", onMessage);
        this.#worker.off("error", onError);
      };
      const onMessage = (answer: LaneAnswer) => {
        settle();
        if (answer.error === undefined) return resolve(answer);
        const { code, message, context } = answer.error;
        reject(new ZcacheError(code, message, { context }));
      };
      const onError = (error: Error) => {
        settle();
        reject(error);
      };
      this.#worker.on("message", onMessage);
      this.#worker.on("error", onError);
      this.#worker.postMessage(request);
    });
  }
}
