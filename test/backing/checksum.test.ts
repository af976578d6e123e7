// The checksum is XXH32: known values from its specification, and arbitrary regions at any offset
// against a plain implementation.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena } from "../../src/memory/arena.ts";

const [P1, P2, P3, P4, P5] = [2654435761, 2246822519, 3266489917, 668265263, 374761393] as const;
const rotl = (x: number, r: number) => (x << r) | (x >>> (32 - r));

/** XXH32 as its specification says it. */
function xxh32(bytes: Uint8Array, seed: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const round = (lane: number, at: number) =>
    Math.imul(rotl((lane + Math.imul(view.getUint32(at, true), P2)) | 0, 13), P1);
  let at = 0;
  let hash = (seed + P5) | 0;
  if (bytes.length >= 16) {
    let lanes = [seed + P1 + P2, seed + P2, seed, seed - P1].map((lane) => lane | 0);
    for (; at + 16 <= bytes.length; at += 16)
      lanes = lanes.map((lane, i) => round(lane, at + i * 4));
    hash = [1, 7, 12, 18].reduce((sum, r, i) => (sum + rotl(lanes[i]!, r)) | 0, 0);
  }
  hash = (hash + bytes.length) | 0;
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotl((hash + Math.imul(view.getUint32(at, true), P3)) | 0, 17), P4);
  }
  for (; at < bytes.length; at++) {
    hash = Math.imul(rotl((hash + Math.imul(bytes[at]!, P5)) | 0, 11), P1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), P2);
  hash = Math.imul(hash ^ (hash >>> 13), P3);
  return hash ^ (hash >>> 16);
}

const arena = Arena.create({ sizeBytes: 1 << 18 });
const room = arena.reserve(65_536);

function checksum(bytes: Uint8Array, offset: number, seed: number): number {
  arena.bytes.set(bytes, room + offset);
  return arena.kernels.checksum(room + offset, bytes.length, seed);
}

test("gives the published values", () => {
  const text = (string: string) => new TextEncoder().encode(string);
  assert.equal(checksum(text(""), 0, 0) >>> 0, 0x02cc5d05);
  assert.equal(checksum(text("a"), 0, 0) >>> 0, 0x550d7456);
  assert.equal(checksum(text("abc"), 0, 0) >>> 0, 0x32d153ff);
  assert.equal(checksum(text("Nobody inspects the spammish repetition"), 0, 0) >>> 0, 0xe2293b2f);
});

test("any bytes at any place with any seed", () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(bytes, fc.nat(40), fc.integer(), (data, offset, seed) => {
      assert.equal(checksum(data, offset, seed), xxh32(data, seed));
    }),
  );
});
