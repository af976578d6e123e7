// Reserved descriptors, and the start of workers. A worker that has served a connection keeps a
// handle with the number of its descriptor (nbd/shared_fd_socket.ts). When the worker ends, that
// number is closed, even if it is another descriptor by then. If that is a descriptor of another
// thread's event loop, the thread aborts the process. So no worker's loop gets such a number.
import { closeSync, openSync } from "node:fs";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { type EmbeddedWorker, unpackWorker } from "./embedded_worker.ts";

const reserved = new Set<number>();

/** Keeps a number from the event loops of workers that are started later. */
export function reserveFd(descriptor: number): void {
  reserved.add(descriptor);
}

/**
 * Starts a worker whose event loop gets no reserved descriptor. The worker does not inherit the
 * application's flags: `--input-type`, for one, would make it fail, and modules of `--import`,
 * `--require` or NODE_OPTIONS would run again.
 * @throws ZcacheError ERR_WORKER: no memory or no thread. A script that is missing or fails is
 *   reported by the worker's event "error"
 */
export function startWorker(script: EmbeddedWorker | URL, options?: WorkerOptions): Worker {
  const held = occupy(Math.max(-1, ...reserved));
  const release = () => {
    for (const descriptor of held.splice(0)) closeSync(descriptor);
  };
  const { NODE_OPTIONS: _, ...env } = process.env;
  let worker: Worker;
  try {
    worker =
      script instanceof URL
        ? new Worker(script, { ...options, execArgv: [], env })
        : new Worker(unpackWorker(script), { ...options, execArgv: [], env, eval: true });
  } catch (cause) {
    release();
    const { message } = cause as Error;
    throw new ZcacheError("ERR_WORKER", `can't start a thread: ${message}`, { cause });
  }
  // By "online" the worker has made its loop; a worker that can't start makes none.
  for (const event of ["online", "error", "exit"]) worker.once(event, release);
  return worker;
}

/** The error for callers that wait for a worker that has failed. */
export function workerError(what: string, cause: unknown): ZcacheError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new ZcacheError("ERR_WORKER", `${what} has failed: ${message}`, { cause });
}

/** Opens all free numbers up to `last`: the system gives out the lowest first. */
function occupy(last: number): number[] {
  const held: number[] = [];
  try {
    while ((held.at(-1) ?? -1) < last) held.push(openSync("/dev/null", "r"));
  } catch {
    // The process is at its limit of descriptors; few numbers are free then.
  }
  return held;
}
