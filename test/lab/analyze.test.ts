// The analyzer on inputs with a known result, in one window or many; and with faulty codecs and
// pools, which it must detect.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Address } from "../../src/base/brand.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB } from "../../src/base/units.ts";
import type { Codec, CodecMemory } from "../../src/codec/contract.ts";
import { createLz4 } from "../../src/codec/lz4.ts";
import type { Analysis } from "../../src/lab/analysis.ts";
import { Analyzer, type AnalyzerOptions, type CodecChoice } from "../../src/lab/analyzer.ts";
import { drawSample, Feed, type Piece, SkipList } from "../../src/lab/feed.ts";
import type { PoolChoice } from "../../src/lab/pool_lane.ts";
import { recommend } from "../../src/lab/recommend.ts";
import type { Arena } from "../../src/memory/arena.ts";
import { parseMaps } from "../../src/node/processes.ts";
import { createPool } from "../../src/pool/registry.ts";

const PAGE = 4 * KIB;
const ZBUD = "zbud-6.12";
const LZ4: CodecChoice = { name: "lz4", create: (memory) => createLz4(memory) };

function poolCalled(name: string): PoolChoice {
  return { name, create: (arena: Arena) => createPool(name, arena) };
}

/** A piece over bytes; `failAt`: reading from there on fails. */
function piece(name: string, content: Uint8Array, failAt = Number.POSITIVE_INFINITY): Piece {
  return {
    name,
    sizeBytes: content.length,
    open: () => ({
      sizeBytes: content.length,
      read(target, at, lengthBytes, position) {
        if (position >= failAt) throw new ZcacheError("ERR_INPUT", "input/output error (EIO)");
        const end = Math.min(content.length, position + lengthBytes, failAt);
        target.set(content.subarray(position, end), at);
        return end - position;
      },
      close() {},
    }),
  };
}

/** Pages of every kind: zero, one pattern, text-like, noise. */
function mixedBytes(pages: number, seed: number): Uint8Array {
  const random = new Xorshift32(seed);
  const bytes = new Uint8Array(pages * PAGE);
  for (let page = 0; page < pages; page++) {
    const at = page * PAGE;
    const kind = random.below(8);
    if (kind === 1) bytes.fill(0xa5, at, at + PAGE);
    if (kind < 2) continue;
    const symbols = kind === 2 ? 256 : 4 + random.below(24);
    for (let i = 0; i < PAGE; i++) bytes[at + i] = random.below(symbols);
  }
  return bytes;
}

interface RunOptions extends Partial<AnalyzerOptions> {
  readonly samplePages?: number;
  readonly limitBytes?: number;
}

async function analyze(pieces: readonly Piece[], options: RunOptions = {}) {
  const analyzer = new Analyzer({
    codecs: [LZ4],
    pools: [poolCalled(ZBUD)],
    pageSize: PAGE,
    windowBytes: 64 * PAGE,
    ...options,
  });
  const skips = new SkipList();
  const feed = new Feed(analyzer, {
    pieces: () => pieces,
    skips,
    sources: ["test"],
    seed: 7,
    limitBytes: options.limitBytes,
    samplePages: options.samplePages,
  });
  for (const wait of feed.run()) await wait;
  const analysis = await analyzer.result();
  analyzer.close();
  return { analysis, input: feed.summary() };
}

/** What must not depend on how the input was cut into windows. */
function totals({ analysis }: { analysis: Analysis }) {
  const { pages, zero_pages, same_filled_pages, codecs, results } = analysis;
  return {
    pages,
    zero_pages,
    same_filled_pages,
    codecs: codecs.map(({ compress_ns: _, decompress_ns: __, ...counts }) => counts),
    payload: results.map((one) => one.payload_bytes + one.held_raw_pages * PAGE),
  };
}

test("many small windows give the totals of one", async () => {
  const input = [piece("a", mixedBytes(500, 1)), piece("b", mixedBytes(77, 2).subarray(100))];
  const one = await analyze(input, { windowBytes: 1024 * PAGE });
  const many = await analyze(input, { windowBytes: 16 * PAGE });
  assert.equal(one.analysis.windows, 1);
  assert.equal(many.analysis.windows, 37);
  assert.deepEqual(totals(many), totals(one));
  assert.ok(many.analysis.memory.peak_bytes < one.analysis.memory.peak_bytes / 4);
});

test("memory stays within the bound, whatever the length of the input", async () => {
  const noise = new Uint8Array(2000 * PAGE);
  const random = new Xorshift32(3);
  for (let i = 0; i < noise.length; i++) noise[i] = random.next();
  const { analysis } = await analyze([piece("noise", noise)], { windowBytes: 32 * PAGE });
  const { window_bytes, peak_bytes, bound_bytes } = analysis.memory;
  assert.equal(window_bytes, 32 * PAGE);
  assert.ok(peak_bytes <= bound_bytes);
  // Window, two staging logs, one pool, and blocks that are begun.
  assert.ok(peak_bytes <= 4 * window_bytes + 8 * 16 * PAGE, `${peak_bytes} bytes at most`);
});

test("counts and sizes of a known input", async () => {
  const bytes = new Uint8Array(4 * PAGE + 10);
  bytes.fill(0x5a, PAGE, 2 * PAGE);
  const random = new Xorshift32(5);
  for (let i = 2 * PAGE; i < 3 * PAGE; i++) bytes[i] = random.next();
  bytes.fill(1, 4 * PAGE);
  const { analysis, input } = await analyze([piece("five pages", bytes)]);
  assert.equal(analysis.pages, 5);
  assert.equal(analysis.original_bytes, 5 * PAGE);
  assert.equal(input.bytes, bytes.length);
  assert.equal(analysis.zero_pages, 2);
  assert.equal(analysis.same_filled_pages, 3);
  const [codec] = analysis.codecs;
  assert.equal(codec!.incompressible_pages, 1);
  assert.equal(codec!.incompressible_share, 0.5);
  assert.equal(codec!.size_histogram.length, 65);
  assert.equal(codec!.size_histogram[64], 1);
  assert.equal(codec!.size_histogram[0], 1, "ten ones and zeros take less than 64 bytes");
  const [pool] = analysis.results;
  assert.equal(pool!.held_raw_pages, 1, "zbud takes no object of a whole page");
  assert.equal(pool!.pool_pages, 1);
  assert.equal(pool!.payload_bytes, codec!.compressed_bytes - PAGE);
  assert.equal(pool!.held_bytes, 2 * PAGE + pool!.metadata_bytes + 3 * 8);
  assert.equal(pool!.effective_ratio, (5 * PAGE) / pool!.held_bytes);
  assert.equal(pool!.zram_ratio, 2.5);
});

test("a codec that flips a byte is detected", async () => {
  const flipping: CodecChoice = {
    name: "flip",
    create(memory: CodecMemory): Codec {
      const real = createLz4(memory);
      return {
        name: "flip",
        implementation: "a liar",
        compress: (...args) => real.compress(...args),
        decompress(source, sourceBytes, target, targetBytes) {
          real.decompress(source, sourceBytes, target, targetBytes);
          memory.bytes[target + 1234]! ^= 1;
        },
      };
    },
  };
  await assert.rejects(analyze([piece("a", mixedBytes(50, 4))], { codecs: [LZ4, flipping] }), {
    code: "ERR_MISMATCH",
    message: /^page \d+ of the input came back wrong: codec flip restored other bytes/,
  });
});

test("a codec that fails to restore is a mismatch, with its error as the cause", async () => {
  const broken: CodecChoice = {
    name: "broken",
    create: (memory) =>
      Object.assign(Object.create(createLz4(memory)) as Codec, {
        name: "broken",
        implementation: "none",
        compress: () => 100,
        decompress: () => {
          throw new ZcacheError("ERR_CODEC_CORRUPT", "gone");
        },
      }),
  };
  await assert.rejects(analyze([piece("a", mixedBytes(9, 4))], { codecs: [broken] }), {
    code: "ERR_MISMATCH",
    message: /codec broken can't restore/,
  });
});

test("a pool that returns wrong bytes is detected", async () => {
  const lying: PoolChoice = {
    name: "lying",
    create(arena) {
      const pool = createPool(ZBUD, arena);
      const read = pool.read.bind(pool);
      pool.read = (handle, target: Address, sizeBytes) => {
        const result = read(handle, target, sizeBytes);
        arena.bytes[target + sizeBytes - 1]! ^= 0x80;
        return result;
      };
      return pool;
    },
  };
  await assert.rejects(analyze([piece("a", mixedBytes(50, 5))], { pools: [lying] }), {
    code: "ERR_MISMATCH",
    message: /pool zbud-6\.12 returned other bytes/,
  });
});

test("a limit cuts the input and says so", async () => {
  const input = [piece("a", mixedBytes(20, 6)), piece("b", mixedBytes(20, 6))];
  const cut = await analyze(input, { limitBytes: 10 * PAGE + 1 });
  assert.equal(cut.analysis.pages, 11);
  assert.equal(cut.input.bytes, 10 * PAGE + 1);
  assert.equal(cut.input.limited, true);
  const whole = await analyze(input, { limitBytes: 40 * PAGE });
  assert.equal(whole.analysis.pages, 40);
  assert.equal(whole.input.limited, false);
});

test("a sample has its pages, and the same seed draws the same", async () => {
  const input = [piece("a", mixedBytes(300, 8)), piece("b", mixedBytes(200, 9).subarray(7))];
  for (const samplePages of [1, 100, 400]) {
    const first = await analyze(input, { samplePages });
    const again = await analyze(input, { samplePages });
    assert.equal(first.analysis.pages, samplePages);
    assert.deepEqual(first.input.sample, { pages: samplePages, of_pages: 500, seed: 7 });
    assert.deepEqual(totals(again), totals(first));
  }
  const all = await analyze(input, { samplePages: 10_000 });
  assert.equal(all.analysis.pages, 500);
});

test("every page is drawn as often as any other", () => {
  const hits = new Array<number>(40).fill(0);
  for (let seed = 1; seed <= 4000; seed++) {
    const drawn = drawSample(40, 10, seed * 2654435761);
    assert.equal(new Set(drawn).size, 10);
    for (const page of drawn) hits[page]!++;
  }
  // 1000 expected each; the standard deviation is 27.
  for (const count of hits) assert.ok(Math.abs(count - 1000) < 140, `${count} hits`);
});

test("unreadable input is named, and the rest is measured", async () => {
  const shut: Piece = {
    name: "shut",
    sizeBytes: PAGE,
    open() {
      throw new ZcacheError("ERR_INPUT", "permission denied (EACCES)");
    },
  };
  const input = [shut, piece("bad", mixedBytes(10, 10), 3 * PAGE), piece("c", mixedBytes(5, 11))];
  const { analysis, input: summary } = await analyze(input);
  assert.equal(analysis.pages, 8);
  assert.deepEqual(summary.skipped, [
    { name: "shut", reason: "permission denied (EACCES)" },
    { name: "bad", reason: "input/output error (EIO)" },
  ]);
});

test("empty input gives an empty report", async () => {
  const { analysis } = await analyze([]);
  assert.equal(analysis.pages, 0);
  assert.equal(analysis.windows, 0);
  assert.match(recommend(analysis), /^Nothing was measured/);
});

test("page sizes up to 64 KiB", async () => {
  for (const pageSize of [8 * KIB, 64 * KIB]) {
    const { analysis } = await analyze([piece("a", mixedBytes(100, 12))], {
      pageSize,
      windowBytes: 16 * pageSize,
    });
    assert.equal(analysis.pages, Math.ceil((100 * PAGE) / pageSize));
    const [pool] = analysis.results;
    assert.ok(pool!.pool_bytes === pool!.pool_pages * pageSize && pool!.pool_pages > 0);
  }
});

test("anonymous regions in a maps file", () => {
  const regions = parseMaps(
    [
      "55b0e0f6a000-55b0e0f6c000 rw-p 00000000 fe:00 260131                     /usr/bin/cat",
      "55b0e2000000-55b0e2021000 rw-p 00000000 00:00 0                          [heap]",
      "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ",
      "7f0000021000-7f0004000000 ---p 00000000 00:00 0 ",
      "7f0010000000-7f0010001000 rw-s 00000000 00:01 1234      /dev/zero (deleted)",
      "7f0020000000-7f0020001000 rw-p 00000000 00:00 0         [anon:arena one]",
      "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]",
      "7ffd00030000-7ffd00034000 r--p 00000000 00:00 0                          [vvar]",
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
    ].join("\n"),
  );
  const labels = regions.map((region) => region.label);
  assert.deepEqual(labels, ["[heap]", "", "[anon:arena one]", "[stack]"]);
  assert.equal(regions[0]!.end - regions[0]!.start, 0x21000);
});
