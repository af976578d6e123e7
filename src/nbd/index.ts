// The entry point `zcache/nbd`: a server of block devices over the NBD protocol.
//
// 1. protocol/          bytes ⇄ messages, without I/O: numbers, handshake, transmission
// 2. negotiation.ts     the handshake of one connection; exports.ts: what may be exported
// 3. request_check.ts   refuses invalid requests; transmission.ts: requests and their replies;
//    remote_pages.ts: how they wait for pages of a remote tier
// 4. send_queue.ts      replies in blocks of the arena; session.ts: one connection, also with TLS
// 5. shared_fd_socket.ts a socket on a descriptor that the main thread owns
// 6. thread.ts          the connections of one thread; worker.ts: the worker around it; warm_up.ts
// 7. server.ts          the main thread: listens, accepts, hands connections to workers
// 8. options.ts         checks of the server's options
//
// Concurrency: the main thread accepts; each connection is served by one worker, and all workers
// share one store. Limits: 64 threads, 4096 connections, 64 MiB in one READ or WRITE, 16 KiB in an
// option of the handshake; a connection takes 68 KiB of the store's memory.
/// <reference types="node" preserve="true" />
import { createSecureContext, type TlsOptions } from "node:tls";
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import { MAX_THREADS } from "../memory/arena.layout.ts";
import { startWorker } from "../node/workers.ts";
import type { Store } from "../store/store.ts";
import { Zram } from "../zram/zram.ts";
import { checkNbdOptions, defaultThreads } from "./options.ts";
import { REQUEST_KINDS } from "./request_check.ts";
import { type Listen, NbdServer } from "./server.ts";
import type { ServeOrder, TlsShare, WarmUpShare } from "./thread.ts";
import { WARM_UP_PAGES } from "./warm_up.ts";
import { WORKER } from "./worker.binary.ts";

export type { BdStat, IoStat, MmStat } from "../zram/stat.ts";
export { Extent, Zram, type ZramShare } from "../zram/zram.ts";
export type { RequestKind } from "./request_check.ts";
export { type Listen, NbdServer } from "./server.ts";
export type { TlsShare } from "./thread.ts";

export interface NbdExportOptions {
  /** The export's name (default "": the export of clients that name none). */
  readonly name?: string;
  readonly description?: string;
  readonly readOnly?: boolean;
  readonly device: Zram;
}

export interface NbdTlsOptions {
  /** "required": before TLS nothing but STARTTLS is answered (default); "offered": optional. */
  readonly mode?: "offered" | "required";
  readonly key: string;
  readonly cert: string;
  /** CA certificates. With them, a client without a certificate signed by one is refused. */
  readonly ca?: string;
}

export interface NbdOptions {
  readonly exports: readonly NbdExportOptions[];
  readonly listen: readonly Listen[];
  /** Threads that serve (default: as many as there are processors, at most 8). */
  readonly threads?: number;
  /** Connections at a time (default 32); each takes 68 KiB of the store's memory from the start. */
  readonly connectionsMax?: number;
  /** Addresses and networks that may connect over TCP, such as "10.0.0.0/8" (default: all). */
  readonly allow?: readonly string[];
  readonly tls?: NbdTlsOptions;
  /** Ms in which a client must choose an export, else its connection ends (default 10,000). */
  readonly handshakeMs?: number;
  /**
   * Ms of warm-up of each thread before it serves (default 0). Without it, the first client waits
   * while V8 compiles. Nothing else should use the store meanwhile: the warm-up sets the store's
   * counters back to what they were before.
   */
  readonly practiceMs?: number;
  /**
   * Takes unexpected errors with their stacks, one text of several lines for each place in the code
   * (default: writes them to stderr). `stats().internal_errors` counts all of them.
   */
  readonly log?: (text: string) => void;
}

const THREADS_MAX = 64;
/** Number of the device for the warm-up: no other device has it. */
const WARM_UP_NUMBER = 0x7fff_ffff;
/** Workers without a server, for the next one: a worker never ends (shared_fd_socket.ts). */
const idle: Worker[] = [];

/**
 * Serves devices of a store. Closing the server leaves the devices and the store as they are.
 * @param beforeListening called when all threads have their buffers
 * @throws ZcacheError ERR_OPTION; ERR_ARENA_FULL for want of buffers; ERR_IO: it can't listen
 */
export async function startNbdServer(
  store: Store,
  options: NbdOptions,
  beforeListening?: () => Promise<void>,
): Promise<NbdServer> {
  checkNbdOptions(options);
  const threads = whole("threads", options.threads ?? defaultThreads(), 1, THREADS_MAX);
  const connectionsMax = whole("connectionsMax", options.connectionsMax ?? 32, 1, 4096);
  const handshakeMs = whole("handshakeMs", options.handshakeMs ?? 10_000, 1, 3_600_000);
  const practiceMs = whole("practiceMs", options.practiceMs ?? 0, 0, 10_000);
  const order: Omit<ServeOrder, "warmUp"> = {
    order: "serve",
    store: store.share(),
    exports: options.exports.map(({ name = "", description = "", readOnly = false, device }) => ({
      ...{ name, description, readOnly },
      device: device.share(),
    })),
    tls: options.tls && tlsShare(options.tls),
    connectionsMax: Math.ceil(connectionsMax / threads),
    handshakeMs,
    times: SampledTimes.memory(REQUEST_KINDS.length),
  };
  const { listen, allow = [], log } = options;
  const start = (warmUp: WarmUpShare | undefined) => {
    const workers = Array.from({ length: threads }, () => idle.pop() ?? newWorker());
    for (const worker of workers) worker.ref();
    const released = (ended: readonly Worker[]) => {
      for (const worker of ended) worker.unref();
      idle.push(...ended);
    };
    const serverOptions = {
      ...{ listen, allow, connectionsMax, makeThread: newWorker, log, beforeListening },
    };
    return NbdServer.start(serverOptions, workers, { ...order, warmUp }, released);
  };
  return practiceMs === 0 ? start(undefined) : warmedUp(store, practiceMs, start);
}

/** Starts a server whose threads warm up first, on a device that is gone when they serve. */
function warmedUp(
  store: Store,
  ms: number,
  start: (warmUp: WarmUpShare) => Promise<NbdServer>,
): Promise<NbdServer> {
  return store.uncounted(async () => {
    const bytes = MAX_THREADS * WARM_UP_PAGES * store.pageSize;
    const device = Zram.create(store, bytes, WARM_UP_NUMBER);
    try {
      return await start({ device: device.share(), ms });
    } finally {
      device.destroy();
    }
  });
}

function newWorker(): Worker {
  const worker = startWorker(WORKER);
  // A worker without a server may fail too; then it is not used again.
  worker.on("error", () => {});
  worker.once("exit", () => {
    const at = idle.indexOf(worker);
    if (at >= 0) idle.splice(at, 1);
  });
  return worker;
}

/**
 * Certificates in the form that `server.renewTls` takes.
 * @throws ZcacheError ERR_INPUT if the key or a certificate is invalid, or they do not match
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
  throw new ZcacheError("ERR_OPTION", `${name} ${value}: must be from ${min} to ${max}`);
}
