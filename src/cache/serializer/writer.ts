// A growing buffer to which the encoder appends.
import { Buffer } from "node:buffer";
import { Tag, VERSION } from "./format.ts";
import { Refusal } from "./refusal.ts";

const BYTES_MIN = 16 * 1024;
/** A buffer that a large value made larger than this is replaced before the next value. */
const KEPT_BYTES_MAX = 1024 * 1024;
/** Far above the limit of a value; protects the memory of the process. */
const BYTES_MAX = 512 * 1024 * 1024;
/** Up to this length a loop is faster than a call out of JavaScript. */
const SHORT_CHARACTERS = 40;
const VARINT_BYTES = 5;
const BEYOND_LATIN1 = /[^\0-\xff]/;
const WORD_BITS = 64;

/** Native methods of Buffer that the types of Node leave out. */
interface NativeText {
  latin1Write(text: string, at: number): number;
  ucs2Write(text: string, at: number): number;
}

export class ByteWriter {
  #bytes = new Uint8Array(0);
  #text: Buffer & NativeText = Buffer.alloc(0) as never;
  #view = new DataView(new ArrayBuffer(0));
  #at = 0;

  begin(): void {
    if (this.#bytes.length === 0 || this.#bytes.length > KEPT_BYTES_MAX) this.#allocate(BYTES_MIN);
    this.#at = 0;
    this.byte(Tag.VERSION);
    this.byte(VERSION);
  }

  /** The bytes written since `begin`; valid until the next `begin`. */
  end(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  byte(value: number): void {
    if (this.#at === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#at++] = value;
  }

  /** @param value an integer from 0 to 2³² − 1 */
  varint(value: number): void {
    if (this.#at + VARINT_BYTES > this.#bytes.length) this.#grow(VARINT_BYTES);
    const bytes = this.#bytes;
    let at = this.#at;
    let rest = value;
    while (rest > 0x7f) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.#at = at;
  }

  number(value: number): void {
    if ((value | 0) === value && !Object.is(value, -0)) {
      this.byte(Tag.INT32);
      this.varint(((value << 1) ^ (value >> 31)) >>> 0);
    } else {
      this.byte(Tag.DOUBLE);
      this.double(value);
    }
  }

  double(value: number): void {
    if (this.#at + 8 > this.#bytes.length) this.#grow(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  bigint(value: bigint): void {
    const isNegative = value < 0n;
    const digits: bigint[] = [];
    for (let rest = isNegative ? -value : value; rest > 0n; rest >>= 64n) {
      digits.push(BigInt.asUintN(WORD_BITS, rest));
    }
    this.byte(Tag.BIGINT);
    this.varint((digits.length * 16) | (isNegative ? 1 : 0));
    this.#reserve(digits.length * 8);
    for (const digit of digits) {
      this.#view.setBigUint64(this.#at, digit, true);
      this.#at += 8;
    }
  }

  string(text: string): void {
    const { length } = text;
    this.#reserve(length + VARINT_BYTES + 1);
    const start = this.#at;
    this.byte(Tag.LATIN1);
    this.varint(length);
    if (length > SHORT_CHARACTERS) {
      // The first test recognizes plain ASCII, and is faster than the second.
      if (Buffer.byteLength(text) === length || !BEYOND_LATIN1.test(text)) {
        this.#at += this.#text.latin1Write(text, this.#at);
        return;
      }
    } else {
      const bytes = this.#bytes;
      let at = this.#at;
      let i = 0;
      for (; i < length; i++) {
        const code = text.charCodeAt(i);
        if (code > 0xff) break;
        bytes[at++] = code;
      }
      if (i === length) {
        this.#at = at;
        return;
      }
    }
    this.#at = start;
    this.#twoByte(text);
  }

  raw(source: Uint8Array): void {
    this.#reserve(source.length);
    this.#bytes.set(source, this.#at);
    this.#at += source.length;
  }

  #twoByte(text: string): void {
    const count = text.length * 2;
    this.#reserve(count + VARINT_BYTES + 2);
    const varintBytes = Math.max(1, Math.ceil((32 - Math.clz32(count)) / 7));
    // V8 wants the characters at an even offset.
    if (((this.#at + 1 + varintBytes) & 1) !== 0) this.byte(Tag.PADDING);
    this.byte(Tag.TWO_BYTE);
    this.varint(count);
    this.#at += this.#text.ucs2Write(text, this.#at);
  }

  /** Makes space for so many bytes. */
  #reserve(count: number): void {
    if (this.#at + count > this.#bytes.length) this.#grow(count);
  }

  #grow(count: number): void {
    const needed = this.#at + count;
    if (needed > BYTES_MAX) throw new Refusal("more bytes than can be stored");
    const before = this.#bytes;
    this.#allocate(Math.max(needed, before.length * 2));
    this.#bytes.set(before.subarray(0, this.#at));
  }

  #allocate(count: number): void {
    this.#bytes = new Uint8Array(count);
    const { buffer } = this.#bytes;
    this.#text = Buffer.from(buffer) as never;
    this.#view = new DataView(buffer);
  }
}
