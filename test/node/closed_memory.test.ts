// What the system says of the memory of closed stores and caches: resident memory falls at once
// when the last thread has left, and not before.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { Cache, createStore, startMaintainer, TmemKey } from "../../src/index.ts";
import { startNbdServer, Zram } from "../../src/nbd/index.ts";
import { releaseArena } from "../../src/node/give_back.ts";
import type { MemoryCalls } from "../../src/node/memory_calls.ts";
import { MAINTAINER } from "../../src/store/store.layout.ts";
import { type Store, stateOf } from "../../src/store/store.ts";
import { residentBytes, whyNotReturned } from "../doubles/resident.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const INDEX = new URL("../../src/index.js", import.meta.url).href;
const WATCHDOG_MS = 300_000;
const skip = whyNotReturned() ?? false;
/** What stays of each arena: the page with the superblock. */
const KEPT = 64 * KIB;

/** Bytes that do not compress. */
function noise(seed: number, bytes = 4096): Uint8Array {
  const random = new Xorshift32(seed + 1);
  return Uint8Array.from({ length: bytes }, () => random.next());
}

/** Waits; threads of zcache do not keep the process alive meanwhile, and the timer does. */
async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + WATCHDOG_MS; !isSo(); await sleep(5)) {
    assert.ok(performance.now() < end, what);
  }
}

function hasMaintainer(store: Store): boolean {
  const { words, root } = stateOf(store);
  return words[root + MAINTAINER] !== 0;
}

/** A cache with values of 24 MiB. @param odd makes its arenas as large as no other ones */
function fullCache(odd: number, options: object = {}) {
  const cache = Cache.create<string, Uint8Array>({
    ...{ memoryMax: 48 * MIB + odd * 64 * KIB, backgroundMs: 0, dictionary: false, tiers: false },
    ...options,
  });
  const block = noise(1, 64 * KIB);
  for (let nth = 0; nth < 384; nth++) {
    block[0] = nth;
    assert.ok(cache.set(`key ${nth}`, block));
  }
  const sizes = cache.group.stores.map(({ arena }) => arena.bytes.length);
  return { cache, resident: () => residentBytes(sizes), most: sizes.length * KEPT };
}

/** Runs code in a worker, with `store` or `cache` attached; `tell` sends, `hear` waits. */
async function startWorker(t: TestContext, source: string, workerData: unknown) {
  const worker = new Worker(
    `(async () => {
      const { parentPort, workerData } = require("node:worker_threads");
      const { Cache } = await import(${JSON.stringify(INDEX)});
      const tell = (message) => parentPort.postMessage(message);
      const hear = () => new Promise((resolve) => parentPort.once("message", resolve));
      const codeOf = (run) => { try { run(); } catch (error) { return error.code; } };
      ${source}
    })()`,
    { eval: true, workerData },
  );
  t.after(() => worker.terminate());
  const signal = AbortSignal.timeout(WATCHDOG_MS);
  return {
    ask: async (message?: unknown): Promise<unknown> => {
      if (message !== undefined) worker.postMessage(message);
      return (await once(worker, "message", { signal }))[0];
    },
    terminate: () => worker.terminate(),
  };
}

for (const shards of [1, 3]) {
  test(`closing a cache returns its memory at once: ${shards} shard(s)`, { skip }, () => {
    const { cache, resident, most } = fullCache(shards, { shards });
    assert.ok(resident() > 24 * MIB, `${resident()} bytes are resident`);
    cache.close();
    assert.ok(resident() <= most, `${resident()} bytes are resident`);
    cache.close();
    assert.throws(() => cache.get("key 1"), { code: "ERR_STORE_CLOSED" });
    assert.throws(() => cache.stats(), { code: "ERR_STORE_CLOSED" });
    assert.throws(() => cache.set("key 1", noise(1)), { code: "ERR_STORE_CLOSED" });
  });

  test(`and so does closing a store: ${shards} shard(s)`, { skip }, () => {
    const store = createStore({ memoryMax: 48 * MIB + (8 + shards) * 64 * KIB, shards });
    const pool = store.createPool({ persistent: true });
    for (let nth = 0; nth < 3000; nth++) {
      const key = new TmemKey().setObject(nth >>> 8).setIndex(nth);
      assert.equal(store.put(pool, key, noise(nth)), 0);
    }
    const sizes = store.shards.map(({ arena }) => arena.bytes.length);
    assert.ok(residentBytes(sizes) > 12 * MIB);
    store.close();
    assert.ok(residentBytes(sizes) <= shards * KEPT, `${residentBytes(sizes)} bytes are resident`);
    store.close();
    assert.throws(() => store.stats(), { code: "ERR_STORE_CLOSED" });
  });

  test(`a thread that is attached keeps the memory: ${shards} shard(s)`, { skip }, async (t) => {
    const { cache, resident, most } = fullCache(16 + shards, { shards });
    const worker = await startWorker(
      t,
      `const cache = Cache.attach(workerData);
      tell(cache.get("key 7")?.[0]);
      await hear();
      tell([codeOf(() => cache.get("key 7")), codeOf(() => cache.set("key 7", "x")),
        codeOf(() => Cache.attach(workerData))]);
      await hear();
      cache.detach();
      tell([codeOf(() => cache.get("key 7")), codeOf(() => Cache.attach(workerData))]);
      await hear();`,
      cache.share(),
    );
    assert.equal(await worker.ask(), 7);
    const full = resident();
    cache.close();
    assert.ok(resident() >= full - MIB, "the worker may still be in the memory");
    const [closed, late] = ["ERR_STORE_CLOSED", "ERR_ARENA_CLOSED"];
    assert.deepEqual(await worker.ask("closed"), [closed, closed, late]);
    assert.ok(resident() >= full - MIB, "and be about to leave");
    assert.deepEqual(await worker.ask("detach"), [closed, late]);
    assert.ok(resident() <= most, `${resident()} bytes are resident`);
  });
}

test("threads that have ended before, or have closed the cache, keep no memory", {
  skip,
}, async (t) => {
  const { cache, resident, most } = fullCache(32);
  const share = cache.share();
  const ended = await startWorker(t, `Cache.attach(workerData); tell(1); await hear()`, share);
  await ended.ask();
  await ended.terminate();
  const closing = await startWorker(
    t,
    `const cache = Cache.attach(workerData); cache.close(); tell(1); await hear()`,
    share,
  );
  await closing.ask();
  assert.ok(resident() > 24 * MIB, "this thread is attached");
  assert.throws(() => cache.get("key 1"), { code: "ERR_STORE_CLOSED" });
  cache.detach();
  assert.ok(resident() <= most, `${resident()} bytes are resident`);
});

test("threads of zcache leave a store that is closed: an NBD server's and the maintainer", {
  skip,
}, async () => {
  const folder = temporaryFolder("closed");
  const store = createStore({
    memoryMax: 48 * MIB + 72 * 64 * KIB,
    writeBack: { path: join(folder, "pages"), max: 64 * MIB },
  });
  const sizes = [store.arena.bytes.length];
  const device = Zram.create(store, 32 * MIB);
  const server = await startNbdServer(store, {
    exports: [{ device }],
    listen: [{ path: join(folder, "nbd.sock") }],
    threads: 2,
    connectionsMax: 4,
  });
  const maintainer = startMaintainer(store);
  let hasEnded = false;
  maintainer.once("exit", () => {
    hasEnded = true;
  });
  const block = noise(1, 64 * KIB);
  for (let nth = 0; nth < 384; nth++) {
    new DataView(block.buffer).setUint32(0, nth);
    assert.equal(device.write(nth * block.length, block), 0);
  }
  // From here on the maintainer is attached, and ends by itself.
  await until("the maintainer begins", () => hasMaintainer(store));
  await server.close();
  assert.ok(residentBytes(sizes) > 16 * MIB);
  store.close();
  await until("the maintainer has ended", () => hasEnded);
  assert.ok(residentBytes(sizes) <= KEPT, `${residentBytes(sizes)} bytes are resident`);
});

test("a cache that is left and not closed keeps its values", { skip }, () => {
  const { cache, resident } = fullCache(40);
  const share = cache.share();
  cache.detach();
  assert.ok(resident() > 24 * MIB);
  const again = Cache.attach<string, Uint8Array>(share);
  assert.equal(again.get("key 300")?.[0], 300 % 256);
  again.close();
  assert.ok(resident() <= KEPT);
});

test("a fetch that waits for another thread ends as before when the cache is closed", {
  skip,
}, async () => {
  const { cache, resident } = fullCache(48);
  const other = Cache.attach<string, Uint8Array>(cache.share());
  // Tickets begin with 0, which the words of returned memory are too.
  await cache.fetch("slow", () => Promise.resolve(noise(1)), { ttl: 1 });
  cache.delete("slow");
  let end = () => {};
  const loading = cache.fetch("slow", () => new Promise((done) => (end = () => done(noise(2)))));
  const waiting = other.fetch("slow", () => noise(3));
  cache.close();
  other.close();
  assert.ok(resident() <= KEPT);
  assert.deepEqual(await waiting, noise(3));
  end();
  assert.deepEqual(await loading, noise(2), "a value that can't be stored is returned");
});

test("giveBack off keeps the memory; so do missing and failing calls, without an error", () => {
  const { cache } = fullCache(56, { giveBack: "off" });
  const { bytes } = stateOf(cache.store).arena;
  cache.close();
  assert.ok(bytes.subarray(8 * MIB, 16 * MIB).some((byte) => byte !== 0));
  const calls: (readonly [at: number, sizeBytes: number])[] = [];
  const played = (systemPage: number, errno: number): MemoryCalls => ({
    ...{ by: "koffi", systemPage, mlock2: () => 0 },
    madvise: (region, sizeBytes) => {
      calls.push([region.byteOffset, sizeBytes]);
      return errno;
    },
  });
  releaseArena(bytes, 3072, 5 * MIB, () => {
    throw new Error("there are no such calls");
  });
  releaseArena(bytes, 3072, MIB - 1, () => assert.fail("too little to load the library for"));
  assert.deepEqual(calls, []);
  for (const page of [4 * KIB, 64 * KIB]) {
    releaseArena(bytes, 3072, 5 * MIB, () => played(page, 12));
    assert.deepEqual(calls.pop(), [page, bytes.length - page]);
  }
});
