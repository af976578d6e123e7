// The serializer that a cache has by itself (cache/contract.ts).
import { decodeValue } from "./decoder.ts";
import { type Classes, ValueEncoder } from "./encoder.ts";

/** What `encode` gives is good until it is called again by whoever called it. */
export function valueSerializer(classes: Classes): {
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
} {
  // A getter may store another value in the midst of this one: each depth has an encoder.
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
