// How values become bytes: the contract of a serializer, and the one that a cache uses by default.
import { decodeValue } from "./decoder.ts";
import { type Classes, ValueEncoder } from "./encoder.ts";

/**
 * Turns values into bytes and back. A cache calls it for every value except strings, `undefined`,
 * and instances of exactly `Uint8Array` or `Buffer`.
 */
export interface Serializer {
  /** @returns bytes that the cache copies at once: the serializer may reuse their memory */
  encode(value: unknown): Uint8Array;
  /** @param bytes what `encode` returned, in memory that the serializer may keep and change */
  decode(bytes: Uint8Array): unknown;
}

/**
 * The default serializer: structured clone (`node:v8`), with checks for what that would lose.
 * @param classes what to do with instances of classes of the application
 */
export function valueSerializer(classes: Classes): Serializer {
  // A getter may store another value while this one is encoded: each depth has an encoder.
  const encoders: ValueEncoder[] = [];
  let depth = 0;
  return {
    encode(value) {
      if (depth === encoders.length) encoders.push(new ValueEncoder(classes));
      const encoder = encoders[depth++]!;
      try {
        return encoder.encode(value);
      } finally {
        depth--;
      }
    },
    decode: decodeValue,
  };
}
