// Starts workers of a stress test on one arena, lets them begin together, and collects their
// reports. A worker that throws or does not end in time fails the test.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Arena, ArenaShare } from "../../src/memory/arena.ts";
import type { PoolShare } from "../../src/pool/contract.ts";

/** What one worker does; `worker.ts` has the four jobs. */
export interface Job {
  readonly kind: "counter" | "frames" | "pool" | "destroyed";
  readonly rounds: number;
  readonly pool?: PoolShare;
}

export interface WorkerInput extends Job {
  readonly arena: ArenaShare;
  /** This worker's number, 0 … workers − 1. */
  readonly index: number;
  readonly workers: number;
  /** Word index of the words that the workers share. */
  readonly sharedAt: number;
}

/** Words that the workers share. */
export const READY = 0; // atomic: workers that have attached
export const LOCK = 1; // atomic: guards COUNTER
export const COUNTER = 2; // guarded by LOCK
export const STEPS = 3; // atomic: steps of all workers, for who waits until they are at work
export const SHARED_WORDS = 4;

/** What a worker reports when it is done. */
export type Report = Readonly<Record<string, number>>;

/**
 * A stuck worker is a lost wake-up or a lock that was never released; a run takes a second or two.
 */
const TIMEOUT_MS = 300_000;

/** This folder's worker file, as built (`.js`) or as written (`.ts`). */
function workerUrl(): URL {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return new URL(`./worker.${extension}`, import.meta.url);
}

/**
 * Runs the job in `workers` threads at once.
 * @param sharedAt word index of SHARED_WORDS words in the arena
 * @returns their reports, in order of their numbers
 */
export async function runCrew(
  arena: Arena,
  sharedAt: number,
  workers: number,
  job: Job,
): Promise<Report[]> {
  arena.words.fill(0, sharedAt, sharedAt + SHARED_WORDS);
  const crew = Array.from({ length: workers }, (_, index) => {
    const workerData: WorkerInput = { ...job, arena: arena.share(), index, workers, sharedAt };
    return new Worker(workerUrl(), { workerData });
  });
  const timer = setTimeout(() => {
    for (const worker of crew) worker.emit("error", new Error(`no end after ${TIMEOUT_MS} ms`));
  }, TIMEOUT_MS);
  try {
    // `once` rejects when the worker emits an error.
    return await Promise.all(
      crew.map(async (worker) => {
        const exit = once(worker, "exit");
        const [report] = (await once(worker, "message")) as [Report];
        await exit;
        return report;
      }),
    );
  } finally {
    clearTimeout(timer);
    await Promise.all(crew.map((worker) => worker.terminate()));
  }
}
