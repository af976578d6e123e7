// The codec contract, over every codec and every implementation available here.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB } from "../../src/base/units.ts";
import type { CodecOptions } from "../../src/codec/contract.ts";
import {
  type CodecCase,
  CodecFixture,
  codecCases,
  FIXTURE_BYTES,
  KINDS,
  sample,
} from "../doubles/codec_fixture.ts";
import { BareCodecMemory } from "../doubles/codec_memory.ts";

const PAGE_SIZES = [4, 8, 16, 32, 64].map((kib) => kib * KIB);
const ODD_SIZES = [1, 2, 3, 4, 5, 7, 8, 12, 13, 15, 16, 17, 31, 33, 64, 127, 128, 255, 256, 257];
const LARGE_ODD_SIZES = [1000, 1023, 1025, 4095, 4097, 10_007, 65_535];

function fixtureOf({ registry, name, options }: CodecCase, more: CodecOptions = {}): CodecFixture {
  const memory = new BareCodecMemory(FIXTURE_BYTES);
  return new CodecFixture(registry.create(name, memory, { ...options, ...more }), memory);
}

function assertRoundTrip(fixture: CodecFixture, data: Uint8Array): Uint8Array {
  const packed = fixture.compress(data);
  assert.ok(packed, `${data.length} bytes compress within a generous limit`);
  assert.deepEqual(fixture.decompress(packed, data.length), data);
  return packed;
}

/** Blocks small enough to try everything on: with matches, without, and of one byte. */
function smallBlocks(): Uint8Array[] {
  const random = new Xorshift32(5);
  const blocks = KINDS.map((kind) => sample(kind, 150, random));
  return [...blocks, sample("text", 400, random), Uint8Array.of(42)];
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

for (const codecCase of codecCases()) {
  const { label, name, registry, options, missing } = codecCase;
  describe(label, { skip: missing ?? false }, () => {
    test("has a name and an implementation", () => {
      const { codec } = fixtureOf(codecCase);
      assert.equal(codec.name, name);
      const listing = registry.list().find((one) => one.name === name);
      assert.ok(listing?.available);
      assert.equal(codec.implementation, listing.implementation);
    });

    for (const kind of KINDS) {
      test(`restores ${kind} of every page size and of odd sizes`, () => {
        const fixture = fixtureOf(codecCase);
        const random = new Xorshift32(1);
        for (const size of [...PAGE_SIZES, ...ODD_SIZES, ...LARGE_ODD_SIZES]) {
          assertRoundTrip(fixture, sample(kind, size, random));
        }
      });
    }

    test("restores anything", () => {
      const fixture = fixtureOf(codecCase);
      const run = fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ max: 60 }));
      fc.assert(
        fc.property(fc.array(run, { minLength: 1, maxLength: 12 }), (runs) => {
          const data = concat(...runs.flatMap(([part, n]) => Array(Math.max(1, n)).fill(part)));
          assertRoundTrip(fixture, data);
        }),
        { numRuns: 100 },
      );
    });

    test("meets a limit exactly, and refuses to exceed it", () => {
      const fixture = fixtureOf(codecCase);
      const random = new Xorshift32(2);
      for (const kind of KINDS) {
        for (const size of [1, 20, 300, 4096, 65_536]) {
          const data = sample(kind, size, random);
          const packed = assertRoundTrip(fixture, data);
          assert.deepEqual(fixture.compress(data, packed.length), packed, "at the exact size");
          for (const limit of [packed.length - 1, packed.length >> 1, 1, 0]) {
            if (limit >= packed.length) continue;
            assert.equal(fixture.compress(data, limit), undefined, `${packed.length} > ${limit}`);
          }
          assert.deepEqual(fixture.compress(data), packed, "as if nothing had been refused");
        }
      }
    });

    test("refuses a block cut at any length", () => {
      const fixture = fixtureOf(codecCase);
      for (const data of smallBlocks()) {
        const packed = assertRoundTrip(fixture, data);
        for (let cut = 0; cut < packed.length; cut++) {
          assert.ok(!fixture.accepts(packed.subarray(0, cut), data.length), `cut to ${cut} bytes`);
        }
        assert.deepEqual(fixture.decompress(packed, data.length), data, "and works on as before");
      }
    });

    test("refuses a block with bytes left over", () => {
      const fixture = fixtureOf(codecCase);
      for (const data of smallBlocks()) {
        const packed = assertRoundTrip(fixture, data);
        const tails = [[0], [255], [0, 0, 0], [1, 0, 0], [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]];
        for (const tail of [...tails.map((one) => Uint8Array.from(one)), packed]) {
          assert.ok(!fixture.accepts(concat(packed, tail), data.length), `and ${tail.length} more`);
        }
      }
    });

    test("refuses to give another length than it has", () => {
      const fixture = fixtureOf(codecCase);
      for (const data of smallBlocks()) {
        const packed = assertRoundTrip(fixture, data);
        const wrong = [data.length - 1, data.length + 1, data.length * 2, 1, 4096, 65_536];
        for (const targetBytes of wrong) {
          if (targetBytes < 1 || targetBytes === data.length) continue;
          assert.ok(
            !fixture.accepts(packed, targetBytes),
            `${targetBytes} for ${data.length} bytes`,
          );
        }
      }
    });

    test("survives every flipped bit", () => {
      const fixture = fixtureOf(codecCase);
      for (const data of smallBlocks()) {
        const packed = assertRoundTrip(fixture, data);
        for (let bit = 0; bit < packed.length * 8; bit++) {
          const flipped = packed.slice();
          flipped[bit >> 3]! ^= 1 << (bit & 7);
          fixture.accepts(flipped, data.length);
        }
        assert.deepEqual(fixture.decompress(packed, data.length), data, "and works on as before");
      }
    });

    test("survives any bytes", () => {
      const fixture = fixtureOf(codecCase);
      const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 });
      fc.assert(
        fc.property(bytes, fc.integer({ min: 1, max: 5000 }), (packed, targetBytes) => {
          fixture.accepts(packed, targetBytes);
        }),
        { numRuns: 300 },
      );
    });

    test("works above 2 GiB", () => {
      const start = 3 * 1024 ** 3;
      const memory = new BareCodecMemory(start + FIXTURE_BYTES, start);
      const fixture = new CodecFixture(registry.create(name, memory, options), memory);
      const packed = assertRoundTrip(fixture, sample("text", 4096, new Xorshift32(3)));
      assert.ok(!fixture.accepts(packed.subarray(1), 4096));
    });

    test("takes its lowest and highest level, and two at a time", () => {
      const listing = registry.list().find((one) => one.name === name);
      const levels = listing?.available ? listing.levels : undefined;
      if (levels === undefined) return;
      const data = sample("mixed", 16 * KIB, new Xorshift32(4));
      const [low, high] = [levels.min, levels.max].map((level) => fixtureOf(codecCase, { level }));
      const large = assertRoundTrip(low!, data);
      const small = assertRoundTrip(high!, data);
      assert.ok(small.length < large.length, "a higher level gives less");
      assert.deepEqual(assertRoundTrip(low!, data), large, "and the other codec doesn't notice");
      assert.deepEqual(low!.decompress(small, data.length), data, "any level reads any other");
    });
  });
}
