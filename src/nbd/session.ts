// One client from its first byte to its last: handshake, TLS if that is wanted, transmission.
import { Duplex } from "node:stream";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import type { Address } from "../base/brand.ts";
import type { SampledTimes } from "../base/sampled_times.ts";
import type { Zram } from "../zram/zram.ts";
import type { NbdExport } from "./exports.ts";
import { Negotiation, type Outcome, type Tls } from "./negotiation.ts";
import { greeting } from "./protocol/handshake.ts";
import { type Block, type Link, Outbox } from "./send_queue.ts";
import { BorrowedSocket } from "./shared_fd_socket.ts";
import { Transmission } from "./transmission.ts";

/** What a connection has of its own while it lasts, made when its thread started. */
export interface Lane {
  readonly block: Block;
  /** Room for a page. */
  readonly held: Address;
}

/** What all connections of a thread have together. */
export interface ThreadShare {
  readonly exports: readonly NbdExport[];
  readonly device: Zram;
  readonly input: Block;
  readonly blocks: Block[];
  readonly tls: { readonly mode: "offered" | "required"; readonly options: TlsOptions } | undefined;
  readonly handshakeMs: number;
  readonly times: SampledTimes;
  /** Told of what nobody expected, and of what that ends. */
  readonly failed: (unit: string, error: unknown) => void;
}

export interface SessionEvents {
  /** An export has been chosen. */
  negotiated(): void;
  /** It has ended, but for bytes that the client does not take. */
  stuck(): void;
  /** Nothing is left to be done, and the descriptor may be closed. */
  ended(): void;
}

/** Bytes of one TLS record at most: what arrives at once through TLS fits into a block. */
const PIECE_BYTES = 16 * 1024;
const UNIT = "nbd: a connection";

export class Session implements Link {
  readonly #share: ThreadShare;
  readonly #socket: BorrowedSocket;
  readonly #outbox: Outbox;
  readonly #held: Address;
  readonly #timer: NodeJS.Timeout;
  #negotiation: Negotiation | undefined;
  #transmission: Transmission | undefined;
  #tunnel: Tunnel | undefined;
  #secure: TLSSocket | undefined;
  #secureDrains = false;
  readonly #secureWritten = (error?: Error | null): void => {
    const secure = this.#secure!;
    // Node tells of a failed write before it destroys the stream: nothing was taken.
    if (error !== undefined && error !== null) secure.destroy();
    if (!this.#secureDrains || secure.destroyed || secure.writableLength > 0) return;
    this.#secureDrains = false;
    this.#drained();
  };
  readonly #events: SessionEvents;

  constructor(fd: number, isTcp: boolean, share: ThreadShare, lane: Lane, events: SessionEvents) {
    this.#share = share;
    this.#held = lane.held;
    this.#events = events;
    this.#outbox = new Outbox(this, lane.block, share.blocks);
    this.#timer = setTimeout(() => this.#abort(), share.handshakeMs);
    this.#timer.unref();
    this.#socket = new BorrowedSocket(fd, isTcp, share.input.buffer, {
      received: (sizeBytes) => {
        try {
          return this.#received(sizeBytes);
        } catch (error) {
          this.fail(error);
          return true;
        }
      },
      stuck: () => events.stuck(),
      drained: () => (this.#tunnel === undefined ? this.#drained() : undefined),
      ended: () => {
        try {
          this.#finish();
        } catch (error) {
          this.#share.failed(UNIT, error);
        }
        events.ended();
      },
    });
    this.#negotiate(share.tls?.mode ?? "none");
    this.send(greeting());
  }

  fail(error: unknown): void {
    this.#share.failed(UNIT, error);
    this.#abort();
  }

  #drained(): void {
    try {
      this.#transmission?.drained();
    } catch (error) {
      this.fail(error);
    }
  }

  send(bytes: Uint8Array): boolean {
    const secure = this.#secure;
    if (secure === undefined) return this.#socket.send(bytes);
    if (secure.destroyed) return true;
    // Not "drain": that comes only after more than the stream's mark, and less waits here too.
    secure.write(bytes, this.#secureWritten);
    this.#secureDrains = secure.writableLength > 0;
    return !this.#secureDrains;
  }

  resume(): void {
    if (this.#secure === undefined) this.#socket.resume();
    else this.#secure.resume();
  }

  close(): void {
    clearTimeout(this.#timer);
    if (this.#secure === undefined) this.#socket.close();
    else this.#secure.end(() => this.#secure?.destroy());
  }

  /** Whether an export has been chosen. */
  get isNegotiated(): boolean {
    return this.#transmission !== undefined;
  }

  /** Ends the connection at once, whatever is on its way. */
  #abort(): void {
    this.#secure?.destroy();
    this.#tunnel?.destroy();
    this.#socket.destroy();
  }

  /** For a server that ends. */
  abort(): void {
    this.#abort();
  }

  #finish(): void {
    clearTimeout(this.#timer);
    this.#secure?.destroy();
    this.#tunnel?.destroy();
    this.#transmission?.end();
    this.#outbox.end();
  }

  #negotiate(mode: Tls): void {
    const { exports } = this.#share;
    this.#negotiation = new Negotiation(exports, mode, (bytes) => this.send(bytes));
  }

  #received(sizeBytes: number): boolean {
    if (this.#tunnel !== undefined) {
      return this.#tunnel.arrived(Buffer.from(this.#share.input.buffer.subarray(0, sizeBytes)));
    }
    return this.#take(sizeBytes);
  }

  /** Takes plain bytes that stand at the start of the input block. */
  #take(sizeBytes: number): boolean {
    if (this.#transmission !== undefined) return this.#transmission.receive(sizeBytes);
    const outcome = this.#negotiation?.feed(this.#share.input.buffer.subarray(0, sizeBytes));
    return outcome === undefined ? true : this.#next(outcome);
  }

  #next(outcome: Outcome): boolean {
    const rest = this.#negotiation!.rest;
    this.#negotiation = undefined;
    if (outcome.next === "closed") this.close();
    else if (outcome.next === "tls") this.#startTls(rest);
    else {
      clearTimeout(this.#timer);
      this.#events.negotiated();
      const { input, times } = this.#share;
      const { address } = input;
      const held = this.#held;
      this.#transmission = new Transmission(outcome, this, this.#outbox, address, held, times);
      // What is left over came with the last piece, so it is no more than fits.
      input.buffer.set(rest);
      if (rest.length > 0) return this.#transmission.receive(rest.length);
    }
    return true;
  }

  /**
   * All that follows goes through TLS; what came too early is not ours to read as plain. A server
   * of its own accepts it, because only a server refuses certificates as it should, and this one
   * knows whose connection it secures.
   */
  #startTls(rest: Uint8Array): void {
    const { options } = this.#share.tls!;
    const server = createTlsServer(options, (secure) => this.#secured(secure));
    server.on("tlsClientError", () => this.#abort());
    const tunnel = new Tunnel(this.#socket);
    this.#tunnel = tunnel;
    this.#socket.on("drain", () => tunnel.drained());
    tunnel.on("close", () => this.#socket.destroy());
    server.emit("connection", tunnel);
    if (rest.length > 0) tunnel.arrived(Buffer.from(rest));
  }

  #secured(secure: TLSSocket): void {
    this.#secure = secure;
    this.#negotiate("active");
    secure.on("data", (data: Buffer) => {
      try {
        this.#takeSecured(secure, data);
      } catch (error) {
        this.fail(error);
      }
    });
    secure.on("end", () => secure.destroy());
    secure.on("close", () => this.#socket.destroy());
    secure.on("error", () => {});
  }

  #takeSecured(secure: TLSSocket, data: Buffer): void {
    for (let at = 0; at < data.length && !secure.destroyed; at += PIECE_BYTES) {
      const piece = data.subarray(at, at + PIECE_BYTES);
      this.#share.input.buffer.set(piece);
      if (!this.#take(piece.length)) secure.pause();
    }
  }
}

/**
 * The stream that TLS runs over. TLS takes a socket's handle over and closes it in the end, which
 * is not to be done to a borrowed one: so it gets this.
 */
class Tunnel extends Duplex {
  readonly #socket: BorrowedSocket;
  #written: ((error?: Error | null) => void) | undefined;

  constructor(socket: BorrowedSocket) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    socket.once("close", () => this.destroy());
    this.on("error", () => {});
  }

  arrived(bytes: Buffer): boolean {
    return this.push(bytes);
  }

  drained(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#socket.send(chunk)) done();
    else this.#written = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    done();
  }
}
