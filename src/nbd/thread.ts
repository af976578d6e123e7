// What a thread does that serves connections: it takes those that the main thread has accepted, and
// says when one is over.
import type { TlsOptions } from "node:tls";
import type { Address } from "../base/brand.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import type { Zram, ZramShare } from "../zram/zram.ts";
import type { NbdExport } from "./exports.ts";
import { BLOCKS_OUT_MAX, makeBlock } from "./send_queue.ts";
import { type Lane, Session, type ThreadShare } from "./session.ts";
import { Practice } from "./warm_up.ts";

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

/** A device to practise on before a thread serves, and for how long. */
export interface PracticeShare {
  readonly device: ZramShare;
  readonly ms: number;
}

/** What a thread is told when it begins to serve. */
export interface ServeOrder {
  readonly order: "serve";
  /** What the store's `share()` gave: opened by whoever knows stores. */
  readonly store: unknown;
  readonly exports: readonly ExportShare[];
  readonly tls: TlsShare | undefined;
  /** Connections that it may be given at once. */
  readonly lanes: number;
  readonly handshakeMs: number;
  /** Of the times of requests (base/sampled_times.ts), by REQUEST_KINDS. */
  readonly times: SharedArrayBuffer;
  readonly practice: PracticeShare | undefined;
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
  /** For connections to come. */
  | { readonly order: "tls"; readonly tls: TlsShare }
  /** A connection is to end now. */
  | { readonly order: "abort"; readonly connection: number }
  /** Likewise, unless it has chosen an export. */
  | { readonly order: "give way"; readonly connection: number }
  | { readonly order: "end" };

export type Notice =
  | { readonly notice: "serves" }
  | { readonly notice: "negotiated"; readonly connection: number }
  /** It has ended, but for bytes that the client does not take. */
  | { readonly notice: "stuck"; readonly connection: number }
  /** What nobody expected: `stack` is what is logged, with those of its causes. */
  | {
      readonly notice: "error";
      readonly unit: string;
      readonly name: string;
      readonly stack: string;
    }
  | { readonly notice: "failed"; readonly message: string; readonly code: string }
  | { readonly notice: "over"; readonly connection: number }
  | { readonly notice: "ended" };

/** An error as it travels to the main thread: what is logged of it goes as text. */
export function errorNotice(unit: string, error: unknown): Notice {
  const name = error instanceof Error ? error.name : typeof error;
  return { notice: "error", unit, name, stack: stackOf(error) };
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause === undefined ? own : `${own}\ncaused by ${stackOf(error.cause)}`;
}

/** The devices that a thread opens, and how it lets go of them. */
export interface OpenDevices {
  readonly devices: readonly Zram[];
  close(): void;
}

/** Serves connections until it is told to end. */
export class ServingThread {
  readonly #opened: OpenDevices;
  #share: ThreadShare;
  readonly #lanes: Lane[] = [];
  readonly #sessions = new Map<number, Session>();
  readonly #tell: (notice: Notice) => void;
  #ending = false;

  /** @throws ZcacheError ERR_ARENA_FULL: no room for the buffers */
  constructor(order: ServeOrder, opened: OpenDevices, tell: (notice: Notice) => void) {
    this.#opened = opened;
    this.#tell = tell;
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
      failed: (unit, error) => tell(errorNotice(unit, error)),
    };
    // All of it now: a device that is full must still be read.
    for (let nth = 0; nth < order.lanes; nth++) {
      const held: Address = device.reserve(device.pageSize);
      this.#lanes.push({ block: makeBlock(device), held });
    }
  }

  /** Practises until the time is over. */
  practise(device: Zram, ms: number): Promise<void> {
    return new Practice(device, this.#share, this.#lanes[0]!).run(ms);
  }

  take({ connection, descriptor, isTcp }: Accepted): void {
    const lane = this.#lanes.pop()!;
    const ended = () => {
      this.#sessions.delete(connection);
      this.#lanes.push(lane);
      this.#tell({ notice: "over", connection });
      this.#endIfDone();
    };
    const events = {
      ended,
      negotiated: () => this.#tell({ notice: "negotiated", connection }),
      stuck: () => this.#tell({ notice: "stuck", connection }),
    };
    try {
      const session = new Session(descriptor, isTcp, this.#share, lane, events);
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

  /** Takes other certificates, for connections to come. */
  renew(tls: TlsShare): void {
    this.#share = { ...this.#share, tls };
  }

  /** Ends all connections; says so when they have ended. */
  end(): void {
    this.#ending = true;
    for (const session of this.#sessions.values()) session.abort();
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (!this.#ending || this.#sessions.size > 0) return;
    this.#opened.close();
    this.#tell({ notice: "ended" });
  }
}
