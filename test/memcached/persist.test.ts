// Items after a restart: after an orderly end, and after a crash, which is simulated by copying the
// files at some moment.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Cache } from "../../src/index.ts";
import type { MemcachedServer } from "../../src/memcached/server.ts";
import type { MemcachedSettings } from "../../src/memcached/settings.ts";
import { SHARDS } from "./fixture.ts";
import { Client, noise, portOf, set, startServer } from "./server_fixture.ts";

const FLUSH_MS = 5;
const WAIT_MS = 120_000;

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "zcache-mc-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
/** Servers that a failed test has not closed. */
const running = new Set<MemcachedServer>();
after(() => Promise.all([...running].map((server) => server.close(false))));

interface Running {
  readonly server: MemcachedServer;
  readonly client: Client;
}

/** A path for the files of one test. */
function place(): string {
  const path = join(folder, String(++folders));
  mkdirSync(path);
  return path;
}

async function startWith(at: string, settings: Partial<MemcachedSettings>): Promise<Running> {
  const persist = { path: join(at, "items"), flushMs: FLUSH_MS };
  const server = await startServer({ persist, ...settings });
  running.add(server);
  return { server, client: await Client.open({ port: portOf(server), host: "127.0.0.1" }) };
}

async function stop({ server, client }: Running): Promise<void> {
  client.close();
  running.delete(server);
  await server.close();
}

/** Copies the files as a crash would leave them, when no change waits to be written. */
async function crash({ server }: Running, at: string): Promise<string> {
  const until = Date.now() + WAIT_MS;
  while (server.stats()["persist_waiting_bytes"] !== 0) {
    assert.ok(Date.now() < until, "what waits is written");
    await sleep(FLUSH_MS);
  }
  const copy = place();
  for (const name of readdirSync(at)) {
    if (!name.endsWith(".lock")) cpSync(join(at, name), join(copy, name));
  }
  return copy;
}

const STORED = "STORED\r\n";

async function casOf(client: Client, key: string): Promise<bigint> {
  const reply = await client.ask(`gets ${key}\r\n`, "END\r\n");
  return BigInt(/^VALUE \S+ 7 \d+ (\d+)\r\n/.exec(reply)![1]!);
}

/** Shards of the first server and all odd ones, and of the others, which take over the items. */
const STARTS = [...SHARDS.map((shards) => [shards, shards] as const), [1, 3], [3, 2]] as const;

for (const [odd, even] of STARTS)
  describe(`persist, ${odd} and ${even} shard(s)`, () => {
    let starts = 0;
    const start = (at: string, settings: Partial<MemcachedSettings> = {}) =>
      startWith(at, { shards: starts++ % 2 === 0 ? odd : even, ...settings });

    test("items are unchanged after a restart", async () => {
      const at = place();
      const long = noise(1, 100_000);
      // Only the first server of a process can have several threads.
      let now = await start(at, { threads: odd * even === 1 ? 2 : 1 });
      assert.equal(await now.client.ask(set("a", "value of a")), STORED);
      assert.equal(await now.client.ask(set("long", long)), STORED);
      assert.equal(await now.client.ask(set("gone", "x")), STORED);
      assert.equal(await now.client.ask("delete gone\r\n"), "DELETED\r\n");
      assert.equal(await now.client.ask(set("timed", "x")), STORED);
      assert.equal(await now.client.ask("touch timed 1000\r\n"), "TOUCHED\r\n");
      assert.equal(await now.client.ask(set("over", "x")), STORED);
      assert.equal(await now.client.ask("touch over -1\r\n"), "TOUCHED\r\n");
      assert.equal(await now.client.ask(set("n", "41")), STORED);
      assert.equal(await now.client.ask("incr n 1\r\n"), "42\r\n");
      const cas = await casOf(now.client, "a");
      await stop(now);
      now = await start(at);
      const reply = await now.client.ask("get a gone over n\r\n", "END\r\n");
      assert.equal(reply, "VALUE a 7 10\r\nvalue of a\r\nVALUE n 7 2\r\n42\r\nEND\r\n");
      const whole = await now.client.ask("get long\r\n", "END\r\n");
      assert.equal(whole, `VALUE long 7 ${long.length}\r\n${long}\r\nEND\r\n`);
      assert.match(await now.client.ask("mg timed t\r\n"), /^HD t(1000|9\d\d)\r\n/);
      assert.equal(await casOf(now.client, "a"), cas);
      await now.client.ask(set("later", "x"));
      assert.ok((await casOf(now.client, "later")) > cas, "no cas number is given out twice");
      await stop(now);
    });

    test("after a crash, written changes are kept and no old item returns", async () => {
      const at = place();
      const now = await start(at);
      await now.client.ask(set("a", "old"));
      await now.client.ask(set("b", "old"));
      await now.client.ask(set("c", "x"));
      const first = await crash(now, at);
      await now.client.ask(set("a", "new"));
      await now.client.ask("delete b\r\n");
      await now.client.ask("touch c -1\r\n");
      await now.client.ask("md d\r\n");
      await now.client.ask("ms e 1 T0\r\nx\r\n");
      await now.client.ask("md e I T30\r\n");
      const second = await crash(now, at);
      await stop(now);
      const before = await start(first);
      const old = "VALUE a 7 3\r\nold\r\nVALUE b 7 3\r\nold\r\nVALUE c 7 1\r\nx\r\nEND\r\n";
      assert.equal(await before.client.ask("get a b c\r\n", "END\r\n"), old);
      await stop(before);
      const behind = await start(second);
      const left = "VALUE a 7 3\r\nnew\r\nEND\r\n";
      assert.equal(await behind.client.ask("get a b c\r\n", "END\r\n"), left);
      assert.match(await behind.client.ask("mg e t v\r\n", "x\r\n"), /^VA 1 t(30|29) X W\r\nx\r\n/);
      await stop(behind);
    });

    test("a read is not written to the log", async () => {
      const at = place();
      const now = await start(at);
      await now.client.ask(set("a", noise(2, 5000)));
      await crash(now, at);
      const bytes = () => Number(now.server.stats()["persist_log_bytes"]);
      const before = bytes();
      await now.client.ask("get a\r\n", "END\r\n");
      await now.client.ask("mg a h t\r\n");
      assert.equal(bytes(), before);
      await now.client.ask("touch a 100\r\n");
      assert.ok(bytes() > before + 5000 / 2, "but when it expires is");
      await stop(now);
    });

    test("flushed items do not return, also after a crash and with a snapshot", async () => {
      const at = place();
      let now = await start(at, { sweeps: false });
      const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
      // Two rounds, so that a snapshot is shorter than the log when the server ends.
      for (const [i, key] of [...keys, ...keys].entries()) {
        await now.client.ask(set(key, noise(i, 40_000)));
      }
      assert.equal(await now.client.ask("flush_all\r\n"), "OK\r\n");
      const empty = await crash(now, at);
      await now.client.ask(set("later", "x"));
      const crashed = await crash(now, at);
      await stop(now);
      assert.ok(readdirSync(at).some((name) => /snapshot\.\d+$/.test(name)));
      for (const files of [empty, crashed, at]) {
        // The second run reads what the first run has written.
        for (let times = 0; times < 2; times++) {
          now = await start(files, { sweeps: false });
          // A get removes a flushed item, which is then in no snapshot.
          if (files !== empty || times > 0) {
            const reply = await now.client.ask(`get later ${keys.join(" ")}\r\n`, "END\r\n");
            assert.equal(reply, files === empty ? "END\r\n" : "VALUE later 7 1\r\nx\r\nEND\r\n");
          }
          await stop(now);
        }
      }
    });

    test("a delayed flush takes place after a restart too", async () => {
      const at = place();
      let now = await start(at, { debugTime: true });
      await now.client.ask(set("a", "x"));
      assert.equal(await now.client.ask("flush_all 100\r\n"), "OK\r\n");
      await stop(now);
      now = await start(at, { debugTime: true });
      assert.equal(await now.client.ask("get a\r\n", "END\r\n"), "VALUE a 7 1\r\nx\r\nEND\r\n");
      assert.equal(await now.client.ask("debugtime 101\r\n"), "OK\r\n");
      assert.equal(await now.client.ask("get a\r\n", "END\r\n"), "END\r\n");
      await stop(now);
    });

    test("an item that was evicted and then deleted does not return", async () => {
      const at = place();
      const small = {
        memoryMax: Math.max(odd, even) * (2 << 20),
        itemBytesMax: 1 << 19,
        tiers: false,
      };
      let now = await start(at, small);
      const keys = Array.from({ length: Math.max(odd, even) * 600 }, (_, i) => `k${i}`);
      for (const [i, key] of keys.entries()) await now.client.ask(set(key, noise(i, 6000)));
      const stats = now.server.stats();
      assert.ok(Number(stats["evictions"]) > 100, String(stats["evictions"]));
      let evicted = 0;
      for (const key of keys) {
        if ((await now.client.ask(`delete ${key}\r\n`)) === "NOT_FOUND\r\n") evicted++;
      }
      assert.ok(evicted > 100, String(evicted));
      const crashed = await crash(now, at);
      await stop(now);
      now = await start(crashed, { ...small, memoryMax: 16 << 20 });
      assert.equal(await now.client.ask(`get ${keys.join(" ")}\r\n`, "END\r\n"), "END\r\n");
      await stop(now);
    });

    test("values move to the write-back file and return, also after a restart", async () => {
      const at = place();
      const settings = {
        ...{ memoryMax: 4 << 20, itemBytesMax: 1 << 19 },
        writeBack: { path: join(at, "cold"), max: 64 << 20 },
        evicts: false,
        debugTime: true,
      };
      let now = await start(at, settings);
      const count = 1400;
      for (let i = 0; i < count; i++) {
        assert.equal(await now.client.ask(set(`k${i}`, noise(i, 5000))), STORED);
      }
      const inFile = Number(now.server.stats()["pages_in_file"]);
      assert.ok(inFile > count / 3, String(inFile));
      const whole = `VALUE k 7 5000\r\n${noise(0, 5000)}\r\nEND\r\n`;
      const check = async (step: number) => {
        for (let i = 0; i < count; i += step) {
          const reply = await now.client.ask(`get k${i}\r\n`, "END\r\n");
          assert.equal(reply.length, whole.length + String(i).length, `k${i} is there`);
          assert.ok(reply.endsWith(`\r\n${noise(i, 5000)}\r\nEND\r\n`), `k${i} is as it was`);
        }
      };
      // The time of a read is recorded once a second, also in the file if memory is full.
      for (let times = 0; times < 2; times++) {
        await check(1);
        assert.equal(await now.client.ask("debugtime 100\r\n"), "OK\r\n");
      }
      for (let i = 0; i < count; i++) {
        assert.equal(await now.client.ask(`touch k${i} 5000\r\n`), "TOUCHED\r\n", `k${i}`);
      }
      await check(7);
      await stop(now);
      now = await start(at, settings);
      await check(7);
      await stop(now);
    });
  });

test("foreign files and impossible paths are errors that name the option", async () => {
  const at = place();
  const now = await startWith(at, {});
  await assert.rejects(startWith(at, {}), /items/);
  await stop(now);
  await assert.rejects(startWith(at, { codec: "zstd" }), { code: "ERR_OPTION" });
  const cachePath = join(at, "cache");
  Cache.create({ persist: { path: cachePath } }).close();
  await assert.rejects(startWith(at, { persist: { path: cachePath } }), /written by a cache/);
  assert.throws(() => Cache.create({ persist: { path: join(at, "items") } }), /memcached server/);
  const persist = { path: join(at, "items"), max: 1 };
  await assert.rejects(startWith(at, { persist }), /persist\.max/);
  const writeBack = { path: "", max: 64 << 20 };
  await assert.rejects(startWith(place(), { writeBack }), /writeBack\.path/);
});
