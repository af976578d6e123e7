// Dictionaries: behaviour of codecs beyond the contract suite, which runs with a dictionary too.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { documents } from "../../bench/documents.ts";
import type { Address } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import type { CodecMemory, CodecOptions } from "../../src/codec/contract.ts";
import { trainDictionary } from "../../src/codec/dictionary/train.ts";
import { finalizeZstdDictionary } from "../../src/codec/dictionary/zstd_dictionary.ts";
import { createLz4 } from "../../src/codec/lz4.ts";
import { Arena } from "../../src/memory/arena.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import {
  CodecFixture,
  codecCases,
  FIXTURE_BYTES,
  KINDS,
  sample,
} from "../doubles/codec_fixture.ts";
import { BareCodecMemory } from "../doubles/codec_memory.ts";

const KIB = 1024;
const SAMPLES = documents(0, 400);
const CONTENT = trainDictionary(SAMPLES, 32 * KIB);
const TRAINED = finalizeZstdDictionary(CONTENT, SAMPLES);
const HELD_OUT = documents(100_000, 100);
const AVAILABLE = codecCases().filter((one) => one.missing === undefined);
const WITH_DICTIONARY = AVAILABLE.filter((one) => one.options.dictionary !== undefined);

function open(name: string, options: CodecOptions, registry = nodeCodecs()): CodecFixture {
  const memory = new BareCodecMemory(FIXTURE_BYTES);
  return new CodecFixture(registry.create(name, memory, options), memory);
}

function total(fixture: CodecFixture): number {
  return HELD_OUT.reduce((sum, data) => sum + fixture.compress(data)!.length, 0);
}

describe("options", () => {
  const refused = (name: string, options: object, message: RegExp) => {
    const create = () => nodeCodecs().create(name, new BareCodecMemory(FIXTURE_BYTES), options);
    assert.throws(create, { name: "ZcacheError", code: "ERR_OPTION", message });
  };

  test("the list says which codecs take dictionaries, and the others refuse", () => {
    for (const listing of nodeCodecs().list()) {
      if (!listing.available) continue;
      assert.equal(listing.dictionaries, ["lz4", "zstd"].includes(listing.name), listing.name);
      if (listing.dictionaries) continue;
      refused(listing.name, { dictionary: CONTENT }, /takes no dictionary.* lz4 or zstd/);
    }
  });

  test("a dictionary is bytes, and neither too short nor too long", () => {
    for (const name of ["lz4", "zstd"]) {
      for (const dictionary of [[1, 2, 3], "x".repeat(99), new Uint16Array(99), null]) {
        refused(name, { dictionary }, /a Uint8Array, not /);
      }
      refused(name, { dictionary: new Uint8Array(7) }, /7 bytes.* 8 to /);
    }
    refused("lz4", { dictionary: new Uint8Array(64 * KIB + 1) }, /65537 bytes.* 8 to 65536/);
    refused("zstd", { dictionary: new Uint8Array(KIB * KIB + 1) }, /8 to 1048576/);
  });

  test("where zstd keeps a dictionary prepared, level 3 is the default with one, else 1", () => {
    for (const { registry, label } of WITH_DICTIONARY.filter((one) => one.name === "zstd")) {
      const level = label.includes("native") ? 3 : 1;
      const [unsaid, said] = [{}, { level }].map((options) =>
        open("zstd", { ...options, dictionary: TRAINED }, registry).compress(HELD_OUT[0]!),
      );
      assert.deepEqual(unsaid, said, label);
      const plain = [{}, { level: 1 }].map((options) =>
        open("zstd", options, registry).compress(HELD_OUT[0]!),
      );
      assert.deepEqual(plain[0], plain[1], label);
    }
  });

  for (const { label, name, registry } of WITH_DICTIONARY.filter((one) => one.name === "zstd")) {
    test(`${label} refuses a malformed dictionary`, () => {
      for (const dictionary of [TRAINED.slice(0, 100), TRAINED.slice().fill(255, 8, 140)]) {
        const memory = new BareCodecMemory(FIXTURE_BYTES);
        for (let times = 0; times < 3; times++) {
          assert.throws(() => registry.create(name, memory, { dictionary }), {
            code: "ERR_OPTION",
            message: /malformed/,
          });
        }
      }
    });
  }
});

for (const { label, name, registry } of WITH_DICTIONARY) {
  describe(label, () => {
    test("documents become smaller, with zstd's tables still more", () => {
      // The tables are for what zstd finds by level 3; by level 1 they gain little.
      const level = name === "zstd" ? { level: 3 } : {};
      const without = total(open(name, level, registry));
      const content = total(open(name, { ...level, dictionary: CONTENT }, registry));
      assert.ok(content < without * 0.87, `${content} of ${without} bytes`);
      if (name !== "zstd") return;
      const tables = total(open(name, { ...level, dictionary: TRAINED }, registry));
      assert.ok(tables < content * 0.98, `${tables} of ${content} bytes`);
    });

    test("several are open at once, and are closed in any order", () => {
      const memory = new BareCodecMemory(4 * FIXTURE_BYTES);
      const dictionaries = [CONTENT, CONTENT.subarray(9999), TRAINED.slice(0, 20 * KIB)];
      const fixtures = dictionaries.map(
        (dictionary) => new CodecFixture(registry.create(name, memory, { dictionary }), memory),
      );
      const data = HELD_OUT[0]!;
      const packed = fixtures.map((fixture) => fixture.compress(data)!);
      fixtures[1]!.codec.close?.();
      fixtures[1]!.codec.close?.();
      for (const n of [0, 2]) {
        assert.deepEqual(fixtures[n]!.decompress(packed[n]!, data.length), data);
        assert.deepEqual(fixtures[n]!.compress(data), packed[n]);
      }
      assert.throws(() => fixtures[1]!.compress(data), { name: "AssertionError" });
      assert.throws(() => fixtures[1]!.accepts(packed[1]!, data.length), {
        name: "AssertionError",
      });
    });

    test("a thousand, one after the other, take no more than one", () => {
      const memory = new BareCodecMemory(FIXTURE_BYTES);
      for (let times = 0; times < 1000; times++) {
        registry.create(name, memory, { dictionary: CONTENT }).close?.();
      }
    });

    test("a private dictionary may change afterwards, one in the memory is the same", () => {
      const memory = new BareCodecMemory(4 * FIXTURE_BYTES);
      const at = memory.reserve(CONTENT.length);
      memory.bytes.set(CONTENT, at);
      const inside = memory.bytes.subarray(at, at + CONTENT.length);
      const own = CONTENT.slice();
      const fixtures = [own, inside].map(
        (dictionary) => new CodecFixture(registry.create(name, memory, { dictionary }), memory),
      );
      own.fill(0);
      for (const data of HELD_OUT.slice(0, 20)) {
        const [one, other] = fixtures.map((fixture) => fixture.compress(data)!);
        assert.deepEqual(one, other);
        for (const fixture of fixtures)
          assert.deepEqual(fixture.decompress(one!, data.length), data);
      }
    });

    test("hostile bytes with a dictionary of any length", () => {
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: 8, maxLength: 40 }),
          fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { minLength: 20 }),
          (dictionary, blocks) => {
            const memory = new BareCodecMemory(FIXTURE_BYTES);
            const fixture = new CodecFixture(registry.create(name, memory, { dictionary }), memory);
            for (const block of blocks) fixture.accepts(block, 100);
            fixture.codec.close?.();
          },
        ),
        { numRuns: 30 },
      );
    });
  });
}

const ZSTD = WITH_DICTIONARY.filter((one) => one.name === "zstd");
for (const writer of ZSTD) {
  for (const reader of ZSTD) {
    test(`${reader.label} reads what ${writer.label} wrote`, () => {
      const random = new Xorshift32(7);
      for (const dictionary of [CONTENT, TRAINED]) {
        const [to, from] = [writer, reader].map((one) =>
          open("zstd", { dictionary }, one.registry),
        ) as [CodecFixture, CodecFixture];
        const kinds = KINDS.flatMap((kind) =>
          [1, 100, 1025, 65_536].map((size) => sample(kind, size, random)),
        );
        for (const data of [...HELD_OUT, ...kinds]) {
          assert.deepEqual(from.decompress(to.compress(data)!, data.length), data);
        }
      }
    });
  }
}

/** Decodes a block with a dictionary by the book, byte by byte. @throws Error if malformed */
function decodePlainly(block: Uint8Array, dictionary: Uint8Array, targetBytes: number) {
  const bytes = new Uint8Array(dictionary.length + targetBytes);
  bytes.set(dictionary);
  let at = 0;
  let out = dictionary.length;
  const length = (half: number) => {
    let sum = half;
    for (let more = half === 15 ? 255 : 0; more === 255; sum += more) more = block[at++]!;
    return sum;
  };
  for (;;) {
    const token = block[at++]!;
    const literals = length(token >> 4);
    bytes.set(block.subarray(at, at + literals), out);
    at += literals;
    out += literals;
    if (at >= block.length) break;
    const distance = block[at]! + block[at + 1]! * 256;
    at += 2;
    assert.ok(distance > 0 && distance <= out, `distance ${distance} at ${out}`);
    for (const end = out + 4 + length(token & 15); out < end; out++) {
      bytes[out] = bytes[out - distance]!;
    }
  }
  assert.equal(out, bytes.length);
  return bytes.subarray(dictionary.length);
}

/** A block of one match, so many bytes from so far back, and one literal behind it. */
function matchBlock(distance: number, length: number): Uint8Array {
  const extra = length - 19;
  return Uint8Array.of(
    Math.min(length - 4, 15),
    distance & 255,
    distance >> 8,
    ...(extra >= 0 ? [...Array<number>(Math.floor(extra / 255)).fill(255), extra % 255] : []),
    0x10,
    42,
  );
}

describe("lz4 with a dictionary", () => {
  test("a decoder written after the format's description reads the output for any data", () => {
    const part = fc.uint8Array({ minLength: 1, maxLength: 30, max: 3 });
    const parts = fc.array(fc.tuple(part, fc.integer({ min: 1, max: 30 })), { maxLength: 12 });
    const memory = new BareCodecMemory(FIXTURE_BYTES);
    const join = (runs: [Uint8Array, number][]) =>
      Uint8Array.from(
        runs.flatMap(([bytes, n]) =>
          Array(n)
            .fill([...bytes])
            .flat(),
        ),
      );
    const at = memory.reserve(240 * KIB);
    fc.assert(
      fc.property(parts, parts, fc.boolean(), (first, second, goesOn) => {
        const dictionary = Uint8Array.of(...join(first), 1, 2, 3, 4, 5, 6, 7, 8);
        // The data may begin as the dictionary ends, so that matches run over the border.
        const data = Uint8Array.of(...(goesOn ? dictionary : []), ...join(second), 9);
        memory.bytes.set(dictionary, at);
        const view = memory.bytes.subarray(at, at + dictionary.length);
        const codec = createLz4(memory, { dictionary: view });
        const [source, target] = [at + 80 * KIB, at + 160 * KIB] as [Address, Address];
        memory.bytes.set(data, source);
        const size = codec.compress(source, data.length, target, data.length + 999);
        const block = memory.bytes.slice(target, target + size);
        assert.deepEqual(decodePlainly(block, dictionary, data.length), data);
        codec.decompress(target, size, source, data.length);
        assert.deepEqual(memory.bytes.slice(source, source + data.length), data);
        codec.close?.();
      }),
      { numRuns: 300 },
    );
  });

  test("reaches back over 65,535 bytes and no further", () => {
    const random = new Xorshift32(11);
    const dictionary = sample("random", 64 * KIB, random);
    const fixture = open("lz4", { dictionary });
    for (const from of [0, 1, 2, 100, 1000, 40_000, 65_000]) {
      for (const before of [0, 1, 99, 101, 999, 30_000]) {
        const fresh = sample("random", before, random);
        const data = Uint8Array.of(...fresh, ...dictionary.subarray(from, from + 400), 1);
        const block = fixture.compress(data)!;
        assert.deepEqual(decodePlainly(block, dictionary, data.length), data);
        assert.deepEqual(fixture.decompress(block, data.length), data);
        const reaches = before + dictionary.length - from <= 65_535;
        if (reaches && before < 200) assert.ok(block.length < before + 300, `${from}, ${before}`);
      }
    }
  });

  test("a match may begin in the dictionary and continue in the source", () => {
    const dictionary = sample("random", 1000, new Xorshift32(13));
    const tail = dictionary.subarray(-50);
    const data = Uint8Array.of(...tail, ...tail, ...tail);
    const block = open("lz4", { dictionary }).compress(data)!;
    // One match: a token, the distance, one byte more of length; then 5 literals and their token.
    assert.equal(block.length, 4 + 6);
    assert.deepEqual(decodePlainly(block, dictionary, data.length), data);
  });

  test("matches from any place, of any length, also over the border", () => {
    const dictionary = sample("random", 100, new Xorshift32(12));
    const fixture = open("lz4", { dictionary });
    for (let distance = 1; distance <= 110; distance++) {
      for (const length of [4, 5, 17, 18, 19, 20, 33, 60, 99, 100, 101, 150, 400, 5000]) {
        const block = matchBlock(distance, length);
        const restored = fixture.decompress(block, length + 1);
        if (distance > dictionary.length) assert.equal(restored, undefined, `distance ${distance}`);
        else assert.deepEqual(restored, decodePlainly(block, dictionary, length + 1));
      }
    }
    assert.ok(!fixture.accepts(matchBlock(0, 8), 9), "distance 0");
    assert.ok(!fixture.accepts(matchBlock(9, 8), 8), "longer than the target");
  });

  test("lies at the very end of a memory above 2 GiB", () => {
    const sizeBytes = 3 * KIB ** 3;
    const memory = new BareCodecMemory(sizeBytes, sizeBytes - FIXTURE_BYTES);
    for (const length of [8, 100, 20_000]) {
      const view = memory.bytes.subarray(sizeBytes - length);
      view.set(CONTENT.subarray(-length));
      const codec = createLz4(memory, { dictionary: view });
      const fixture = new CodecFixture(codec, new Placed(memory));
      for (const data of [view.slice(), view.slice(-8), ...HELD_OUT.slice(0, 3)]) {
        const block = fixture.compress(data)!;
        assert.deepEqual(decodePlainly(block, view, data.length), data);
        assert.deepEqual(fixture.decompress(block, data.length), data);
      }
      codec.close?.();
    }
  });
});

test("threads share one copy of a dictionary in an arena, and detach with nothing left", () => {
  using arena = Arena.create({ sizeBytes: 4 * KIB * KIB });
  const framesFree = arena.frames.framesFree;
  const at = arena.reserve(CONTENT.length);
  arena.bytes.set(CONTENT, at);
  const data = HELD_OUT[1]!;
  for (let times = 0; times < 20; times++) {
    const [writer, reader] = [Arena.attach(arena.share()), Arena.attach(arena.share())];
    const codecs = [writer, reader].map((thread) => {
      const dictionary = thread.bytes.subarray(at, at + CONTENT.length);
      const inPlace = nodeCodecs().create("lz4", thread, { dictionary });
      nodeCodecs().create("lz4", thread, { dictionary: CONTENT }).close?.();
      return inPlace;
    });
    const [source, packed] = [writer.reserve(16 * KIB), writer.reserve(16 * KIB)];
    writer.bytes.set(data, source);
    const size = codecs[0]!.compress(source, data.length, packed, 16 * KIB);
    writer.kernels.fill(source, 0, data.length);
    codecs[1]!.decompress(packed, size, source, data.length);
    assert.deepEqual(reader.bytes.slice(source, source + data.length), data);
    writer.detach();
    reader.detach();
  }
  assert.equal(arena.frames.framesFree, framesFree - CONTENT.length / arena.pageSize);
});

/** Hands out low places of a memory of which another hands out high ones. */
class Placed implements CodecMemory {
  readonly bytes: Uint8Array;
  readonly kernels: BareCodecMemory["kernels"];
  #next = 64;

  constructor({ bytes, kernels }: BareCodecMemory) {
    this.bytes = bytes;
    this.kernels = kernels;
  }

  reserve(sizeBytes: number): Address {
    this.#next += sizeBytes;
    return (this.#next - sizeBytes) as Address;
  }
}
