// Base64 of keys in meta commands: padded, without spaces, read and written in given buffers.
// `Buffer` would allocate a string for each key.

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD = 61;
const NONE = 255;

const LETTERS = Uint8Array.from(ALPHABET, (letter) => letter.charCodeAt(0));
const VALUES = new Uint8Array(256).fill(NONE);
for (let i = 0; i < LETTERS.length; i++) VALUES[LETTERS[i]!] = i;

/**
 * @param target has room for three bytes for every four letters
 * @returns how many bytes were written from `at` on, 0 if the letters are not base64
 */
export function decodeBase64(
  letters: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): number {
  if (to === from || (to - from) % 4 !== 0) return 0;
  const pads = letters[to - 1] !== PAD ? 0 : letters[to - 2] !== PAD ? 1 : 2;
  let end = at;
  for (let group = from; group < to; group += 4) {
    const kept = group + 4 === to ? 3 - pads : 3;
    let bits = 0;
    for (let i = 0; i < 4; i++) {
      const value = i > kept ? 0 : VALUES[letters[group + i]!]!;
      if (value === NONE) return 0;
      bits = (bits << 6) | value;
    }
    target[end++] = bits >>> 16;
    if (kept > 1) target[end++] = (bits >>> 8) & 255;
    if (kept > 2) target[end++] = bits & 255;
  }
  return end - at;
}

/** @returns where the letters end in the target */
export function encodeBase64(
  bytes: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): number {
  let end = at;
  for (let group = from; group < to; group += 3) {
    const left = to - group;
    const second = left > 1 ? bytes[group + 1]! : 0;
    const third = left > 2 ? bytes[group + 2]! : 0;
    const bits = (bytes[group]! << 16) | (second << 8) | third;
    target[end++] = LETTERS[bits >>> 18]!;
    target[end++] = LETTERS[(bits >>> 12) & 63]!;
    target[end++] = left > 1 ? LETTERS[(bits >>> 6) & 63]! : PAD;
    target[end++] = left > 2 ? LETTERS[bits & 63]! : PAD;
  }
  return end;
}
