// What-if comparisons checked against the analyzer for pages, and against the store for values.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { WhatIf } from "../../src/dashboard/api.ts";
import { Analyzer } from "../../src/lab/analyzer.ts";
import { type SampledContent, whatIf } from "../../src/lab/what_if.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";
import { IN_MEMORY, PERSISTENT } from "../../src/store/store.layout.ts";
import { type Store, stateOf } from "../../src/store/store.ts";
import { fillPage, type PageKind } from "../doubles/store_fixture.ts";
import { fillDevice, setDocuments, startMemcached, startNbd } from "./fixture.ts";

const PAGE = 4096;
const KINDS: readonly PageKind[] = ["text", "sparse", "noise", "text", "sparse"];
const CODECS = ["lz4", "zstd", "none"];

function choices() {
  const registry = nodeCodecs();
  return {
    codecs: CODECS.map((name) => ({
      name,
      create: (memory: Parameters<typeof registry.create>[1]) => registry.create(name, memory),
    })),
    pools: poolTypes().map((name) => ({
      name,
      create: (arena: Parameters<typeof createPool>[1]) => createPool(name, arena),
    })),
  };
}

function contentOf(pages: number, sameFilled: number): SampledContent {
  const bytes = new Uint8Array(pages * PAGE);
  for (let nth = 0; nth < pages; nth++) {
    fillPage(bytes.subarray(nth * PAGE, (nth + 1) * PAGE), KINDS[nth % KINDS.length]!, nth + 1);
  }
  return {
    ...{ pageSizeBytes: PAGE, holds: "pages", bytes, sameFilled },
    sizes: new Uint32Array(pages).fill(PAGE),
    prefixes: new Uint16Array(pages),
  };
}

test("a comparison of pages agrees with the analyzer", async () => {
  const content = contentOf(600, 7);
  const { codecs, pools } = choices();
  const analyzer = new Analyzer({ codecs, pools, pageSize: PAGE, windowBytes: 4 * 2 ** 20 });
  const { window } = analyzer;
  const all = [...content.bytes, ...new Uint8Array(content.sameFilled * PAGE)];
  for (let at = 0; at < all.length; at += PAGE) {
    analyzer.bytes.set(all.slice(at, at + PAGE), window.nextAddress());
    window.advance(PAGE);
  }
  for (const step of analyzer.finish()) await step;
  const expected = await analyzer.result();
  analyzer.close();
  assert.equal(expected.same_filled_pages, content.sameFilled);
  const found = whatIf(content, codecs, pools);
  assert.equal(found.length, expected.results.length);
  for (const row of found) {
    const same = expected.results.find((one) => one.codec === row.codec && one.pool === row.pool)!;
    const codec = expected.codecs.find((one) => one.codec === row.codec)!;
    const what = `${row.codec} in ${row.pool}`;
    assert.equal(row.compressedBytes, codec.compressed_bytes, what);
    assert.equal(row.heldBytes, same.held_bytes, what);
    assert.equal(row.metadataBytes, same.metadata_bytes, what);
    assert.equal(row.ratio, same.effective_ratio, what);
    assert.ok(row.compressNs > 0);
  }
});

test("a small store of pages is sampled as a whole", async () => {
  const nbd = await startNbd({ pool: "zsmalloc" });
  fillDevice(nbd, 900);
  const stats = nbd.store.stats();
  const answer = await nbd.monitor.whatIf("zstd", "dense");
  assert.equal(answer.sampled, 900);
  assert.equal(answer.of, 900);
  assert.equal(answer.sameFilled, stats.same_pages);
  assert.equal(answer.originalBytes, stats.orig_data_size);
  assert.equal(answer.storedBytes, stats.compr_data_size);
  assert.deepEqual(
    answer.rows.map(({ codec, pool, isCurrent }) => [codec, pool, isCurrent]),
    [
      ["lz4", "zsmalloc", true],
      ["lz4", "dense", false],
      ["zstd", "zsmalloc", false],
      ["zstd", "dense", false],
    ],
  );
  // The whole content, repacked with the same codec and pool, takes as much as the store's pool.
  assert.equal(answer.rows[0]!.compressedBytes, stats.compr_data_size);
  assert.equal(answer.rows[0]!.poolBytes, stats.persistent.pool.pages * PAGE);
  assert.deepEqual(nbd.store.stats().counters, stats.counters, "looking is no use");
  nbd.store.verify();
  await nbd.close();
});

test("a store of values is sampled in part", async () => {
  const memcached = await startMemcached({ memoryMax: 16 * 2 ** 20 });
  const none = await memcached.monitor.whatIf("zstd", "zsmalloc");
  assert.deepEqual([none.sampled, none.of, none.rows[0]!.ratio], [0, 0, 0]);
  await setDocuments(memcached, 0, 1000);
  const stats = memcached.store.stats();
  const all = await memcached.monitor.whatIf("zstd", "zsmalloc");
  assert.deepEqual([all.sampled, all.of], [1000, 1000]);
  assert.equal(all.storedBytes, stats.compr_data_size);
  assert.equal(all.rows[0]!.compressedBytes, stats.compr_data_size);
  assert.ok(Math.abs(all.originalBytes - stats.orig_data_size) <= 16 * 1000);
  await setDocuments(memcached, 1000, 8000);
  const some = await memcached.monitor.whatIf("lz4", "zsmalloc");
  assert.equal(some.of, 8000);
  assert.ok(some.sampled > 1800 && some.sampled <= 2000, `${some.sampled} of 8000`);
  memcached.store.verify();
  await memcached.close();
});

/** Pages of a shard that are in its pool. */
function pagesIn(shard: Store): number {
  const state = stateOf(shard);
  return state.words[state.gaugeAt(PERSISTENT, IN_MEMORY)]!;
}

/** Checks that two answers tell the same of the same content, whatever its order. */
function checkSame(one: WhatIf, other: WhatIf, count: number): void {
  const totals = ({ rows: _, ...rest }: WhatIf) => rest;
  assert.deepEqual(totals(other), totals(one));
  assert.deepEqual([one.sampled, one.of, one.rows.length], [count, count, 4]);
  for (const [nth, row] of one.rows.entries()) {
    const { codec, pool, isCurrent, compressedBytes, heldBytes } = row;
    const same = other.rows[nth]!;
    const what = `${codec} in ${pool}`;
    assert.deepEqual([same.codec, same.pool, same.isCurrent], [codec, pool, isCurrent]);
    assert.equal(same.compressedBytes, compressedBytes, what);
    // The classes of the dense pool depend on the order in which the sizes come.
    const most = pool === "dense" ? heldBytes / 10 : 0;
    assert.ok(Math.abs(same.heldBytes - heldBytes) <= most, `${what}: ${same.heldBytes}`);
    assert.equal(same.ratio, other.originalBytes / same.heldBytes);
  }
}

test("pages in three shards are compared as the same pages in one", async () => {
  // Runs of 256 pages: each shard has some of them.
  const pages = 1900;
  const answers: WhatIf[] = [];
  for (const shards of [1, 3]) {
    const nbd = await startNbd({ pool: "zsmalloc", shards });
    fillDevice(nbd, pages);
    const parts = nbd.store.shards.map(pagesIn);
    assert.ok(parts.length === shards && parts.every((count) => count > 0), parts.join());
    const stats = nbd.store.stats();
    const answer = await nbd.monitor.whatIf("zstd", "dense");
    assert.equal(answer.storedBytes, stats.compr_data_size);
    assert.equal(answer.originalBytes, stats.orig_data_size);
    assert.equal(answer.sameFilled, stats.same_pages);
    answers.push(answer);
    await nbd.close();
  }
  checkSame(answers[0]!, answers[1]!, pages);
});

test("values in three shards are compared as the same values in one", async () => {
  const answers: WhatIf[] = [];
  for (const shards of [1, 3]) {
    const settings = { memoryMax: 16 * 2 ** 20, shards, dictionary: false, tiers: false };
    const memcached = await startMemcached(settings);
    await setDocuments(memcached, 0, 1900);
    const parts = memcached.store.stores.map((store) => store.stats().compr_data_size);
    assert.ok(parts.length === shards && parts.every((bytes) => bytes > 0), parts.join());
    answers.push(await memcached.monitor.whatIf("zstd", "zsmalloc"));
    assert.equal(answers.at(-1)!.storedBytes, memcached.store.stats().compr_data_size);
    await memcached.close();
  }
  checkSame(answers[0]!, answers[1]!, 1900);
});

test("a sample of some pages has its part of each shard", async () => {
  const nbd = await startNbd({ shards: 3 });
  fillDevice(nbd, 1800);
  const memories = nbd.store.shards.map(({ arena }) => arena.bytes.buffer);
  const counts = nbd.store.shards.map(pagesIn);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const drawn = counts.map(() => 0);
  let total = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const sampler = nbd.store.inspection.sample(300, seed, {
      take: (content) => {
        drawn[memories.indexOf(content.buffer as SharedArrayBuffer)]!++;
        total++;
      },
      sameFilled: () => {},
    });
    while (!sampler.step());
    assert.equal(sampler.population, 1800);
  }
  assert.ok(total > 9000, `${total} pages`);
  for (const [nth, count] of drawn.entries()) {
    const expected = (total * counts[nth]!) / all;
    assert.ok(Math.abs(count - expected) < total / 20, `${drawn.join()} of ${counts.join()}`);
  }
  await nbd.close();
});

test("every page is drawn with the same probability", async () => {
  const nbd = await startNbd();
  fillDevice(nbd, 1800);
  const firsts = new Map<number, number>();
  const draw = (store: Store, seed: number) => {
    let same = 0;
    const sampler = store.inspection.sample(300, seed, {
      take: (content) => {
        const seen = new Uint32Array(content.slice(0, 4).buffer)[0]!;
        firsts.set(seen, (firsts.get(seen) ?? 0) + 1);
      },
      sameFilled: () => {
        same++;
      },
    });
    while (!sampler.step());
    assert.equal(sampler.population, 1800);
    return same;
  };
  let same = 0;
  for (let seed = 1; seed <= 40; seed++) same += draw(nbd.store, seed);
  const drawn = [...firsts.values()].reduce((sum, n) => sum + n, 0) + same;
  // 40 samples of 300 at most: each of 1800 pages is met 6.6 times, and a sixth are same-filled.
  assert.ok(drawn > 11_000 && drawn <= 12_000, `${drawn}`);
  assert.ok(Math.abs(same / drawn - 1 / 6) < 0.03, `${same} of ${drawn} same-filled`);
  assert.ok(firsts.size > 1450, `${firsts.size} of 1500 different pages were met`);
  await nbd.close();
});

test("an unknown codec or pool is refused", async () => {
  const nbd = await startNbd();
  await assert.rejects(nbd.monitor.whatIf("brotli", "dense"), { code: "ERR_OPTION" });
  await assert.rejects(nbd.monitor.whatIf("lz4", "slab"), { code: "ERR_OPTION" });
  await nbd.close();
});
