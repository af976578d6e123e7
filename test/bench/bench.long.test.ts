// The benchmarks run, in their tiny form, so that they do not rot. Nothing here looks at a time.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { benchCache } from "../../bench/cache/cache.ts";
import { benchLarge } from "../../bench/cache/large.ts";
import { benchCodecs } from "../../bench/codec/codecs.ts";
import { benchDictionaries } from "../../bench/codec/dictionaries.ts";
import { benchMemcached } from "../../bench/memcached/memcached.ts";
import { benchShards } from "../../bench/memcached/shards.ts";
import { benchSoak } from "../../bench/memcached/soak.ts";
import { benchNbdGiveBack, CLIENTS } from "../../bench/nbd/give_back.ts";
import { benchNbd } from "../../bench/nbd/nbd.ts";
import { benchSwap } from "../../bench/nbd/swap.ts";
import { whyNoSwap } from "../../bench/nbd/swap_device.ts";
import { benchPolicies } from "../../bench/policy/policies.ts";
import { benchDensity } from "../../bench/pool/density.ts";
import { benchPools, type PoolTimes } from "../../bench/pool/pools.ts";
import { without } from "../../bench/programs.ts";
import { benchRemoteDocuments } from "../../bench/remote/documents.ts";
import { benchRemoteFleet } from "../../bench/remote/fleet.ts";
import { benchRemoteGets } from "../../bench/remote/gets.ts";
import { benchRemotePages } from "../../bench/remote/pages.ts";
import { benchFirstTouch } from "../../bench/store/first_touch.ts";
import { benchGarbage } from "../../bench/store/garbage.ts";
import { benchGiveBack } from "../../bench/store/give_back.ts";
import { benchReclaim } from "../../bench/store/reclaim.ts";
import { benchShardCosts, SHARDED_WORK } from "../../bench/store/shards.ts";
import { benchStore } from "../../bench/store/store.ts";
import { benchWriteBack } from "../../bench/store/write_back.ts";
import { predict } from "../../bench/threads/model.ts";
import { benchThreads } from "../../bench/threads/threads.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { poolTypes } from "../../src/pool/registry.ts";
import { noServers } from "../doubles/engine_servers.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const MAIN = fileURLToPath(new URL(`../../bench/main.${EXTENSION}`, import.meta.url));

test("pools: a row for every allocator, all figures there", async () => {
  const lines: string[] = [];
  const rows = await benchPools({ tiny: true, print: (line) => lines.push(line) });
  assert.deepEqual(
    rows.map((row) => row.type),
    poolTypes(),
  );
  for (const row of rows) {
    assert.equal(row.trace, "histA");
    for (const call of ["malloc", "free", "read"] as const satisfies (keyof PoolTimes)[]) {
      const { mean, p50, p99, p999, max } = row[call];
      assert.ok(mean > 0, `${row.type}: mean of ${call}`);
      assert.ok(0 <= p50 && p50 <= p99 && p99 <= p999 && p999 <= max, `${row.type}: ${call}`);
      assert.ok(Number.isFinite(max));
    }
    for (const value of [row.copyNsMean, row.copyPageNsMean]) {
      assert.ok(value > 0 && Number.isFinite(value));
    }
    assert.ok(lines.includes(row.type), `${row.type} is in the report`);
  }
});

test("give-back: memory is returned with the calls of the system, and not without", async () => {
  const rows = await benchGiveBack({ tiny: true, print: () => {} });
  assert.deepEqual(
    rows.map(({ giveBack }) => giveBack),
    ["auto", "off"],
  );
  for (const { by, filledMiB, freedMiB, afterMiB, usedMiB } of rows) {
    assert.ok(usedMiB > 0 && filledMiB > 2 * usedMiB && freedMiB > 2 * usedMiB);
    if (by === "koffi" || by === "node:ffi") assert.ok(afterMiB < filledMiB / 2, "it is returned");
    else assert.ok(afterMiB > 2 * usedMiB, `${by}: it stays`);
  }
});

test("give-back of NBD: discarded memory is returned", { skip: without(...CLIENTS) }, async () => {
  const rows = await benchNbdGiveBack(true, () => {});
  for (const { copies, filledMiB } of rows) {
    assert.ok(filledMiB > 0);
    for (const { speed, seconds } of copies) assert.ok(speed > 0 && seconds >= 0);
  }
});

test("first-touch: how long puts hold the lock, in both ways", async () => {
  const rows = await benchFirstTouch({ tiny: true, print: () => {} });
  assert.deepEqual(
    rows.map(({ ahead }) => ahead),
    [true, false],
  );
  for (const { fillUs, overwriteUs } of rows) assert.ok(fillUs > 0 && overwriteUs > 0);
});

test("density: every allocator, every phase, in percent", async () => {
  const rows = await benchDensity({ registry: nodeCodecs(), tiny: true, print: () => {} });
  for (const pool of poolTypes()) {
    const own = rows.filter((row) => row.pool === pool);
    assert.deepEqual(
      own.map((row) => row.phase),
      ["fill", "churn", "free70", "refill"],
    );
    for (const { frames, everything } of own) {
      assert.ok(everything > 0 && everything < frames && frames <= 100, pool);
    }
  }
});

test("policies: hits and costs of every policy", () => {
  const { hits, costs } = benchPolicies({ tiny: true, print: () => {} });
  for (const name of policyNames()) {
    const own = hits.filter((row) => row.policy === name);
    assert.ok(own.length > 0, name);
    for (const row of own) assert.ok(row.hitPercent >= 0 && row.hitPercent <= 100);
    assert.equal(costs.filter((row) => row.policy === name).length, 1);
  }
});

test("store: one thread and two, every page right", async () => {
  const rows = await benchStore({ tiny: true, print: () => {} });
  assert.deepEqual(
    rows.map((row) => row.threads),
    [1, 2],
  );
  for (const row of rows) {
    for (const value of Object.values(row)) assert.ok(value > 0 && Number.isFinite(value));
    assert.ok(row.residentBytes > row.compressedBytes);
  }
});

test("reclaim: every pool both ways", () => {
  const rows = benchReclaim({ tiny: true, print: () => {} });
  assert.equal(rows.length, 10);
  for (const { hitPercent, nsPerRequest } of rows) {
    assert.ok(hitPercent > 0 && hitPercent < 100 && nsPerRequest > 0);
  }
});

test("shards: every kind of work, with every number of shards", async () => {
  const rows = await benchShardCosts({ tiny: true, print: () => {} });
  assert.deepEqual(
    rows.map(({ work }) => work),
    SHARDED_WORK,
  );
  for (const { shards, ns } of rows) {
    assert.equal(ns.length, shards.length);
    assert.ok(ns.every((one) => one >= 0));
  }
});

test("garbage: puts and gets cause hardly any garbage", () => {
  const { operations, collections } = benchGarbage({ tiny: true, print: () => {} });
  assert.ok(operations > 0);
  // One object of 16 bytes for each operation would make tens of them.
  assert.ok(collections * 20_000 < operations + 100_000, `${collections} for ${operations}`);
});

test("memcached: every shape of load, for us and for memcached where there is one", async () => {
  const { speed, held, idleBytes, disturbed } = await benchMemcached({
    tiny: true,
    print: () => {},
  });
  assert.ok(speed.length === 7 || speed.length === 13);
  for (const { perSecond, p99Ms } of speed.flatMap(({ windows }) => windows)) {
    assert.ok(perSecond > 0 && p99Ms > 0);
  }
  for (const row of held) assert.ok(row.items > 0 && row.misses < row.gets);
  assert.ok(idleBytes < 64 * 2 ** 20 && disturbed > 0);
});

test("cache: every figure of an installed cache, and a reason for each missing one", () => {
  const lines: string[] = [];
  const only = ["zcache", "map"];
  const rows = benchCache({ tiny: true, only, print: (line) => lines.push(line) });
  assert.deepEqual(
    rows.map((row) => row.name),
    only,
  );
  const map = rows[1]!;
  assert.deepEqual(Object.keys(map.skipped), ["hits"]);
  assert.equal(map.skipped["hits"], "has no limit");
  assert.ok(map.documents!.rawBytes > 100_000 && map.documents!.fileBytes === 0);
  for (const figure of Object.values(map.speed!)) assert.ok(figure > 0 && Number.isFinite(figure));
  assert.ok(map.twoThreads!.mixedPerSecond > 0);
  assert.ok(map.collector!.share >= 0 && map.collector!.share < 1);
  for (const { name, skipped } of rows) {
    for (const [field, reason] of Object.entries(skipped)) {
      assert.doesNotMatch(reason, /^failed/, `${name}, ${field}`);
    }
  }
  assert.equal(lines.filter((line) => line.startsWith("| map |")).length, 5);
});

test("large: both caches are measured, and the restart finds what was stored", async () => {
  const lines: string[] = [];
  const { rows, restarts } = await benchLarge({ tiny: true, print: (line) => lines.push(line) });
  assert.deepEqual(
    rows.map(({ operation, keys }) => `${operation} ${keys}`),
    ["get uniform", "get zipf", "set uniform", "set zipf"],
  );
  for (const { operation, largeBySmall, hitShare } of rows) {
    assert.ok(largeBySmall > 0 && Number.isFinite(largeBySmall));
    if (operation === "get") assert.ok(hitShare > 0.5 && hitShare <= 1, `hits: ${hitShare}`);
  }
  const [filled, restarted] = restarts;
  assert.ok(restarted!.entries > 0.9 * filled!.entries, JSON.stringify(restarts));
  assert.ok(lines.includes("verify: holds"));
});

test("threads: every mix is measured and predicted", async () => {
  const lines: string[] = [];
  const rows = await benchThreads({ tiny: true, print: (line) => lines.push(line) });
  assert.deepEqual(
    rows.map(({ kind, sets }) => [kind, sets]),
    [
      ["documents", 50],
      ["pages", 50],
      ["documents", 500],
      ["pages", 500],
    ],
  );
  for (const { oneCpuUs, timed } of rows) {
    assert.ok(oneCpuUs > 0 && Number.isFinite(oneCpuUs));
    assert.deepEqual(
      timed.map((reports) => reports.length),
      [1, 2],
    );
  }
  assert.equal(lines.filter((line) => line.startsWith("| pages")).length, 4);
});

test("the model of threads: one thread is alone, two get in each other's way, none starves", () => {
  const costs = {
    ...{ sets: 500, thinkGetUs: 3, thinkSetUs: 3, keyUs: 2, keys: 1000 },
    ...{ exclusiveUs: 4, readerUs: 1, besideUs: 2, besideShare: 0.05 },
  };
  const machine = { processors: 2, turnUs: 3000, wakeUs: 40, switchUs: 3, spinUs: 30, wakerUs: 0 };
  const one = predict(costs, machine, 1);
  // A get takes 3 + 1 + 0.05 · 2 µs, a set 3 + 2 + 4.
  const expected = 1000 / ((4.1 + 9) / 2);
  assert.ok(Math.abs(one.rate / expected - 1) < 0.02, `${one.rate}, expected ${expected}`);
  const two = predict(costs, machine, 2);
  assert.ok(two.rate > 1.5 * one.rate && two.rate < 2 * one.rate, `${two.rate} and ${one.rate}`);
  const free = predict({ ...costs, exclusiveUs: 0, besideUs: 0 }, machine, 2);
  assert.ok(free.rate > two.rate);
  // The lock alone is the limit: no more than one set at a time.
  const many = predict({ ...costs, sets: 1000 }, { ...machine, processors: 16 }, 16);
  assert.ok(many.rate < 1000 / 4 && many.rate > 800 / 4, `${many.rate}`);
  assert.ok(many.slowestByFastest > 0);
});

test("memcached-shards: every kind of request is answered by servers with shards", async () => {
  const lines: string[] = [];
  const rows = await benchShards({ tiny: true, print: (line) => lines.push(line) });
  assert.equal(lines.length, rows.length);
  assert.deepEqual(
    rows.map(({ threads, shards }) => `${threads}: ${shards}`),
    [...Array(9).fill("1: 1,3,8"), ...Array(2).fill("2: 1,4")],
  );
  for (const { speed } of rows) assert.ok(speed.every((one) => one > 0));
});

test("memcached-soak: values are read back unchanged", async () => {
  const { operations, hits, errors } = await benchSoak({ tiny: true, print: () => {} });
  assert.ok(operations > 0 && hits >= 0);
  assert.equal(errors, 0);
});

test("remote: pages and values both ways, gets beside it", { skip: noServers }, async () => {
  const rows = await benchRemotePages({ tiny: true, print: () => {} });
  assert.deepEqual(
    rows.map(({ call }) => call),
    ["put", "put", "put", "get", "get", "get"],
  );
  for (const { perSecond, cpuUs, ratio } of rows)
    assert.ok(perSecond > 0 && cpuUs > 0 && ratio > 0);
  const gets = await benchRemoteGets({ tiny: true, print: () => {} });
  assert.ok(gets[1]!.sentPerSecond > 0 && gets.every((row) => row.gets > 0 && row.p99Ns > 0));
});

test("remote-documents: every contender finds its documents", { skip: noServers }, async () => {
  const rows = await benchRemoteDocuments({ tiny: true, print: () => {} });
  const ours = rows.find(({ contender }) => contender === "zcache, lz4");
  const json = rows.find(({ contender }) => contender === "ioredis, JSON");
  assert.ok(ours!.valueMib > 0 && ours!.valueMib < json!.valueMib);
  for (const { readsPerSecond, serverMib } of rows) assert.ok(readsPerSecond > 0 && serverMib > 0);
});

test("remote-fleet: one load for each key, no stale read", { skip: noServers }, async () => {
  const result = await benchRemoteFleet({ tiny: true, print: () => {} });
  const { documents, loads, loadsAgain, copies, stale, reads } = result;
  assert.deepEqual([loads, loadsAgain, copies, stale], [documents, 0, 4 * documents, 0]);
  assert.ok(reads > 0);
});

test("write-back: all pages are written and read back", () => {
  const row = benchWriteBack({ tiny: true, print: () => {} });
  assert.ok(row.bytes > 0 && row.outPerSecond > 0 && row.backPerSecond > 0);
});

test("nbd: copies and random access, of our own server", async () => {
  const lines: string[] = [];
  const rows = await benchNbd({ tiny: true, print: (line) => lines.push(line) });
  if (rows.length === 0) assert.match(lines.join(), /skipped: .* not installed/);
  for (const { server, memoryMiB: _, writeP99Ms: __, ...figures } of rows) {
    for (const [what, value] of Object.entries(figures)) assert.ok(value > 0, `${server} ${what}`);
  }
});

test("swap: our own server under a program that needs more memory", {
  skip: whyNoSwap() ?? false,
}, async (t) => {
  const lines: string[] = [];
  const rows = await benchSwap({ tiny: true, print: (line) => lines.push(line) });
  if (rows.length === 0) {
    assert.match(lines.join(), /skipped: /);
    t.skip(lines[0]!);
  }
  for (const row of rows) {
    assert.ok(row.touchesPerSecond > 0);
    assert.ok(row.fullMiB >= row.beforeMiB);
  }
  assert.ok(!readFileSync("/proc/swaps", "utf8").includes("loop"), "nothing is left behind");
});

test("codecs: runs and names every codec that there is", async () => {
  const registry = await nodeCodecs();
  const lines: string[] = [];
  await benchCodecs({ registry, tiny: true, print: (line) => lines.push(line) });
  const text = lines.join("\n");
  for (const { name } of registry.list()) {
    assert.match(text, new RegExp(`\\b${name}\\b`), `${name} is in the report`);
  }
});

test("dictionaries: smaller documents with each codec", () => {
  const rows = benchDictionaries({ tiny: true, print: () => {} });
  for (const row of rows.filter((one) => one.dictionaryBytes > 0)) {
    const plain = rows.find((one) => one.name === row.name)!;
    assert.ok(row.ratio > plain.ratio * 1.1, `${row.name}: ${row.ratio} and ${plain.ratio}`);
    for (const time of [row.compressNs, row.decompressNs, row.compressTimes]) {
      assert.ok(time > 0 && Number.isFinite(time));
    }
  }
  assert.ok(rows.some((one) => one.name === "lz4"));
  assert.ok(rows.some((one) => one.name === "zstd -3 (wasm)"));
});

const USAGE_ERRORS: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [["pool"], /^bench: no benchmark is called "pool"; there are codecs, .* and zram\nusage: /],
  [["cache", "--only", "none"], /^bench: --only: no cache is called "none"\nusage: /],
  [["cache", "--only"], /^bench: there is no option --only\nusage: /],
  [["pools", "--fast"], /^bench: there is no option --fast\nusage: /],
];
for (const [args, message] of USAGE_ERRORS) {
  test(`bench ${args.join(" ")}: a usage error, exit code 2`, () => {
    const result = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
    assert.equal(result.status, 2, result.stderr);
    assert.match(result.stderr, message);
    assert.equal(result.stdout, "");
  });
}

test("bench --help: the usage, exit code 0", () => {
  const result = spawnSync(process.execPath, [MAIN, "--help"], { encoding: "utf8" });
  assert.equal(result.status, 0, result.stderr);
  assert.match(result.stdout, /^usage: npm run bench/);
});
