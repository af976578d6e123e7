// The reply buffer of a thread. It is flushed when it is full, and when all requests of a read have
// been executed.
import { assert } from "../../base/errors.ts";
import { writeU32, writeU64 } from "../../base/u64.ts";

/**
 * The most that a reply takes besides a value and lists: a key in base64 with an opaque token and
 * eight numbers, or a header of the binary protocol with a key.
 */
export const REPLY_BYTES_MAX = 1024;
/** Below this a copy byte by byte is quicker than a call. */
const COPY_BYTES_MIN = 32;

export class Reply {
  bytes: Uint8Array;
  at = 0;
  /** Where the reply to the request begins that is being executed, as far as it is not sent. */
  #begun = 0;
  readonly #flush: (reply: Reply) => void;
  /** The buffer of all replies but those that are longer. */
  readonly #home: Uint8Array;
  /** The buffer of longer replies; kept, because a new one costs more than the reply. */
  #spare: Uint8Array | undefined;
  #isSpareUsed = false;

  /**
   * @param capacity bytes of the buffer; single replies may be longer
   * @param flush takes bytes [0, at) and sets `at` to 0; the buffer is free again when it returns
   * @param home a buffer of `capacity` bytes that the store fills without a copy, if there is one
   */
  constructor(capacity: number, flush: (reply: Reply) => void, home?: Uint8Array) {
    assert(capacity >= 2 * REPLY_BYTES_MAX, "every reply without a value fits");
    this.#home = home ?? new Uint8Array(capacity);
    assert(this.#home.length === capacity, "the given buffer has the capacity");
    this.bytes = this.#home;
    this.#flush = flush;
  }

  /** Sends what is in the buffer. */
  flush(): void {
    if (this.at > 0) this.#flush(this);
    assert(this.at === 0, "a flush empties the buffer");
    this.#begun = 0;
    this.bytes = this.#home;
  }

  /** Drops what is in the buffer. */
  discard(): void {
    this.at = 0;
    this.bytes = this.#home;
  }

  /** To be called before a request is executed. */
  begin(): void {
    this.#begun = this.at;
  }

  /** Takes back what was written for that request since `begin`, or since the last `room`. */
  rollBack(): void {
    this.at = this.#begun;
  }

  /** Makes room for so many more bytes. */
  room(bytes: number): void {
    if (this.bytes.length - this.at >= bytes) return;
    this.flush();
    if (this.bytes.length >= bytes) return;
    this.#isSpareUsed = true;
    if ((this.#spare?.length ?? 0) < bytes) this.#spare = new Uint8Array(bytes);
    this.bytes = this.#spare!;
  }

  /** Frees the buffer of longer replies, unless there was one since the last call. */
  trim(): void {
    if (!this.#isSpareUsed) this.#spare = undefined;
    this.#isSpareUsed = false;
  }

  byte(value: number): void {
    this.bytes[this.at++] = value;
  }

  /** A space and a letter: one flag of a meta reply. */
  flag(letter: number): void {
    this.bytes[this.at] = 32;
    this.bytes[this.at + 1] = letter;
    this.at += 2;
  }

  literal(bytes: Uint8Array): void {
    const { at } = this;
    for (let i = 0; i < bytes.length; i++) this.bytes[at + i] = bytes[i]!;
    this.at = at + bytes.length;
  }

  /** Letters up to 255, a byte for each. */
  text(letters: string): void {
    const { at } = this;
    for (let i = 0; i < letters.length; i++) this.bytes[at + i] = letters.charCodeAt(i);
    this.at = at + letters.length;
  }

  copy(bytes: Uint8Array, from: number, to: number): void {
    if (to - from < COPY_BYTES_MIN) {
      let { at } = this;
      for (let i = from; i < to; i++) this.bytes[at++] = bytes[i]!;
      this.at = at;
      return;
    }
    this.bytes.set(bytes.subarray(from, to), this.at);
    this.at += to - from;
  }

  u32(value: number): void {
    this.at = writeU32(this.bytes, this.at, value);
  }

  u64(high: number, low: number): void {
    this.at = writeU64(this.bytes, this.at, high, low);
  }
}
