// Descriptors that other threads name. A worker that has served a connection keeps a handle that
// bears its number (nbd/shared_fd_socket.ts), and closes that number when the process ends,
// whoever has it by then. Nobody minds, unless it is what another thread's event loop waits on:
// that thread then aborts the process. So no worker is started with such a number.
import { closeSync, openSync } from "node:fs";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";

const lent = new Set<number>();

/** Notes that a thread bears this number from now on. */
export function lend(descriptor: number): void {
  lent.add(descriptor);
}

/**
 * Starts a worker, whose loop gets descriptors that no other thread will close. What the
 * application was started with stays with the application: a flag such as `--input-type` would
 * make the worker fail, and what `--import`, `--require` or NODE_OPTIONS load would run again.
 * @throws ZcacheError ERR_WORKER: there is no memory or no thread for it. A script that is missing
 *   or fails is told by the worker's `error` event.
 */
export function startWorker(url: URL, options?: WorkerOptions): Worker {
  const held = occupy(Math.max(-1, ...lent));
  const release = () => {
    for (const descriptor of held.splice(0)) closeSync(descriptor);
  };
  const { NODE_OPTIONS: _, ...env } = process.env;
  let worker: Worker;
  try {
    worker = new Worker(url, { ...options, execArgv: [], env });
  } catch (cause) {
    release();
    const { message } = cause as Error;
    throw new ZcacheError("ERR_WORKER", `can't start a thread: ${message}`, { cause });
  }
  // Its loop has been made when it runs; who can't start has none.
  for (const event of ["online", "error", "exit"]) worker.once(event, release);
  return worker;
}

/** What a thread's end means to those who wait for it. */
export function workerError(what: string, cause: unknown): ZcacheError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new ZcacheError("ERR_WORKER", `${what} has failed: ${message}`, { cause });
}

/** Opens what is free up to this number: the system gives the lowest first. */
function occupy(last: number): number[] {
  const held: number[] = [];
  try {
    while ((held.at(-1) ?? -1) < last) held.push(openSync("/dev/null", "r"));
  } catch {
    // As many as the process may have are open: then few of them are free.
  }
  return held;
}
