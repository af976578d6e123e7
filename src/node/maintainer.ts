// Starts the worker that keeps memory free in a store.
import type { Worker } from "node:worker_threads";
import type { Store } from "../store/store.ts";
import { WORKER } from "./maintainer_worker.binary.ts";
import { startWorker } from "./workers.ts";

/**
 * Starts a worker that makes room and writes to the file in the background, until the store is
 * closed. The worker does not keep the process alive.
 * @param onError called if the worker fails; then threads that put do its work (default: a warning
 *   of the process)
 * @throws ZcacheError ERR_WORKER
 */
export function startMaintainer(
  store: Store,
  onError: (error: Error) => void = (error) => process.emitWarning(error),
): Worker {
  const worker = startWorker(WORKER, { workerData: store.share() });
  worker.unref();
  worker.on("error", onError);
  return worker;
}
