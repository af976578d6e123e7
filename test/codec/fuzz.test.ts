// Fuzz of every decompressor with random and with damaged input: whatever comes in, it gives
// exactly the bytes asked for or ERR_CODEC_CORRUPT, and never touches a byte outside its target.
//
// ZCACHE_FUZZ_CASES   cases per codec (default 20,000; a long run is a million and more)
// ZCACHE_FUZZ_SEED    replays a run; a failure names its seed and case
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import {
  type CodecCase,
  CodecFixture,
  codecCases,
  FIXTURE_BYTES,
  KINDS,
  sample,
} from "../doubles/codec_fixture.ts";
import { BareCodecMemory } from "../doubles/codec_memory.ts";

const CASES = Number(process.env["ZCACHE_FUZZ_CASES"] ?? 20_000);
const SEED = Number(process.env["ZCACHE_FUZZ_SEED"] ?? 0x5eed);
/** The slow implementations make a context per call. */
const SLOW_SHARE = 1 / 10;

interface Specimen {
  readonly data: Uint8Array;
  readonly packed: Uint8Array;
}

function specimensOf(fixture: CodecFixture, random: Xorshift32): Specimen[] {
  return [1, 40, 300, 1500, 4096, 16_384].flatMap((size) =>
    KINDS.map((kind) => {
      const data = sample(kind, size, random);
      return { data, packed: fixture.compress(data)! };
    }),
  );
}

/** Damages a copy of a block in one to four ways. */
function mutate({ packed }: Specimen, other: Specimen, random: Xorshift32): Uint8Array {
  let bytes = packed.slice();
  for (let times = 1 + random.below(4); times > 0 && bytes.length > 0; times--) {
    // Headers and tables stand in front, so half of the damage is done there.
    const span = random.below(2) === 0 ? Math.min(bytes.length, 16) : bytes.length;
    const at = random.below(span);
    const way = random.below(7);
    if (way <= 1) bytes[at]! ^= 1 << random.below(8);
    else if (way === 2) bytes[at] = random.below(256);
    else if (way === 3) bytes[at] = random.below(2) * 255;
    else if (way === 4) bytes = bytes.slice(0, random.below(bytes.length + 1));
    else if (way === 5) bytes.copyWithin(at, random.below(bytes.length));
    else bytes.set(other.packed.subarray(0, bytes.length - at), at);
  }
  return bytes;
}

/**
 * Random bytes, some with what a block of that codec begins with, so that they get past the door.
 */
function invent({ packed }: Specimen, random: Xorshift32): Uint8Array {
  const bytes = new Uint8Array(1 + random.below(random.below(4) === 0 ? 5000 : 200));
  for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256);
  bytes.set(packed.subarray(0, Math.min(random.below(12), packed.length, bytes.length)));
  return bytes;
}

function fuzz({ name, registry, options }: CodecCase, cases: number): void {
  const random = new Xorshift32(SEED);
  const memory = new BareCodecMemory(FIXTURE_BYTES);
  const fixture = new CodecFixture(registry.create(name, memory, options), memory);
  const specimens = specimensOf(fixture, random);
  const pick = () => specimens[random.below(specimens.length)]!;
  for (let i = 0; i < cases; i++) {
    const specimen = pick();
    const packed =
      random.below(3) === 0 ? invent(specimen, random) : mutate(specimen, pick(), random);
    const length = specimen.data.length;
    const targetBytes = random.below(4) === 0 ? 1 + random.below(2 * length) : length;
    try {
      fixture.accepts(packed, targetBytes);
    } catch (cause) {
      const input = Buffer.from(packed).toString("hex");
      throw new Error(
        `ZCACHE_FUZZ_SEED=${SEED}, case ${i}: ${packed.length} bytes for ${targetBytes}: ${input}`,
        { cause },
      );
    }
  }
  for (const { data, packed } of specimens) {
    assert.deepEqual(fixture.decompress(packed, data.length), data, "it works on as before");
    assert.deepEqual(
      fixture.decompress(fixture.compress(data)!, data.length),
      data,
      "it still compresses",
    );
  }
}

const traceLimit = Error.stackTraceLimit;
for (const codecCase of codecCases()) {
  const cases = Math.ceil(CASES * (codecCase.slow ? SLOW_SHARE : 1));
  test(`${codecCase.label}: ${cases} inputs`, { skip: codecCase.missing ?? false }, () => {
    // Almost every case is an error, and its stack trace would be most of the work.
    Error.stackTraceLimit = 0;
    try {
      fuzz(codecCase, cases);
    } finally {
      Error.stackTraceLimit = traceLimit;
    }
  });
}
