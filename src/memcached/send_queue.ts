// Replies that the system did not take at once: copies that wait for their clients. All of them
// together stay below a limit. Where more must wait, the connection that has taken nothing for
// longest is closed: who does not read keeps no memory from those who do.
import type { Socket } from "node:net";
import { C, type Counters } from "./items/counters.ts";

/** What is known of a connection's replies. */
export interface Receiver {
  readonly socket: Socket;
  /** Bytes that wait. */
  unsentBytes: number;
  /** When the client last took some, or some began to wait: ms since 1970. */
  takenAtMs: number;
  /** Called when some have been taken. Made when it is first needed. */
  onTaken: ((error?: Error | null) => void) | undefined;
}

export interface UnsentOptions<R extends Receiver> {
  readonly counters: Counters;
  /** Of all receivers together. */
  readonly bytesMax: () => number;
  readonly receivers: () => Iterable<R>;
  /** A receiver has taken what waited, or some of it. */
  readonly taken: (receiver: R) => void;
}

export class Unsent<R extends Receiver> {
  readonly #options: UnsentOptions<R>;
  #bytes = 0;

  constructor(options: UnsentOptions<R>) {
    this.#options = options;
  }

  /** @param bytes to be sent when the client takes them; they belong to the socket now */
  send(receiver: R, bytes: Uint8Array): void {
    const { socket } = receiver;
    if (receiver.unsentBytes === 0) receiver.takenAtMs = Date.now();
    receiver.onTaken ??= (error) => this.#progress(receiver, error);
    socket.write(bytes, receiver.onTaken);
    this.#count(receiver);
    if (this.#bytes > this.#options.bytesMax()) this.#makeRoom(receiver);
  }

  /** A connection has been closed. */
  forget(receiver: R): void {
    this.#bytes -= receiver.unsentBytes;
    receiver.unsentBytes = 0;
    this.#tell();
  }

  #progress(receiver: R, error: Error | null | undefined): void {
    // A client that is gone takes nothing, and nothing more is done for it. Node tells of the error
    // before it destroys the socket.
    if (error !== undefined && error !== null) receiver.socket.destroy();
    if (receiver.socket.destroyed) return;
    receiver.takenAtMs = Date.now();
    this.#count(receiver);
    this.#options.taken(receiver);
  }

  #count(receiver: R): void {
    const now = receiver.socket.writableLength;
    this.#bytes += now - receiver.unsentBytes;
    receiver.unsentBytes = now;
    this.#tell();
  }

  #tell(): void {
    this.#options.counters.own[C.response_obj_bytes] = this.#bytes;
  }

  #makeRoom(spared: R): void {
    const { receivers, counters, bytesMax } = this.#options;
    const waiting = [...receivers()].filter((one) => one.unsentBytes > 0 && one !== spared);
    waiting.sort((a, b) => a.takenAtMs - b.takenAtMs || b.unsentBytes - a.unsentBytes);
    for (const one of waiting) {
      if (this.#bytes <= bytesMax()) return;
      counters.own[C.response_obj_oom]!++;
      this.forget(one);
      one.socket.destroy();
    }
  }
}
