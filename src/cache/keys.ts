// Keys as bytes. A string is stored in UTF-8. A byte array is stored behind a byte with which no
// UTF-8 text begins, so that the string "a" and the byte 0x61 are different keys.
import { byteCountOf, heldBytes, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { KEY_BYTES_MAX } from "../values/prefix.layout.ts";
import { TextBuffer } from "./text.ts";

/**
 * A key: a string of 1 to 1024 bytes in UTF-8, without unpaired surrogates, or 0 to 1023 bytes.
 * Byte arrays are compared by content.
 */
export type CacheKey = string | Uint8Array;

/** A key in the forms that a load needs: the caller may change a byte array while it waits. */
export interface RequestedKey<K> {
  /** The key as the caller passed it. */
  readonly given: K;
  /** A copy that nobody else changes. */
  readonly own: K;
  /** The key as `KeyWriter` writes it. */
  readonly bytes: Uint8Array;
  /** The same bytes as a string, for Maps. */
  readonly name: string;
}

/** First byte of a key of bytes. */
const BINARY = 0xff;
/** First byte of the keys that the cache uses for its own records. */
export const INTERNAL = 0xfe;
/** UTF-8 has one replacement for all unpaired surrogates: several keys would become one. */
const LONE_SURROGATE = /\p{Surrogate}/u;
/** Up to this length a loop is faster than a call out of JavaScript. */
const SHORT_CHARACTERS = 40;

/** Writes keys to a buffer of its own. */
export class KeyWriter {
  /** Holds the key that was written last, in its first `count` bytes. */
  readonly bytes = new Uint8Array(KEY_BYTES_MAX + 3);
  count = 0;
  readonly #text = new TextBuffer(this.bytes);

  /** @throws ZcacheError ERR_KEY */
  write(key: CacheKey): void {
    if (typeof key === "string") {
      this.count = this.#writeText(key);
      return;
    }
    if (!isBytes(key)) {
      throw new ZcacheError("ERR_KEY", `key ${describe(key)}: must be a string or a Uint8Array`);
    }
    const held = heldBytes(key);
    const count = byteCountOf(held);
    if (count >= KEY_BYTES_MAX) throw tooLong(count);
    this.bytes[0] = BINARY;
    this.bytes.set(held, 1);
    this.count = count + 1;
  }

  /** Writes a key, and returns it in the forms that a load needs. @throws ZcacheError ERR_KEY */
  request<K extends CacheKey>(key: K): RequestedKey<K> {
    this.write(key);
    const bytes = this.bytes.slice(0, this.count);
    const own = typeof key === "string" ? key : (bytes.slice(1) as CacheKey as K);
    return { given: key, own, bytes, name: this.#text.read(0, this.count, true) };
  }

  /** @returns the number of bytes */
  #writeText(key: string): number {
    const { length } = key;
    if (length === 0) throw new ZcacheError("ERR_KEY", "a key must have at least one character");
    if (length <= SHORT_CHARACTERS) {
      const { bytes } = this;
      let at = 0;
      for (; at < length; at++) {
        const code = key.charCodeAt(at);
        if (code > 0x7f) break;
        bytes[at] = code;
      }
      if (at === length) return length;
    }
    if (length > KEY_BYTES_MAX) throw tooLong(length);
    const count = this.#text.write(key, 0, KEY_BYTES_MAX, false);
    if (count < 0) throw tooLong(length * 3);
    if (count !== length && LONE_SURROGATE.test(key)) {
      throw new ZcacheError(
        "ERR_KEY",
        "the key has an unpaired surrogate, which UTF-8 can't encode",
      );
    }
    return count;
  }
}

/** Reads the key that stands at `at`. @returns undefined for a record of the cache's own */
export function readKey(
  bytes: Uint8Array,
  at: number,
  count: number,
  text: TextBuffer,
): CacheKey | undefined {
  if (bytes[at] === BINARY) return bytes.slice(at + 1, at + count);
  if (bytes[at] === INTERNAL) return undefined;
  return text.read(at, count, false);
}

function tooLong(bytes: number): ZcacheError {
  return new ZcacheError("ERR_KEY", `a key of ${bytes} bytes: must be from 1 to ${KEY_BYTES_MAX}`, {
    context: { bytes, max: KEY_BYTES_MAX },
  });
}

/** The key that the bytes of a whole array stand for. */
export function keyOfBytes(bytes: Uint8Array): CacheKey {
  if (bytes[0] === BINARY) return bytes.slice(1);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
}
