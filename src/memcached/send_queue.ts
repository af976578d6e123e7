// The send queue of a thread: copies of replies that the system did not accept at once. All of them
// together stay below a limit. Above it, the connection that has accepted nothing for longest is
// closed: a client that does not read takes no memory from clients that do.
import type { Socket } from "node:net";
import { C, type Counters } from "./items/counters.ts";

/** A connection with replies in the queue. */
export interface Receiver {
  readonly socket: Socket;
  /** Bytes in the queue. */
  unsentBytes: number;
  /** When the client last accepted some, or the queue began: ms since 1970. */
  takenAtMs: number;
  /** Called when the client has accepted some. Created when it is first needed. */
  onTaken: ((error?: Error | null) => void) | undefined;
}

export interface SendQueueOptions<R extends Receiver> {
  readonly counters: Counters;
  /** The limit for all receivers together. */
  readonly bytesMax: () => number;
  readonly receivers: () => Iterable<R>;
  /** Called when a receiver has accepted bytes of the queue. */
  readonly accepted: (receiver: R) => void;
}

export class SendQueue<R extends Receiver> {
  readonly #options: SendQueueOptions<R>;
  #bytes = 0;

  constructor(options: SendQueueOptions<R>) {
    this.#options = options;
  }

  /** Queues bytes, which belong to the socket from now on. */
  send(receiver: R, bytes: Uint8Array): void {
    const { socket } = receiver;
    if (receiver.unsentBytes === 0) receiver.takenAtMs = Date.now();
    receiver.onTaken ??= (error) => this.#progress(receiver, error);
    socket.write(bytes, receiver.onTaken);
    this.#count(receiver);
    if (this.#bytes > this.#options.bytesMax()) this.#makeRoom(receiver);
  }

  /** To be called when a connection has been closed. */
  forget(receiver: R): void {
    this.#bytes -= receiver.unsentBytes;
    receiver.unsentBytes = 0;
    this.#publish();
  }

  #progress(receiver: R, error: Error | null | undefined): void {
    // A client that is gone accepts nothing more. Node reports the error before it destroys the
    // socket.
    if (error !== undefined && error !== null) receiver.socket.destroy();
    if (receiver.socket.destroyed) return;
    receiver.takenAtMs = Date.now();
    this.#count(receiver);
    this.#options.accepted(receiver);
  }

  #count(receiver: R): void {
    const now = receiver.socket.writableLength;
    this.#bytes += now - receiver.unsentBytes;
    receiver.unsentBytes = now;
    this.#publish();
  }

  #publish(): void {
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
