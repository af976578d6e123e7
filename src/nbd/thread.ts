// A thread that serves connections: it takes those that the main thread has accepted, and reports
// when one has ended.
import type { TlsOptions } from "node:tls";
import type { Address } from "../base/brand.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import type { Zram, ZramShare } from "../zram/zram.ts";
import type { NbdExport } from "./exports.ts";
import { BLOCKS_OUT_MAX, makeBlock } from "./send_queue.ts";
import { type ConnectionBuffers, Session, type ThreadShare } from "./session.ts";
import { WarmUp } from "./warm_up.ts";

/** One export as it travels to a thread. */
export interface ExportShare {
  readonly name: string;
  readonly description: string;
  readonly readOnly: boolean;
  readonly device: ZramShare;
}

export interface TlsShare {
  readonly mode: "offered" | "required";
  /** Only what goes through `postMessage`: key, cert, ca, requestCert, rejectUnauthorized. */
  readonly options: TlsOptions;
}

/** A device for the warm-up of a thread, and how long it takes. */
export interface WarmUpShare {
  readonly device: ZramShare;
  readonly ms: number;
}

/** The order to serve: everything that a thread needs for that. */
export interface ServeOrder {
  readonly order: "serve";
  /** What the store's `share()` returned; worker.ts attaches to it. */
  readonly store: unknown;
  readonly exports: readonly ExportShare[];
  readonly tls: TlsShare | undefined;
  /** Connections that the thread serves at a time. */
  readonly connectionsMax: number;
  readonly handshakeMs: number;
  /** Of the times of requests (base/sampled_times.ts), by REQUEST_KINDS. */
  readonly times: SharedArrayBuffer;
  readonly warmUp: WarmUpShare | undefined;
}

/** A connection that the main thread has accepted. */
export interface Accepted {
  readonly connection: number;
  readonly descriptor: number;
  readonly isTcp: boolean;
}

export type Order =
  | ServeOrder
  | ({ readonly order: "take" } & Accepted)
  /** Certificates for new connections. */
  | { readonly order: "tls"; readonly tls: TlsShare }
  /** Ends a connection now. */
  | { readonly order: "abort"; readonly connection: number }
  /** Ends a connection that has not chosen an export, for another one. */
  | { readonly order: "give way"; readonly connection: number }
  | { readonly order: "end" };

export type Notice =
  | { readonly notice: "serving" }
  | { readonly notice: "negotiated"; readonly connection: number }
  /** The connection has ended, but the client does not take the bytes that are left. */
  | { readonly notice: "stuck"; readonly connection: number }
  /** An unexpected error; `stack` has the stacks of its causes too. */
  | {
      readonly notice: "error";
      readonly unit: string;
      readonly name: string;
      readonly stack: string;
    }
  | { readonly notice: "failed"; readonly message: string; readonly code: string }
  | { readonly notice: "connection ended"; readonly connection: number }
  | { readonly notice: "ended" };

/** An error as it travels to the main thread: as the text that is logged. */
export function errorNotice(unit: string, error: unknown): Notice {
  const name = error instanceof Error ? error.name : typeof error;
  return { notice: "error", unit, name, stack: stackOf(error) };
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause === undefined ? own : `${own}\ncaused by ${stackOf(error.cause)}`;
}

/** The devices that a thread has opened. */
export interface OpenDevices {
  readonly devices: readonly Zram[];
  close(): void;
}

export class ServingThread {
  readonly #opened: OpenDevices;
  #share: ThreadShare;
  /** Buffers for further connections. */
  readonly #buffers: ConnectionBuffers[] = [];
  readonly #sessions = new Map<number, Session>();
  readonly #send: (notice: Notice) => void;
  #ending = false;

  /** @throws ZcacheError ERR_ARENA_FULL: no room for the buffers */
  constructor(order: ServeOrder, opened: OpenDevices, send: (notice: Notice) => void) {
    this.#opened = opened;
    this.#send = send;
    const device = opened.devices[0]!;
    const exports: NbdExport[] = order.exports.map((one, nth) => ({
      ...one,
      device: opened.devices[nth]!,
    }));
    this.#share = {
      exports,
      device,
      input: makeBlock(device),
      blocks: Array.from({ length: BLOCKS_OUT_MAX }, () => makeBlock(device)),
      tls: order.tls,
      handshakeMs: order.handshakeMs,
      times: new SampledTimes(order.times),
      failed: (unit, error) => send(errorNotice(unit, error)),
    };
    // Allocated now, because a full device must still be served.
    for (let nth = 0; nth < order.connectionsMax; nth++) {
      const held: Address = device.reserve(device.pageSize);
      this.#buffers.push({ block: makeBlock(device), held });
    }
  }

  warmUp(device: Zram, ms: number): Promise<void> {
    return new WarmUp(device, this.#share, this.#buffers[0]!).run(ms);
  }

  take(accepted: Accepted): void {
    const { connection } = accepted;
    const buffers = this.#buffers.pop()!;
    const ended = () => {
      this.#sessions.delete(connection);
      this.#buffers.push(buffers);
      this.#send({ notice: "connection ended", connection });
      this.#endIfDone();
    };
    const events = {
      ended,
      negotiated: () => this.#send({ notice: "negotiated", connection }),
      stuck: () => this.#send({ notice: "stuck", connection }),
    };
    try {
      const session = new Session(accepted, this.#share, buffers, events);
      this.#sessions.set(connection, session);
    } catch (error) {
      this.#share.failed("nbd: a connection", error);
      ended();
    }
  }

  /** Ends a connection that has not chosen an export. */
  giveWay(connection: number): void {
    const session = this.#sessions.get(connection);
    if (session?.isNegotiated === false) session.abort();
  }

  /** Ends a connection now. */
  abort(connection: number): void {
    this.#sessions.get(connection)?.abort();
  }

  /** Uses other certificates for new connections. */
  renew(tls: TlsShare): void {
    this.#share = { ...this.#share, tls };
  }

  /** Ends all connections; reports when they have ended. */
  end(): void {
    this.#ending = true;
    for (const session of this.#sessions.values()) session.abort();
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (!this.#ending || this.#sessions.size > 0) return;
    this.#opened.close();
    this.#send({ notice: "ended" });
  }
}
