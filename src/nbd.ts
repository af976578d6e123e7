// NBD on Node: block devices over a store, served to the clients that people have. The entry point
// `zcache/nbd`.
import { availableParallelism } from "node:os";
import { createSecureContext, type TlsOptions } from "node:tls";
import { Worker } from "node:worker_threads";
import { ZcacheError } from "./base/errors.ts";
import type { Zram } from "./front/zram.ts";
import { checkExport } from "./server/nbd/exports.ts";
import { type Listen, NbdServer } from "./server/nbd/server.ts";
import type { ServeOrder, TlsShare } from "./server/nbd/thread.ts";
import type { Store } from "./store/store.ts";

export { Extent, Zram, type ZramShare } from "./front/zram.ts";
export type { BdStat, IoStat, MmStat } from "./front/zram_stat.ts";
export { type Listen, NbdServer } from "./server/nbd/server.ts";

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
}

const THREADS_MAX = 64;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
/** Workers that serve nothing now; they end with the process, see server/nbd/borrowed_socket.ts. */
const idle: Worker[] = [];

/**
 * Serves devices of a store. They stay as they are when the server is closed.
 * @throws ZcacheError ERR_OPTION; ERR_ARENA_FULL for want of buffers; ERR_IO: it can't listen
 */
export async function startNbdServer(store: Store, options: NbdOptions): Promise<NbdServer> {
  const threads = whole("threads", options.threads ?? defaultThreads(), 1, THREADS_MAX);
  const connectionsMax = whole("connectionsMax", options.connectionsMax ?? 32, 1, 4096);
  const handshakeMs = whole("handshakeMs", options.handshakeMs ?? 10_000, 1, 3_600_000);
  if (options.exports.length === 0) throw new ZcacheError("ERR_OPTION", "exports: none is given");
  for (const { name = "", device } of options.exports) checkExport(name, device.sizeBytes);
  const order: ServeOrder = {
    order: "serve",
    store: store.share(),
    exports: options.exports.map(({ name = "", description = "", readOnly = false, device }) => ({
      ...{ name, description, readOnly },
      device: device.share(),
    })),
    tls: options.tls && tlsShare(options.tls),
    lanes: Math.ceil(connectionsMax / threads),
    handshakeMs,
  };
  const workers = Array.from({ length: threads }, () => idle.pop() ?? startWorker());
  for (const worker of workers) worker.ref();
  const { listen, allow = [] } = options;
  return NbdServer.start({ listen, allow, connectionsMax }, workers, order, (ended) => {
    for (const worker of ended) worker.unref();
    idle.push(...ended);
  });
}

function defaultThreads(): number {
  return Math.min(8, availableParallelism());
}

function startWorker(): Worker {
  return new Worker(new URL(`./nbd_worker.${EXTENSION}`, import.meta.url));
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
