// One connection from its first byte to its last: handshake, TLS, transmission.
import { Duplex } from "node:stream";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import type { Address } from "../base/brand.ts";
import type { SampledTimes } from "../base/sampled_times.ts";
import type { Zram } from "../zram/zram.ts";
import type { NbdExport } from "./exports.ts";
import { Negotiation, type Outcome, type Tls } from "./negotiation.ts";
import { greeting } from "./protocol/handshake.ts";
import { type Block, type Link, SendQueue } from "./send_queue.ts";
import { SharedFdSocket } from "./shared_fd_socket.ts";
import { Transmission } from "./transmission.ts";

/** Buffers that a connection has to itself; made when its thread starts, and used again. */
export interface ConnectionBuffers {
  readonly block: Block;
  /** Room for a page. */
  readonly held: Address;
}

/** What the connections of a thread share. */
export interface ThreadShare {
  readonly exports: readonly NbdExport[];
  readonly device: Zram;
  readonly input: Block;
  readonly blocks: Block[];
  readonly tls: { readonly mode: "offered" | "required"; readonly options: TlsOptions } | undefined;
  readonly handshakeMs: number;
  readonly times: SampledTimes;
  /** Takes an unexpected error. @param unit what the error has ended */
  readonly failed: (unit: string, error: unknown) => void;
}

export interface SessionEvents {
  /** An export has been chosen. */
  negotiated(): void;
  /** The connection has ended, but the client does not take the bytes that are left. */
  stuck(): void;
  /** Nothing uses the descriptor any more: it may be closed. */
  ended(): void;
}

/** The most bytes of a TLS record. */
const PIECE_BYTES = 16 * 1024;
const UNIT = "nbd: a connection";

export class Session implements Link {
  readonly #share: ThreadShare;
  readonly #socket: SharedFdSocket;
  readonly #queue: SendQueue;
  readonly #held: Address;
  readonly #timer: NodeJS.Timeout;
  #negotiation: Negotiation | undefined;
  #transmission: Transmission | undefined;
  #tunnel: Tunnel | undefined;
  #secure: TLSSocket | undefined;
  #secureDrains = false;
  readonly #secureWritten = (error?: Error | null): void => {
    const secure = this.#secure!;
    // Node reports a failed write before it destroys the stream: no byte was taken.
    if (error !== undefined && error !== null) secure.destroy();
    if (!this.#secureDrains || secure.destroyed || secure.writableLength > 0) return;
    this.#secureDrains = false;
    this.#drained();
  };
  readonly #events: SessionEvents;

  constructor(
    { descriptor, isTcp }: { readonly descriptor: number; readonly isTcp: boolean },
    share: ThreadShare,
    buffers: ConnectionBuffers,
    events: SessionEvents,
  ) {
    this.#share = share;
    this.#held = buffers.held;
    this.#events = events;
    this.#queue = new SendQueue(this, buffers.block, share.blocks);
    this.#timer = setTimeout(() => this.#abort(), share.handshakeMs);
    this.#timer.unref();
    this.#socket = new SharedFdSocket(descriptor, isTcp, share.input.buffer, {
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
    // The event "drain" comes only above the high-water mark; fewer bytes must be waited for too.
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

  /** Ends the connection at once; unsent bytes are dropped. */
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
    this.#queue.end();
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
      this.#transmission = new Transmission({
        agreed: outcome,
        link: this,
        queue: this.#queue,
        input: input.address,
        held: this.#held,
        times,
      });
      // The rest came with the last piece, so it fits.
      input.buffer.set(rest);
      if (rest.length > 0) return this.#transmission.receive(rest.length);
    }
    return true;
  }

  /**
   * Everything that follows goes through TLS; bytes that came too early must not be read as plain.
   * Each connection has a TLS server of its own: only a server refuses client certificates as it
   * should.
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
 * The stream that TLS runs over. On a socket, TLS would take over the handle and close it in the
 * end, which must not happen to a shared descriptor.
 */
class Tunnel extends Duplex {
  readonly #socket: SharedFdSocket;
  #written: ((error?: Error | null) => void) | undefined;

  constructor(socket: SharedFdSocket) {
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
