// Descriptors that other threads name. A worker that has served a connection keeps a handle that
// bears its number (server/nbd/borrowed_socket.ts), and closes that number when the process ends,
// whoever has it by then. Nobody minds, unless it is what another thread's event loop waits on:
// that thread then aborts the process. So no worker is started with such a number.
import { closeSync, openSync } from "node:fs";
import { Worker, type WorkerOptions } from "node:worker_threads";

const lent = new Set<number>();

/** Notes that a thread bears this number from now on. */
export function lend(descriptor: number): void {
  lent.add(descriptor);
}

/** Starts a worker, whose loop gets descriptors that no other thread will close. */
export function startWorker(url: URL, options?: WorkerOptions): Worker {
  const held = occupy(Math.max(-1, ...lent));
  const release = () => {
    for (const descriptor of held.splice(0)) closeSync(descriptor);
  };
  const worker = new Worker(url, options);
  // Its loop has been made when it runs; who can't start has none.
  for (const event of ["online", "error", "exit"]) worker.once(event, release);
  return worker;
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
