// A socket that another thread has accepted and will close: the main thread listens, and hands each
// connection on to a worker by the number of its descriptor, which all threads share.
//
// Node has no way to give a descriptor away: the handle of whoever accepted it and the handle made
// here both believe that it is theirs. So one of them must never close it, and that is this one.
// Instead it stops, is kept under the number, and is used again when a connection of that number
// comes: there are never more of them than descriptors were open at once. The main thread closes
// when it is told that the handle is quiet; only then is the number given out again.
//
// What must not happen is that a handle is kept with bytes still to be written: they would go to
// the next client. So it is quiet only when the system has taken, or refused, all of them.
import { Socket, type SocketConstructorOpts } from "node:net";

/** The part of Node's own handle of a stream that is used here. */
interface Handle {
  reading: boolean;
  readonly writeQueueSize: number;
  readStop(): number;
  open(descriptor: number): number;
}

/** How often a handle is looked at that has something to write to a client that has gone. */
const LOOK_EVERY_MS = 20;

/** The handles of this thread that are not in use, by descriptor and kind. */
const kept = new Map<number, Handle>();

export interface BorrowedEvents {
  /** Bytes have arrived at the start of the buffer. @returns whether more may come */
  received(sizeBytes: number): boolean;
  /** All that was written has been taken. */
  drained(): void;
  /** The socket was ended, and waits until the system has taken, or refused, what is on its way. */
  stuck(): void;
  /** The client has gone, or the socket was ended: nothing more happens here. */
  ended(): void;
}

export class BorrowedSocket extends Socket {
  readonly #key: number;
  readonly #events: BorrowedEvents;
  #isClosing = false;

  /** @param buffer for what arrives; of this thread, since it is worked off at once */
  constructor(fd: number, isTcp: boolean, buffer: Uint8Array, events: BorrowedEvents) {
    const key = fd * 2 + (isTcp ? 1 : 0);
    const handle = kept.get(key);
    kept.delete(key);
    // An error that ended its last connection has left it marked as closed.
    handle?.open(fd);
    const options = {
      ...(handle === undefined ? { fd } : { handle }),
      readable: true,
      writable: true,
      allowHalfOpen: true,
      // Any write that is not taken at once is to be waited for.
      writableHighWaterMark: 1,
      onread: { buffer, callback: (sizeBytes: number) => events.received(sizeBytes) },
    };
    super(options as SocketConstructorOpts);
    this.#key = key;
    this.#events = events;
    this.on("drain", () => this.#drained());
    this.on("end", () => this.close());
    // What went wrong does not matter: the client has gone.
    this.on("error", () => {});
    this.resume();
  }

  /** Hands bytes on. @returns whether the system has taken them; else wait for `drained` */
  send(bytes: Uint8Array): boolean {
    if (this.destroyed || this.#isClosing) return true;
    this.write(bytes);
    return this.writableLength === 0;
  }

  /** Ends when all that was written has been taken. */
  close(): void {
    this.#isClosing = true;
    if (this.writableLength === 0) this.destroy();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const own = this as unknown as { _handle: Handle | null };
    const handle = own._handle;
    own._handle = null;
    if (handle !== null) {
      handle.readStop();
      handle.reading = false;
      if (handle.writeQueueSize > 0) this.#events.stuck();
      this.#keepWhenQuiet(handle);
    }
    super._destroy(error, done);
  }

  #drained(): void {
    if (this.writableLength > 0) return;
    if (this.#isClosing) this.destroy();
    else this.#events.drained();
  }

  #keepWhenQuiet(handle: Handle): void {
    if (handle.writeQueueSize > 0) {
      setTimeout(() => this.#keepWhenQuiet(handle), LOOK_EVERY_MS).unref();
      return;
    }
    // Callbacks of its last writes may still be on their way.
    setImmediate(() => {
      kept.set(this.#key, handle);
      this.#events.ended();
    });
  }
}
