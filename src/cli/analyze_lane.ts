// A pool lane in a worker thread: it fills the pools with the output of one codec while the main
// thread runs the next codec, so an analysis takes little longer than its codecs alone.
import type { Worker } from "node:worker_threads";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import type { PoolResult } from "../lab/analysis.ts";
import type { LaneMemory } from "../lab/analyzer.ts";
import type { LaneJob, PoolLane, Totals, Work } from "../lab/pool_lane.ts";
import type { ArenaShare } from "../memory/arena.ts";
import { startWorker, workerError } from "../node/workers.ts";
import { WORKER } from "./analyze_worker.binary.ts";

/** The worker's data at start. */
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

export class WorkerLane implements PoolLane {
  readonly #worker: Worker;
  /** The answer to the last request, if it is still outstanding. */
  #pending: Promise<LaneAnswer> | undefined;
  /** Rejects when the thread fails or ends. */
  readonly #failure: Promise<never>;

  constructor({ arena, tables, windowPages }: LaneMemory, pools: readonly string[]) {
    const workerData: LaneSetup = { arena: arena.share(), tables, windowPages, pools };
    this.#worker = startWorker(WORKER, { workerData });
    this.#failure = new Promise((_, reject) => {
      const what = "the thread that fills pools";
      this.#worker.once("error", (cause) => reject(workerError(what, cause)));
      this.#worker.once("exit", () => reject(workerError(what, "it has ended")));
    });
    // Marks the rejection as handled: the thread may fail while no answer is awaited.
    this.#failure.catch(() => {});
  }

  *start(job: LaneJob): Work {
    yield* this.drain();
    this.#pending = this.#ask(job);
    // Marks the rejection as handled: the next `drain` reports it.
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

  async #ask(request: LaneRequest): Promise<LaneAnswer> {
    const answered = new Promise<LaneAnswer>((resolve) => this.#worker.once("message", resolve));
    this.#worker.postMessage(request);
    const answer = await Promise.race([answered, this.#failure]);
    if (answer.error === undefined) return answer;
    const { code, message, context } = answer.error;
    throw new ZcacheError(code, message, { context });
  }
}
