// Studies of hit rates on live servers: what memcached's threads record, with one shard and with
// several, and a study from its beginning to its end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Xorshift32 } from "../../src/base/random.ts";
import type { HitRates } from "../../src/dashboard/api.ts";
import { Zipf } from "../../src/lab/simulate/generate.ts";
import { policyNames } from "../../src/policy/registry.ts";
import * as Sample from "../../src/store/request_sample.layout.ts";
import { type SampledRequest, SampleReader } from "../../src/store/sample_reader.ts";
import * as Root from "../../src/store/store.layout.ts";
import { Client, portOf } from "../memcached/server_fixture.ts";
import { fillDevice, type MemcachedFixture, startMemcached, startNbd } from "./fixture.ts";

const WATCHDOG_MS = 240_000;
const LIMITS = [1, 0.25, 0.5, 2, 4];

/** Bytes that do not compress. */
function noiseOf(key: number, length: number): string {
  const random = new Xorshift32(key + 1);
  let text = "";
  while (text.length < length) text += random.next().toString(36);
  return text.slice(0, length);
}

/** Reads what a server has recorded, from all shards. */
function recorderOf({ store }: MemcachedFixture) {
  const sampling = store.inspection.sampleRequests(1);
  sampling.begin();
  const readers = sampling.rings.map((ring) => new SampleReader(ring));
  return {
    sampling,
    read: () => {
      const events: SampledRequest[] = [];
      for (const reader of readers) {
        assert.equal(reader.dropped, 0);
        reader.read(0, (request) => events.push({ ...request }));
      }
      return events;
    },
  };
}

function countOf(events: readonly SampledRequest[], operation: number): number {
  return events.filter((event) => event.operation === operation).length;
}

for (const [shards, threads] of [
  [1, 1],
  [3, 1],
  [1, 2],
] as const) {
  test(`memcached, ${shards} shards, ${threads} threads: requests are recorded`, async () => {
    const memcached = await startMemcached({ shards, threads, memoryMax: 48 * 2 ** 20 });
    const { server } = memcached;
    const open = () => Client.open({ port: portOf(server), host: "127.0.0.1" });
    const clients = await Promise.all([open(), open(), open(), open()]);
    const { read, sampling } = recorderOf(memcached);
    const each = (of: (client: number) => string) =>
      Promise.all(clients.map((one, nth) => one.ask(`${of(nth)}mn\r\n`, "MN\r\n")));
    const keys = Array.from({ length: 100 }, (_, nth) => nth);
    const lines = (client: number, of: (key: string) => string) =>
      keys.map((key) => of(`key:${client}:${key}`)).join("");
    await each((nth) =>
      lines(nth, (key) => `set ${key} 0 0 600 noreply\r\n${noiseOf(nth, 600)}\r\n`),
    );
    const sets = read();
    assert.equal(sets.length, 400);
    assert.ok(sets.every(({ operation }) => operation === Sample.PUT));
    assert.ok(sets.every(({ plainBytes, storedBytes }) => plainBytes === 600 && storedBytes > 600));
    // The first get of an item is answered in TypeScript, the next ones by a kernel.
    for (let round = 0; round < 3; round++)
      await each((nth) => lines(nth, (key) => `mg ${key} v\r\n`));
    // An item that is read for the first time is marked, with the expiry that it had.
    const gets = read().filter(({ operation }) => operation !== Sample.RENEW);
    assert.equal(gets.length, 1200);
    assert.ok(gets.every(({ operation }) => operation === Sample.HIT));
    const hashes = new Set(sets.map(({ hash }) => hash));
    assert.ok(gets.every(({ hash }) => hashes.has(hash)));
    await each((nth) => lines(nth, (key) => `get none:${key}\r\n`));
    assert.deepEqual(countOf(read(), Sample.MISS), 400);
    await each((nth) => lines(nth, (key) => `delete ${key} noreply\r\n`));
    const removed = read().filter(({ operation }) => operation === Sample.REMOVE);
    assert.deepEqual(new Set(removed.map(({ hash }) => hash)), hashes, "all were removed");
    // A larger cache might still have them.
    await each((nth) => lines(nth, (key) => `delete ${key} noreply\r\n`));
    const removals = read().filter(({ operation }) => operation === Sample.REMOVE);
    assert.deepEqual(new Set(removals.map(({ hash }) => hash)), hashes, "all were removed again");
    // Times of expiry are memcached's own.
    const { client } = memcached;
    await client.ask("set soon 0 1000 1\r\nx\r\nset gone 0 -1 1\r\nx\r\nmn\r\n", "MN\r\n");
    const timed = read().filter(({ operation }) => operation === Sample.PUT);
    // Each shard has a ring of its own.
    const [gone, soon] = timed.sort((a, b) => a.expiresS - b.expiresS);
    const nowS = Date.now() / 1000;
    assert.ok(Math.abs(soon!.expiresS - nowS - 1000) < 900, `${soon!.expiresS} is soon`);
    assert.ok(gone!.expiresS > 0 && gone!.expiresS < nowS);
    await client.ask("touch soon 0\r\nmn\r\n", "MN\r\n");
    const renewed = read().find(({ operation }) => operation === Sample.RENEW);
    assert.deepEqual([renewed?.hash, renewed?.expiresS], [soon!.hash, 0]);
    await client.ask("flush_all\r\nmn\r\n", "MN\r\n");
    assert.equal(countOf(read(), Sample.CLEAR), 1);
    sampling.end();
    for (const one of clients) one.socket.destroy();
    await memcached.close();
  });
}

const KEYS = 20_000;

function setOf(key: number): string {
  return `set k${key} 0 0 900 noreply\r\n${noiseOf(key, 900)}\r\n`;
}

/** Requests keys by a Zipf distribution, and sets those that are missing, until `isOver`. */
async function readThrough(client: Client, isOver: () => boolean): Promise<void> {
  const zipf = new Zipf(KEYS, 0.9, new Xorshift32(7));
  while (!isOver()) {
    const keys = Array.from({ length: 50 }, () => zipf.draw());
    const reply = await client.ask(`get ${keys.map((key) => `k${key}`).join(" ")}\r\n`, "END\r\n");
    const found = new Set(reply.match(/(?<=VALUE k)\d+/g));
    const missing = [...new Set(keys)].filter((key) => !found.has(String(key)));
    client.send(missing.map(setOf).join(""));
  }
}

async function ended(study: () => HitRates): Promise<HitRates> {
  const until = performance.now() + WATCHDOG_MS;
  while (study().state === "running") {
    assert.ok(performance.now() < until, "the study ends");
    await sleep(50);
  }
  return study();
}

test("a study of live traffic tells hit rates of other limits and policies", async () => {
  const memcached = await startMemcached({ memoryMax: 8 * 2 ** 20 });
  const { monitor, client, store } = memcached;
  assert.equal(monitor.hitRates().state, "none");
  // More than the store holds, so that limits and policies matter.
  for (let key = KEYS - 1; key >= 0; key--) {
    client.send(setOf(key));
    if (key % 500 === 0) await client.ask("mn\r\n", "MN\r\n");
  }
  assert.ok(store.stats().counters.evicted_ephemeral_pages > 0);
  let isOver = false;
  const traffic = readThrough(client, () => isOver);
  let study: HitRates;
  // On a slow machine, few requests are made in a second.
  for (let seconds = 2; ; seconds *= 2) {
    assert.equal(monitor.hitRates(seconds).state, "running");
    assert.equal(monitor.hitRates(100).seconds, seconds, "a running study goes on");
    study = await ended(() => monitor.hitRates());
    if (study.why === null || seconds > 100) break;
  }
  isOver = true;
  await traffic;
  assert.equal(study.state, "ended");
  assert.equal(study.why, null);
  assert.ok(study.keys >= 200 && study.requests >= 1000 && study.share > 0);
  const { policy } = store.options;
  assert.deepEqual(
    study.rows.map((row) => [row.policy, row.limit, row.isCurrent]),
    [
      ...LIMITS.map((limit) => [policy, limit, limit === 1]),
      ...policyNames().flatMap((name) => (name === policy ? [] : [[name, 1, false]])),
    ],
  );
  for (const { hitRate, byteHitRate, limit, limitBytes } of study.rows) {
    assert.equal(limitBytes, limit * store.stats().mem_limit);
    for (const { estimate, low, high } of [hitRate, byteHitRate]) {
      assert.ok(0 <= low && low <= estimate && estimate <= high && high <= 1);
    }
  }
  const rates = new Map(study.rows.slice(0, 5).map((row) => [row.limit, row.hitRate]));
  assert.equal(rates.get(1)!.low, rates.get(1)!.high, "today's is measured");
  assert.ok(rates.get(0.25)!.estimate < rates.get(1)!.estimate);
  assert.ok(rates.get(1)!.estimate <= rates.get(4)!.high);
  store.verify();
  await monitor.close();
  await memcached.close();
});

test("a store with little in it, or without requests, has no figures", async () => {
  const nbd = await startNbd();
  nbd.monitor.hitRates(1);
  const empty = await ended(() => nbd.monitor.hitRates());
  assert.deepEqual([empty.state, empty.rows], ["ended", []]);
  assert.match(empty.why!, /^the store holds too few pages; 100 are needed$/);
  fillDevice(nbd, 900);
  nbd.monitor.hitRates(1);
  const quiet = await ended(() => nbd.monitor.hitRates());
  assert.deepEqual([quiet.state, quiet.rows], ["ended", []]);
  assert.match(quiet.why!, /^only 0 requests were sampled/);
  await nbd.close();
});

test("a study ends with its service, and records no more", async () => {
  const nbd = await startNbd();
  fillDevice(nbd, 900);
  nbd.monitor.hitRates(3600);
  const until = performance.now() + WATCHDOG_MS;
  const [ring] = nbd.store.inspection.sampleRequests(1).rings;
  const words = new Int32Array(ring!.memory);
  const isRecorded = () => Atomics.load(words, ring!.root + Root.SAMPLE_LIMIT) !== 0;
  while (!isRecorded()) {
    assert.ok(performance.now() < until, "recording begins");
    await sleep(5);
  }
  await nbd.monitor.close();
  const { state, why } = nbd.monitor.hitRates();
  assert.deepEqual([state, why], ["failed", "the service has ended"]);
  assert.equal(isRecorded(), false);
  await nbd.close();
});
