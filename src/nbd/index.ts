// NBD on Node: block devices over a store, served to the clients that people have. The entry point
// `zcache/nbd`.
import { availableParallelism } from "node:os";
import { createSecureContext, type TlsOptions } from "node:tls";
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import { MAX_THREADS } from "../memory/arena.layout.ts";
import { startWorker } from "../node/reserved_fds.ts";
import type { Store } from "../store/store.ts";
import { Zram } from "../zram/zram.ts";
import { checkNbdOptions } from "./options.ts";
import { type Listen, NbdServer } from "./server.ts";
import type { PracticeShare, ServeOrder, TlsShare } from "./thread.ts";
import { REQUEST_KINDS } from "./transmission.ts";
import { PRACTICE_PAGES } from "./warm_up.ts";

export type { BdStat, IoStat, MmStat } from "../zram/stat.ts";
export { Extent, Zram, type ZramShare } from "../zram/zram.ts";
export { type Listen, NbdServer } from "./server.ts";

export interface NbdExportOptions {
  /** The name by which clients ask for it (default "": what a client gets that asks for none). */
  readonly name?: string;
  readonly description?: string;
  readonly readOnly?: boolean;
  readonly device: Zram;
}

export interface NbdTlsOptions {
  /** "required": before it nothing but STARTTLS is answered (default); "offered": as they like. */
  readonly mode?: "offered" | "required";
  readonly key: string;
  readonly cert: string;
  /** Certificates of those who may sign clients'; with it, a client without one is refused. */
  readonly ca?: string;
}

export interface NbdOptions {
  readonly exports: readonly NbdExportOptions[];
  readonly listen: readonly Listen[];
  /** Threads that serve (default: as many as there are processors, at most 8). */
  readonly threads?: number;
  /** Connections at once (default 32); each takes 68 KiB of the store's memory, in use or not. */
  readonly connectionsMax?: number;
  /** Addresses and networks that may connect by TCP (default: all). */
  readonly allow?: readonly string[];
  readonly tls?: NbdTlsOptions;
  /** A client that has not chosen an export by then is cut off, in ms (default 10,000). */
  readonly handshakeMs?: number;
  /**
   * How long each thread practises before it serves, in ms (default 0). Without it, the first
   * client waits while the engine compiles. Nothing else should use the store meanwhile: what
   * happens to it then is not counted.
   */
  readonly practiceMs?: number;
  /**
   * Takes unexpected errors with their stacks, one text of several lines for each place in the code
   * (default: writes them to stderr). `stats().internal_errors` counts all of them.
   */
  readonly log?: (text: string) => void;
}

const THREADS_MAX = 64;
/** Number of the device to practise on: no store has so many. */
const PRACTICE_NUMBER = 0x7fff_ffff;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
/** Workers that serve nothing now; they end with the process, see nbd/shared_fd_socket.ts. */
const idle: Worker[] = [];

/**
 * Serves devices of a store. They stay as they are when the server is closed.
 * @throws ZcacheError ERR_OPTION; ERR_ARENA_FULL for want of buffers; ERR_IO: it can't listen
 */
export async function startNbdServer(store: Store, options: NbdOptions): Promise<NbdServer> {
  checkNbdOptions(options);
  const threads = whole("threads", options.threads ?? defaultThreads(), 1, THREADS_MAX);
  const connectionsMax = whole("connectionsMax", options.connectionsMax ?? 32, 1, 4096);
  const handshakeMs = whole("handshakeMs", options.handshakeMs ?? 10_000, 1, 3_600_000);
  const practiceMs = whole("practiceMs", options.practiceMs ?? 0, 0, 10_000);
  const order: Omit<ServeOrder, "practice"> = {
    order: "serve",
    store: store.share(),
    exports: options.exports.map(({ name = "", description = "", readOnly = false, device }) => ({
      ...{ name, description, readOnly },
      device: device.share(),
    })),
    tls: options.tls && tlsShare(options.tls),
    lanes: Math.ceil(connectionsMax / threads),
    handshakeMs,
    times: SampledTimes.memory(REQUEST_KINDS.length),
  };
  const { listen, allow = [], log } = options;
  const start = (practice: PracticeShare | undefined) => {
    const workers = Array.from({ length: threads }, () => idle.pop() ?? newWorker());
    for (const worker of workers) worker.ref();
    const released = (ended: readonly Worker[]) => {
      for (const worker of ended) worker.unref();
      idle.push(...ended);
    };
    const serverOptions = { listen, allow, connectionsMax, makeThread: newWorker, log };
    return NbdServer.start(serverOptions, workers, { ...order, practice }, released);
  };
  return practiceMs === 0 ? start(undefined) : practised(store, practiceMs, start);
}

/** Starts a server whose threads practise first, on a device that is gone when they serve. */
function practised(
  store: Store,
  ms: number,
  start: (practice: PracticeShare) => Promise<NbdServer>,
): Promise<NbdServer> {
  return store.uncounted(async () => {
    const bytes = MAX_THREADS * PRACTICE_PAGES * store.pageSize;
    const device = Zram.create(store, bytes, PRACTICE_NUMBER);
    try {
      return await start({ device: device.share(), ms });
    } finally {
      device.destroy();
    }
  });
}

function defaultThreads(): number {
  return Math.min(8, availableParallelism());
}

function newWorker(): Worker {
  const worker = startWorker(new URL(`./worker.${EXTENSION}`, import.meta.url));
  // Also one that serves nothing now may fail: then it is not used again.
  worker.on("error", () => {});
  worker.once("exit", () => {
    const at = idle.indexOf(worker);
    if (at >= 0) idle.splice(at, 1);
  });
  return worker;
}

/**
 * Certificates as threads take them, for `server.renewTls`.
 * @throws ZcacheError ERR_INPUT where key and certificate are none, or do not belong together
 */
export function tlsShare(tls: NbdTlsOptions): TlsShare {
  const options = tlsOptions(tls);
  try {
    createSecureContext(options);
  } catch (cause) {
    const { message } = cause as Error;
    throw new ZcacheError("ERR_INPUT", `TLS certificate or key: ${message}`, { cause });
  }
  return { mode: tls.mode ?? "required", options };
}

function tlsOptions({ key, cert, ca }: NbdTlsOptions): TlsOptions {
  const asksForCert = ca !== undefined;
  return {
    ...{ key, cert },
    ...(ca === undefined ? {} : { ca }),
    requestCert: asksForCert,
    rejectUnauthorized: asksForCert,
    minVersion: "TLSv1.2",
  };
}

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ZcacheError("ERR_OPTION", `${name} ${value}: allowed are ${min} to ${max}`);
}
