// Keys as bytes: text in UTF-8, and bytes behind a byte that no UTF-8 begins with, so that the text
// "a" and the byte 0x61 are two keys.
import { byteCountOf, heldBytes, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { KEY_BYTES_MAX } from "../values/prefix.layout.ts";
import type { Text } from "./contract.ts";

export type CacheKey = string | Uint8Array;

const BINARY = 0xff;
/** The first byte of keys that are the cache's own. */
export const INTERNAL = 0xfe;
/** What would become the same character for all of them, so that several keys would be one. */
const LONE_SURROGATE = /\p{Surrogate}/u;
/** Characters up to which a loop is faster than a call out of JavaScript. */
const SHORT_CHARACTERS = 40;

export class KeyWriter {
  /** The key that was written last, in its first bytes. */
  readonly bytes = new Uint8Array(KEY_BYTES_MAX + 3);
  readonly #text: Text;

  /** @param textIn gives the text writer of a memory */
  constructor(textIn: (bytes: Uint8Array) => Text) {
    this.#text = textIn(this.bytes);
  }

  /** @returns its bytes @throws ZcacheError ERR_KEY */
  write(key: CacheKey): number {
    if (typeof key === "string") return this.#writeText(key);
    if (!isBytes(key)) {
      throw new ZcacheError("ERR_KEY", `a key is a string or a Uint8Array, not ${describe(key)}`);
    }
    const held = heldBytes(key);
    const count = byteCountOf(held);
    if (count >= KEY_BYTES_MAX) throw tooLong(count);
    this.bytes[0] = BINARY;
    this.bytes.set(held, 1);
    return count + 1;
  }

  /** The key that was written last, as a name that no other key has. */
  nameOf(keyBytes: number): string {
    return this.#text.read(0, keyBytes, true);
  }

  #writeText(key: string): number {
    const { length } = key;
    if (length === 0) throw new ZcacheError("ERR_KEY", "a key has at least one character");
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
      throw new ZcacheError("ERR_KEY", "a key with half of a surrogate pair: it has no UTF-8");
    }
    return count;
  }
}

/** The key that stands there; undefined for one of the cache's own. */
export function readKey(
  bytes: Uint8Array,
  at: number,
  count: number,
  text: Text,
): CacheKey | undefined {
  if (bytes[at] === BINARY) return bytes.slice(at + 1, at + count);
  if (bytes[at] === INTERNAL) return undefined;
  return text.read(at, count, false);
}

function tooLong(bytes: number): ZcacheError {
  return new ZcacheError("ERR_KEY", `a key of ${bytes} bytes: allowed are 1 to ${KEY_BYTES_MAX}`, {
    context: { bytes, max: KEY_BYTES_MAX },
  });
}
