// The trainer of dictionaries and zstd's dictionary format, by properties over any input.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DOCUMENT_COUNT, documentAt, documents } from "../../bench/documents.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { codeLengths } from "../../src/codec/dictionary/huffman.ts";
import { literalLengthCode, matchLengthCode } from "../../src/codec/dictionary/sequences.ts";
import {
  thinOut,
  trainDictionary,
  trainDictionaryInSteps,
} from "../../src/codec/dictionary/train.ts";
import {
  finalizeZstdDictionary,
  ZSTD_TABLES_BYTES_MAX,
} from "../../src/codec/dictionary/zstd_dictionary.ts";
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
const SAMPLES = documents(0, 500);
const ENCODER = new TextEncoder();
const ZSTD = codecCases().filter(
  ({ name, options, missing }) =>
    name === "zstd" && options.dictionary !== undefined && missing === undefined,
);

test("documents are the same each time, of the sizes that they should have", () => {
  assert.equal(documentAt(7), documentAt(7));
  assert.notEqual(documentAt(7), documentAt(8));
  assert.notEqual(documentAt(7), documentAt(7, 2));
  let bytes = 0;
  for (let n = 0; n < 2000; n++) {
    const text = documentAt((n * 97) % DOCUMENT_COUNT);
    JSON.parse(text);
    bytes += ENCODER.encode(text).length;
    assert.ok(text.length >= 400 && text.length <= 8192, `${text.length} characters`);
  }
  assert.ok(Math.abs(bytes / 2000 - 2.4 * KIB) < 0.15 * KIB, `${bytes / 2000} bytes in the mean`);
});

test("a dictionary is of the size asked for, the same each time, and made of the samples", () => {
  const text = Buffer.concat(SAMPLES).toString("latin1");
  for (const sizeBytes of [8, 100, 1000, 16 * KIB, 64 * KIB + 1]) {
    const dictionary = trainDictionary(SAMPLES, sizeBytes);
    assert.equal(dictionary.length, sizeBytes);
    assert.deepEqual(trainDictionary(SAMPLES, sizeBytes), dictionary);
    const end = Buffer.from(dictionary.subarray(-8)).toString("latin1");
    assert.ok(text.includes(end), `"${end}" stands in the samples`);
  }
});

test("in steps it is the same, and no step takes all of it", () => {
  const steps = trainDictionaryInSteps(SAMPLES, 16 * KIB);
  let count = 0;
  let step = steps.next();
  for (; step.done !== true; step = steps.next()) count++;
  assert.deepEqual(step.value, trainDictionary(SAMPLES, 16 * KIB));
  assert.ok(count >= 20, `${count} steps`);
});

test("samples without common content give no dictionary", () => {
  const random = new Xorshift32(3);
  const noise = Array.from({ length: 20 }, () => sample("random", 3000, random));
  for (const samples of [[], [new Uint8Array(0)], [sample("text", 9000, random)]]) {
    assert.equal(trainDictionary(samples, KIB).length, 0);
  }
  assert.ok(trainDictionary(noise, KIB).length <= KIB);
});

test("the most useful content is at the end of the dictionary", () => {
  const random = new Xorshift32(4);
  const [often, seldom] = [sample("random", 120, random), sample("random", 120, random)];
  const samples = Array.from({ length: 200 }, (_, n) =>
    Uint8Array.of(
      ...sample("random", 400, random),
      ...(n % 20 === 0 ? seldom : []),
      ...sample("random", 400, random),
      ...often,
    ),
  );
  const dictionary = Buffer.from(trainDictionary(samples, KIB));
  const [high, low] = [often, seldom].map((one) => dictionary.lastIndexOf(one.subarray(20, 100)));
  assert.ok(low! >= 0 && high! > low!, `${low} and ${high}`);
});

test("sizes that can't be are refused", () => {
  for (const sizeBytes of [0, 7, -8, 9.5, Number.NaN]) {
    assert.throws(() => trainDictionary(SAMPLES, sizeBytes), { code: "ERR_OPTION" });
  }
  assert.throws(() => finalizeZstdDictionary(new Uint8Array(7), SAMPLES), { code: "ERR_OPTION" });
});

test("samples are thinned out evenly", () => {
  const samples = Array.from({ length: 100 }, (_, n) => new Uint8Array(10).fill(n));
  assert.equal(thinOut(samples, 1000).length, 100);
  const taken = thinOut(samples, 250).map((one) => one[0]!);
  assert.equal(taken.length, 25);
  taken.forEach((n, at) => {
    assert.ok(n >= at * 4 && n < at * 4 + 4, `sample ${n}`);
  });
  assert.deepEqual(thinOut(samples, 9), []);
});

test("codes are complete, not too long, and shorter for frequent symbols", () => {
  const counts = fc.array(fc.integer({ min: 1, max: 1e6 }), { minLength: 256, maxLength: 256 });
  const steep = Array.from({ length: 256 }, (_, n) => Math.ceil(1.2 ** (255 - n)));
  fc.assert(
    fc.property(fc.oneof(counts, fc.constant(steep)), (of) => {
      const lengths = codeLengths(of);
      assert.equal(
        lengths.reduce((sum, length) => sum + 2 ** -length, 0),
        1,
      );
      assert.ok(Math.max(...lengths) <= 11);
      of.forEach((count, n) => {
        if (n > 0 && count > of[n - 1]!) assert.ok(lengths[n]! <= lengths[n - 1]!);
      });
    }),
    { numRuns: 50 },
  );
});

/** RFC 8878, tables 15 and 16: where each code's lengths begin. */
const LITERAL_LENGTHS = [16, 18, 20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096];
const MATCH_LENGTHS = [35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051];

test("codes of lengths are those of the format", () => {
  for (let length = 0; length < 16; length++) assert.equal(literalLengthCode(length), length);
  for (let length = 3; length < 35; length++) assert.equal(matchLengthCode(length), length - 3);
  LITERAL_LENGTHS.forEach((begin, n) => {
    assert.equal(literalLengthCode(begin), 16 + n);
    assert.equal(literalLengthCode((LITERAL_LENGTHS[n + 1] ?? 8192) - 1), 16 + n);
  });
  MATCH_LENGTHS.forEach((begin, n) => {
    assert.equal(matchLengthCode(begin), 32 + n);
    assert.equal(matchLengthCode((MATCH_LENGTHS[n + 1] ?? 4099) - 1), 32 + n);
  });
  assert.equal(literalLengthCode(65_536), 35);
  assert.equal(matchLengthCode(65_539), 52);
});

test("zstd accepts every finalized dictionary, and restores any data with it", () => {
  const random = new Xorshift32(6);
  const contents = [
    new Uint8Array(8),
    ...KINDS.flatMap((kind) => [9, 1000, 110 * KIB].map((size) => sample(kind, size, random))),
  ];
  const sampleSets = [[], [Uint8Array.of(1)], ...KINDS.map((kind) => [sample(kind, 9000, random)])];
  const all = Uint8Array.from({ length: 512 }, (_, n) => (n * 7) & 255);
  for (const { registry } of ZSTD) {
    for (const content of contents) {
      for (const samples of sampleSets) {
        const dictionary = finalizeZstdDictionary(content, samples);
        assert.ok(dictionary.length - content.length <= ZSTD_TABLES_BYTES_MAX);
        assert.deepEqual(dictionary.subarray(-content.length), content);
        const memory = new BareCodecMemory(FIXTURE_BYTES);
        const fixture = new CodecFixture(registry.create("zstd", memory, { dictionary }), memory);
        for (const data of [all, ...KINDS.map((kind) => sample(kind, 700, random))]) {
          assert.deepEqual(fixture.decompress(fixture.compress(data)!, data.length), data);
        }
        fixture.codec.close?.();
      }
    }
  }
});

/** Below it, the tables cost as much as they save; implementations differ in their default. */
const LEVEL = 3;

test("with the tables in the dictionary, compressed documents are smaller", () => {
  const content = trainDictionary(SAMPLES, 16 * KIB);
  const dictionary = finalizeZstdDictionary(content, SAMPLES);
  const [plain, full] = [content, dictionary].map((one) => {
    const memory = new BareCodecMemory(FIXTURE_BYTES);
    const codec = nodeCodecs().create("zstd", memory, { dictionary: one, level: LEVEL });
    const fixture = new CodecFixture(codec, memory);
    return documents(9000, 100).reduce((sum, data) => sum + fixture.compress(data)!.length, 0);
  });
  assert.ok(full! < plain! - 100 * 20, `${full} and ${plain} bytes`);
});
