// A socket on a descriptor that the main thread has accepted and will close. The main thread hands
// the number of the descriptor to a worker; all threads of a process share descriptors.
//
// Node can't pass a descriptor to another thread: the main thread's handle and the handle made here
// both own it. So one of them must never close it, and that is the worker's. Instead the worker's
// handle stops reading, is kept under the descriptor's number, and serves again when a connection
// with that number comes. There are never more handles than descriptors were open at a time. The
// main thread closes the descriptor once the handle is idle; only then can the number come again.
//
// A handle must not be kept while it has bytes to write, which would go to the next client: it is
// idle only once the system has taken or refused all of them.
import { Socket, type SocketConstructorOpts } from "node:net";

/** The part of Node's own handle of a stream that is used here. */
interface Handle {
  reading: boolean;
  readonly writeQueueSize: number;
  readStop(): number;
  open(descriptor: number): number;
}

/** How often a handle with unwritten bytes of an ended connection is checked. */
const CHECK_EVERY_MS = 20;

/** Idle handles of this thread, by descriptor and kind of socket. */
const idleHandles = new Map<number, Handle>();

export interface SharedFdEvents {
  /** Bytes were received, at the start of the buffer. @returns whether to read on */
  received(sizeBytes: number): boolean;
  /** The system has taken all bytes. */
  drained(): void;
  /** The socket has ended, but the system has not taken or refused all bytes yet. */
  stuck(): void;
  /** The socket has ended and its handle is idle. */
  ended(): void;
}

export class SharedFdSocket extends Socket {
  readonly #key: number;
  readonly #events: SharedFdEvents;
  #isClosing = false;

  /** @param buffer receives bytes, which are used at once: all sockets of a thread share it */
  constructor(fd: number, isTcp: boolean, buffer: Uint8Array, events: SharedFdEvents) {
    const key = fd * 2 + (isTcp ? 1 : 0);
    const handle = idleHandles.get(key);
    idleHandles.delete(key);
    // If an error has ended the handle's last connection, the handle is marked as closed.
    handle?.open(fd);
    const options = {
      ...(handle === undefined ? { fd } : { handle }),
      readable: true,
      writable: true,
      allowHalfOpen: true,
      // Every write that the system does not take at once must be waited for.
      writableHighWaterMark: 1,
      onread: { buffer, callback: (sizeBytes: number) => events.received(sizeBytes) },
    };
    super(options as SocketConstructorOpts);
    this.#key = key;
    this.#events = events;
    this.on("drain", () => this.#drained());
    this.on("end", () => this.close());
    // The connection ends with any error; "close" follows.
    this.on("error", () => {});
    this.resume();
  }

  /** Sends bytes. @returns whether the system has taken them; if not, wait for `drained` */
  send(bytes: Uint8Array): boolean {
    if (this.destroyed || this.#isClosing) return true;
    this.write(bytes);
    return this.writableLength === 0;
  }

  /** Ends once the system has taken all bytes. */
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
      this.#keepWhenIdle(handle);
    }
    super._destroy(error, done);
  }

  #drained(): void {
    if (this.writableLength > 0) return;
    if (this.#isClosing) this.destroy();
    else this.#events.drained();
  }

  #keepWhenIdle(handle: Handle): void {
    if (handle.writeQueueSize > 0) {
      setTimeout(() => this.#keepWhenIdle(handle), CHECK_EVERY_MS).unref();
      return;
    }
    // Callbacks of the last writes may be pending.
    setImmediate(() => {
      idleHandles.set(this.#key, handle);
      this.#events.ended();
    });
  }
}
