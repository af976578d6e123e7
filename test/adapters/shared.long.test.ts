// The adapters over a cache that several machines share: their contract suites, over a real server,
// and values that another machine has stored.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { BentoCache, bentostore } from "bentocache";
import Keyv from "keyv";
import { createStorage } from "unstorage";
import { ZcacheBentoShared, zcacheSharedDriver } from "../../src/adapters/bentocache.ts";
import { KeyvZcache } from "../../src/adapters/keyv.ts";
import { zcacheDriver } from "../../src/adapters/unstorage.ts";
import { Cache } from "../../src/index.ts";
import { type EngineServer, noServers, startNode } from "../doubles/engine_servers.ts";
import { SHARED } from "./shared_options.ts";

const OPTIONS = { skip: noServers, timeout: 300_000 };
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";

let server: EngineServer | undefined;
const caches: Cache<string, unknown>[] = [];
after(async () => {
  for (const cache of caches) cache.close();
  await server?.end();
});

async function node(): Promise<EngineServer> {
  server ??= await startNode();
  return server;
}

async function open(prefix: string): Promise<Cache<string, unknown>> {
  const nodes = [(await node()).address];
  const remote = { nodes, prefix, mode: "shared", timeoutMs: 20_000 } as const;
  const cache = Cache.create<string, unknown>({ memoryMax: "8MiB", remote });
  caches.push(cache);
  return cache;
}

/** What each suite has at least. */
const SUITES: readonly (readonly [file: string, tests: number, only?: string])[] = [
  ["keyv", 82, "Keyv's suite for storage adapters"],
  ["unstorage", 5],
  ["bentocache", 22],
];

for (const [file, least, only] of SUITES) {
  test(`the suite of ${file}`, OPTIONS, async () => {
    const path = fileURLToPath(new URL(`./${file}.test.${EXTENSION}`, import.meta.url));
    const filter = only === undefined ? [] : ["--test-name-pattern", `^${only}`];
    const env = { ...process.env, NODE_TEST_CONTEXT: "", [SHARED]: (await node()).address };
    const args = ["--test-reporter", "tap", ...filter, path];
    const run = promisify(execFile)(process.execPath, args, { env, maxBuffer: 2 ** 26 });
    const { stdout } = await run.catch((error: { stdout: string }) => error);
    const failed = stdout.split("\n").filter((line) => /^ *not ok /.test(line));
    assert.deepEqual(failed, [], stdout.slice(0, 10_000));
    const passed = stdout.split("\n").filter((line) => /^ *ok /.test(line));
    assert.ok(passed.length >= least, `${passed.length} tests have passed`);
  });
}

test("Keyv: values of other machines are read, changed and removed", OPTIONS, async () => {
  const [one, two] = [await open("keyv"), await open("keyv")].map(
    (cache) => new Keyv({ store: new KeyvZcache({ cache }), namespace: "n" }),
  );
  await one!.set("a", { made: "here" });
  assert.deepEqual(await two!.get("a"), { made: "here" });
  assert.equal(await two!.has("a"), true);
  assert.deepEqual(await two!.get(["a", "none"]), [{ made: "here" }, undefined]);
  assert.equal(await two!.delete("a"), true);
  assert.equal(await two!.delete("a"), false);
  await one!.set("b", 1);
  await two!.clear();
  const other = new Keyv({ store: new KeyvZcache({ cache: await open("keyv") }), namespace: "n" });
  assert.equal(await other.get("b"), undefined);
});

test("unstorage: values of other machines", OPTIONS, async () => {
  const [one, two] = [await open("un"), await open("un")].map((cache) =>
    createStorage({ driver: zcacheDriver({ cache, base: "base" }) }),
  );
  await one!.setItem("x:a", { made: "here" }, { ttl: 60 });
  assert.deepEqual(await two!.getItem("x:a"), { made: "here" });
  assert.ok(Number((await two!.getMeta("x:a"))["ttl"]) > 50);
  assert.equal(await two!.hasItem("x:a"), true);
  await one!.setItem("y", 1);
  // Of a storage's part, unstorage asks a driver for it only if it is mounted there.
  await zcacheDriver({ cache: await open("un"), base: "base" }).clear("x");
  const third = createStorage({ driver: zcacheDriver({ cache: await open("un"), base: "base" }) });
  assert.equal(await third.getItem("x:a"), null);
  assert.equal(await third.getItem("y"), 1);
  await third.removeItem("y");
  assert.equal(await third.hasItem("y"), false);
});

test("bentocache: a second layer", OPTIONS, async () => {
  const bentoOf = (cache: Cache<string, unknown>) =>
    new BentoCache({
      default: "main",
      stores: { main: bentostore().useL2Layer(zcacheSharedDriver({ cache })) },
    });
  const [one, two] = [bentoOf(await open("bento")), bentoOf(await open("bento"))];
  const load = async () => ({ made: [1] });
  assert.deepEqual(await one.getOrSet({ key: "k", factory: load, ttl: "10m" }), { made: [1] });
  assert.deepEqual(await two.get({ key: "k" }), { made: [1] });
  await two.delete({ key: "k" });
  const fresh = new ZcacheBentoShared({ cache: await open("bento") });
  assert.equal(await fresh.get("k"), undefined);
  assert.equal(await fresh.set("p", "text"), true);
  assert.equal(await fresh.pull("p"), "text");
  assert.equal(await fresh.get("p"), undefined);
});
