// A server whose items are in several shards: settings, statistics, lists, limits and watchers
// cover all of them, for all threads.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { checkSettings } from "../../src/memcached/settings.ts";
import { shardOfHash } from "../../src/shard/route.ts";
import { CFD, TextFixture } from "./fixture.ts";
import { Client, noise, portOf, set, startServer } from "./server_fixture.ts";

const MIB = 1 << 20;
const KEYS = Array.from({ length: 300 }, (_, nth) => `key${nth}`);

/** Items of each shard, by its own index. */
function counts({ items }: TextFixture): number[] {
  return items.shards.values.map(({ count }) => count);
}

function fixtureWithKeys(): TextFixture {
  const fixture = new TextFixture({ shards: 3 });
  for (const key of KEYS) assert.equal(fixture.ask(set(key, `value of ${key}`)), "STORED\r\n");
  return fixture;
}

function statOf(lines: string, name: string): number {
  return Number(new RegExp(`^STAT ${name} (\\d+)\r$`, "m").exec(lines)?.[1]);
}

describe("items in several shards", () => {
  test("each is in the shard that the hash of its key names, and in no other", () => {
    const fixture = fixtureWithKeys();
    const { values, hash } = fixture.items.shards;
    for (const key of KEYS) {
      const bytes = Buffer.from(key);
      hash.set(bytes, bytes.length);
      const own = shardOfHash(hash.low, hash.high, 3);
      for (const [shard, one] of values.entries()) {
        assert.equal(one.has(bytes, bytes.length), shard === own, `${key} in ${shard}`);
      }
    }
    for (const count of counts(fixture)) assert.ok(count > KEYS.length / 6, String(count));
    fixture.items.shards.group.verify();
  });

  test("lists, statistics, flush_all and the search for expired items cover all shards", () => {
    const fixture = fixtureWithKeys();
    const dumped = fixture.ask("lru_crawler metadump all\r\n").match(/^key=\S+/gm)!;
    assert.deepEqual(dumped.sort(), KEYS.map((key) => `key=${key}`).sort());
    assert.equal(fixture.ask("stats cachedump 1 0\r\n").match(/^ITEM /gm)!.length, KEYS.length);
    assert.equal(statOf(fixture.ask("stats\r\n"), "curr_items"), KEYS.length);
    for (const kind of ["", " settings", " zcache"]) {
      assert.equal(statOf(fixture.ask(`stats${kind}\r\n`), "shards"), 3, kind);
    }
    assert.equal(statOf(fixture.ask("stats items\r\n"), "items:1:number"), KEYS.length);
    for (const key of KEYS) assert.equal(fixture.ask(`touch ${key} 5\r\n`), "TOUCHED\r\n");
    fixture.nowS += 6;
    assert.equal(fixture.ask("lru_crawler crawl all\r\n"), "OK\r\n");
    assert.deepEqual(counts(fixture), [0, 0, 0]);
    assert.equal(fixture.counters.sum("crawler_reclaimed"), KEYS.length);
    for (const key of KEYS) fixture.ask(set(key, "x"));
    assert.equal(fixture.ask("flush_all\r\n"), "OK\r\n");
    assert.equal(fixture.ask(`get ${KEYS.slice(0, 100).join(" ")}\r\n`), "END\r\n");
    assert.equal(fixture.ask("lru_crawler metadump all\r\n"), "END\r\n");
  });

  test("a watcher sees evictions of all shards, and one limit holds for all", () => {
    const memoryMax = 6 * MIB;
    const fixture = new TextFixture({ shards: 3, memoryMax, codec: "none", tiers: false });
    assert.equal(fixture.ask("watch evictions\r\n"), "OK\r\n");
    const writer = new TextFixture({ shards: 3 }).session;
    const stored = 3000;
    for (let nth = 0; nth < stored; nth++) {
      const reply = fixture.send(writer, set(`k${nth}`, noise(nth, 3500))).toString("latin1");
      assert.equal(reply, "STORED\r\n");
    }
    const evicted = new Set(fixture.watched.match(/(?<=type=eviction key=)\S+/g));
    assert.equal(evicted.size, fixture.memory.evictions);
    assert.equal(evicted.size + fixture.memory.items, stored, `watched by ${CFD}`);
    const left = counts(fixture);
    for (const count of left) assert.ok(count > fixture.memory.items / 6, left.join());
    assert.ok(fixture.memory.usedBytes <= memoryMax, String(fixture.memory.usedBytes));
    fixture.items.shards.group.verify();
  });

  test("cache_memlimit changes the limit of all shards together", () => {
    const fixture = new TextFixture({
      shards: 3,
      memoryMax: 24 * MIB,
      codec: "none",
      tiers: false,
    });
    for (let nth = 0; nth < 4000; nth++) fixture.ask(set(`k${nth}`, noise(nth, 3500)));
    const before = fixture.memory;
    assert.ok(before.limitBytes > 23 * MIB && before.limitBytes <= 24 * MIB);
    assert.equal(fixture.ask("cache_memlimit 12\r\n"), "OK\r\n");
    while (fixture.items.shards.group.maintain());
    const { limitBytes, usedBytes, items } = fixture.memory;
    assert.ok(limitBytes <= 12 * MIB && limitBytes > 11 * MIB, String(limitBytes));
    assert.ok(usedBytes <= 12 * MIB && items > 1000, `${usedBytes} bytes, ${items} items`);
    assert.match(fixture.ask("cache_memlimit 3000\r\n"), /^MEMLIMIT_ADJUST_FAILED/);
    fixture.items.shards.group.verify();
  });

  test("settings: how many shards there can be, and how large an item", () => {
    for (const shards of [0, 65, 2.5, "many", 7] as (number | "auto")[]) {
      const check = () => checkSettings({ memoryMax: 6 * MIB, itemBytesMax: 1024, shards });
      assert.throws(check, { code: "ERR_OPTION", message: /shards/ });
    }
    const itemBytesMax = 2 * MIB;
    assert.throws(() => checkSettings({ memoryMax: 6 * MIB, shards: 3, itemBytesMax }), {
      message: /itemBytesMax: 2097152 is more than half of .* 3 shards \(2097152\)/,
    });
    checkSettings({ memoryMax: 6 * MIB, shards: 1, itemBytesMax });
    checkSettings({ memoryMax: 20 * 1024 * MIB });
  });
});

test("threads share three shards: all items are counted, listed and given back", async () => {
  const server = await startServer({ threads: 2, shards: 3 });
  const where = { host: "127.0.0.1", port: portOf(server) };
  const clients = await Promise.all(Array.from({ length: 12 }, () => Client.open(where)));
  try {
    await Promise.all(
      clients.map(async (client, nth) => {
        for (let round = 0; round < 20; round++) {
          const key = `c${nth}/${round}`;
          const value = noise(nth * 100 + round, 50 + round * 400);
          assert.equal(await client.ask(set(key, value)), "STORED\r\n");
          const reply = await client.ask(`get ${key}\r\n`, "END\r\n");
          assert.equal(reply, `VALUE ${key} 7 ${value.length}\r\n${value}\r\nEND\r\n`);
          assert.match(await client.ask(`incr n 1\r\n`), /^(\d+|NOT_FOUND)\r\n$/);
          if (nth === 0 && round === 3) await client.ask("set n 0 0 1\r\n0\r\n");
        }
      }),
    );
    for (const client of clients) {
      const keys = clients.map((_, nth) => `c${nth}/19`).join(" ");
      const reply = await client.ask(`get ${keys}\r\n`, "END\r\n");
      assert.equal(reply.match(/^VALUE /gm)!.length, clients.length);
    }
    const stats = server.stats();
    assert.equal(stats["curr_items"], 12 * 20 + 1);
    assert.equal(stats["shards"], 3);
    const dump = await clients[0]!.ask("lru_crawler metadump all\r\n", "END\r\n");
    assert.equal(dump.match(/^key=/gm)!.length, 12 * 20 + 1);
    const cas = new Set(dump.match(/(?<= cas=)\d+/g));
    assert.equal(cas.size, 12 * 20 + 1, "no cas number is given twice");
  } finally {
    for (const client of clients) client.close();
    await server.close(false);
  }
});
