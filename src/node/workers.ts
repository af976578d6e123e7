// Starts worker threads. They run scripts that the build embeds (scripts/embed.mjs), not files: so
// no bundler has to find a worker, and a process can start one after its files were replaced.
//
// A worker that has served a connection keeps a handle with the number of its descriptor
// (nbd/shared_fd_socket.ts). When the worker ends, that number is closed, even if it is another
// descriptor by then. If that is a descriptor of another thread's event loop, the thread aborts the
// process, or waits for ever. So no worker's loop gets such a number: it is reserved. A number that
// is reserved while a worker starts must not become free before the worker has its loop.
import { closeSync, fstatSync, openSync, statSync } from "node:fs";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { inflateRawSync } from "node:zlib";
import { ZcacheError } from "../base/errors.ts";
import { ZSTD_WASM } from "./codecs/zstd_wasm.binary.ts";
import { PACKAGE_URL } from "./optional_packages.ts";

/** A worker's module with its dependencies, as one script: packed, in base64. */
export type EmbeddedWorker = string;

const reserved = new Set<number>();
/** Numbers that this thread holds, by opening the null device, while workers start. */
const held = new Set<number>();
/** Workers that have not made their event loops yet. */
let starting = 0;
const NULL_DEVICE = "/dev/null";
/** What waits until no worker is starting. */
const waiting: (() => void)[] = [];

/** Keeps a number from the event loops of workers that are started later. */
export function reserveFd(descriptor: number): void {
  reserved.add(descriptor);
}

/** Calls `close`, which makes reserved numbers free, as soon as no worker is starting. */
export function whenNoneStarts(close: () => void): void {
  if (starting === 0) close();
  else waiting.push(close);
}

/**
 * Starts a worker whose event loop gets no reserved descriptor. The worker does not inherit the
 * application's flags: `--input-type`, for one, would make it fail, and modules of `--import`,
 * `--require` or NODE_OPTIONS would run again.
 * @throws ZcacheError ERR_WORKER: no memory or no thread. A script that is missing or fails is
 *   reported by the worker's event "error"
 */
export function startWorker(script: EmbeddedWorker | URL, options?: WorkerOptions): Worker {
  const release = holdReserved();
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

/** Holds all free numbers up to the last reserved one. @returns ends that, once it is called */
export function holdReserved(): () => void {
  starting++;
  occupy(Math.max(-1, ...reserved));
  let isReleased = false;
  return () => {
    if (isReleased) return;
    isReleased = true;
    if (--starting > 0) return;
    for (const descriptor of held) if (isNullDevice(descriptor)) closeSync(descriptor);
    held.clear();
    for (const close of waiting.splice(0)) close();
  };
}

/** Opens all free numbers up to `last`: the system gives out the lowest first. */
function occupy(last: number): void {
  try {
    for (let descriptor = -1; descriptor < last; ) {
      descriptor = openSync(NULL_DEVICE, "r");
      held.add(descriptor);
    }
  } catch {
    // The process is at its limit of descriptors; few numbers are free then.
  }
}

/**
 * Whether a held number still is the null device: a worker that ends meanwhile closes it, and then
 * it may be another descriptor.
 */
function isNullDevice(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).rdev === statSync(NULL_DEVICE).rdev;
  } catch {
    return false;
  }
}

/** @returns CommonJS source, with the constants that the script takes from the thread it is in */
function unpackWorker(worker: EmbeddedWorker): string {
  const shared = `const zcacheUrl=${JSON.stringify(PACKAGE_URL)},zcacheZstdWasm="${ZSTD_WASM}";\n`;
  return shared + inflateRawSync(Buffer.from(worker, "base64")).toString();
}
