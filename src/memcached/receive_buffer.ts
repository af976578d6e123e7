// The receive buffer of a thread. All its connections read into this one buffer, because each read
// is processed before the next begins. Bytes of a request that is not complete are copied to a
// buffer of the connection.
//
//   HEAD_BYTES                       the rest
//  ┌──────────────┬───────────────────────────────────────┐
//  │     part of ◄│► bytes of the last read               │
//  └──────────────┴───────────────────────────────────────┘
//
// A part of a line is put in front of the next read, so that a line is always in one piece. A
// value that is not complete grows in the connection's buffer, which is as large as what was
// received, and at most as large as the value.
import { assert } from "../base/errors.ts";
import type { Engine } from "./engine.ts";
import type { Session } from "./session.ts";

/** Longer than any line that may still be completed. */
const HEAD_BYTES = 4096;
/** Both parts are the largest block that an arena with pages of 4 KiB can reserve. */
const BUFFER_BYTES = 65_536;
const NOTHING = new Uint8Array(0);
/** The first size of a connection's buffer. */
const PENDING_BYTES_MIN = 512;

export class ReceiveBuffer {
  readonly #engine: Engine;
  readonly #buffer: Uint8Array;
  /** Sockets read into this part. */
  readonly target: Uint8Array;
  readonly #pendingBytesMax: number;
  /** Bytes of the buffers of all connections. */
  pendingBytes = 0;

  /** @param makeBuffer makes a buffer from which the store takes values without a copy */
  constructor(engine: Engine, makeBuffer?: (bytes: number) => Uint8Array | undefined) {
    this.#engine = engine;
    this.#buffer = makeBuffer?.(BUFFER_BYTES) ?? new Uint8Array(BUFFER_BYTES);
    this.target = this.#buffer.subarray(HEAD_BYTES);
    this.#pendingBytesMax = engine.parts.settings.pendingBytesMax;
  }

  /**
   * Processes the bytes that a connection has read into `target`.
   * @returns false if buffers take too much memory, and the connection must end
   */
  received(session: Session, length: number): boolean {
    let from = HEAD_BYTES;
    const to = HEAD_BYTES + length;
    while (session.need > 0 && !this.#engine.paused) {
      const taken = Math.min(session.need - session.pendingBytes, to - from);
      if (!this.#keepRest(session, this.#buffer, from, from + taken)) return false;
      from += taken;
      if (session.pendingBytes < session.need) return true;
      if (!this.resume(session)) return false;
      if (session.closing) return true;
    }
    if (this.#engine.paused) return this.#keepRest(session, this.#buffer, from, to);
    if (session.pendingBytes > 0) {
      const part = session.pendingBytes;
      assert(part <= HEAD_BYTES, "a part of a line is shorter than a line may be");
      from -= part;
      this.#buffer.set(session.pending!.subarray(0, part), from);
      this.forget(session);
    }
    return this.#process(session, this.#buffer, from, to);
  }

  /** Processes bytes that were read into another buffer. */
  receivedCopy(session: Session, bytes: Uint8Array): boolean {
    const most = this.target.length;
    for (let at = 0; at < bytes.length; at += most) {
      const piece = bytes.subarray(at, at + most);
      this.target.set(piece);
      if (!this.received(session, piece.length)) return false;
    }
    return true;
  }

  /** Continues with bytes that had to wait in the connection's buffer. */
  resume(session: Session): boolean {
    const { pending, pendingBytes } = session;
    const used = this.#engine.feed(session, pending ?? NOTHING, 0, pendingBytes);
    const left = pendingBytes - used;
    if (pending === undefined || left === 0 || session.closing) this.forget(session);
    else if (pending.length > 2 * left + PENDING_BYTES_MIN) {
      this.forget(session);
      return this.#keepRest(session, pending, used, pendingBytes);
    } else {
      pending.copyWithin(0, used, pendingBytes);
      session.pendingBytes = left;
    }
    return true;
  }

  /** Drops a connection's buffer. */
  forget(session: Session): void {
    this.pendingBytes -= session.pending?.length ?? 0;
    session.pending = undefined;
    session.pendingBytes = 0;
  }

  #process(session: Session, bytes: Uint8Array, from: number, to: number): boolean {
    const used = this.#engine.feed(session, bytes, from, to);
    if (used === to || session.closing) return true;
    return this.#keepRest(session, bytes, used, to);
  }

  #keepRest(session: Session, bytes: Uint8Array, from: number, to: number): boolean {
    const total = session.pendingBytes + to - from;
    if (total === 0) return true;
    const capacity = session.pending?.length ?? 0;
    if (capacity < total) {
      // Doubled, so that a value that comes byte by byte is not copied for each byte; but never
      // larger than the value.
      const most = Math.max(session.need, total);
      const wanted = Math.min(Math.max(total * 2, PENDING_BYTES_MIN), most);
      if (this.pendingBytes + wanted - capacity > this.#pendingBytesMax) return false;
      const grown = new Uint8Array(wanted);
      if (session.pending !== undefined) {
        grown.set(session.pending.subarray(0, session.pendingBytes));
      }
      session.pending = grown;
      this.pendingBytes += wanted - capacity;
    }
    session.pending!.set(bytes.subarray(from, to), session.pendingBytes);
    session.pendingBytes = total;
    return true;
  }
}
