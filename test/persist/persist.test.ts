// Caches with `persist`, which start with the values of the previous process: after a clean close,
// after damage to the files, and with a disk that fails.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import fs, {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Cache, type CacheOptions, ZcacheError } from "../../src/index.ts";
import { policyNames } from "../../src/policy/registry.ts";

const LIBRARY = new URL("../../src/index.js", import.meta.url).href;
const PERSIST_WORKER = new URL("./worker.js", import.meta.url);

function code(name: string) {
  return (error: unknown) => error instanceof ZcacheError && error.code === name;
}

/** Opens caches with the same path, and cleans up after the test. */
function fixture(t: TestContext, options: CacheOptions = {}, max = "1GiB") {
  const folder = mkdtempSync(join(tmpdir(), "zcache-persist-"));
  const path = join(folder, "c.zc");
  const open = <V = unknown>(more: CacheOptions = {}): Cache<string, V> => {
    const cache = Cache.create<string, V>({
      ...{ memoryMax: "16MiB", backgroundMs: 0, persist: { path, max } },
      ...options,
      ...more,
    });
    ends.push(() => cache.close());
    return cache;
  };
  const ends: (() => void)[] = [];
  t.after(() => {
    for (const end of ends) end();
    rmSync(folder, { recursive: true, force: true });
  });
  const files = () => readdirSync(folder).filter((name) => !name.endsWith(".lock"));
  return { folder, path, open, files };
}

/** Waits for a condition, with a watchdog that allows for a slow machine. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let waited = 0; !holds(); waited += 5) {
    assert.ok(waited < 20_000, `${what}, in time`);
    await sleep(5);
  }
}

for (const codec of ["lz4", "zstd", "none"]) {
  test(`all values are recovered after a clean close: ${codec}`, (t) => {
    const { open } = fixture(t, { codec });
    const values: [string, unknown][] = [
      ["empty", ""],
      ["ascii", "plain ".repeat(100)],
      ["text", "ümläut 漢字 🎉"],
      ["bytes", new Uint8Array([1, 2, 3])],
      ["buffer", Buffer.from("buffer")],
      ["parts", new Uint8Array(300_000).map((_, i) => i * 7)],
      ["long text", "x1y2".repeat(50_000)],
      ["map", new Map([["a", { b: [1n] }]])],
      ["k".repeat(1000), null],
    ];
    let cache = open();
    for (const [key, value] of values) {
      cache.set(key, "the first");
      cache.set(key, value);
      cache.set(`${key.slice(1)} gone`, value);
      assert.ok(cache.delete(`${key.slice(1)} gone`));
    }
    for (let round = 0; round < 3; round++) {
      cache.close();
      cache = open();
      assert.deepEqual(new Map(cache), new Map(values));
      assert.equal(cache.stats().persist!.recovered.entries, values.length);
      cache.store.verify();
    }
    assert.ok(cache.set("parts", "short now"));
    cache.clear();
    assert.ok(cache.set("after", "clear"));
    cache.close();
    cache = open();
    assert.deepEqual([...cache], [["after", "clear"]]);
    assert.equal(cache.store.stats().ephemeral.pagesInMemory, 1, "no parts are left of anything");
  });
}

test("values are recovered whatever the eviction policy of the last start was", (t) => {
  const { open } = fixture(t);
  const values = Array.from({ length: 300 }, (_, n) => [`key ${n}`, `value ${n} `.repeat(n)]);
  for (const [nth, policy] of ["tinylfu", ...policyNames(), "tinylfu"].entries()) {
    const cache = open<string>({ policy });
    if (nth === 0) for (const [key, value] of values) cache.set(key!, value!);
    assert.deepEqual(new Map(cache), new Map(values as [string, string][]));
    cache.set("key 7", "value 7 ".repeat(7));
    cache.store.verify();
    cache.close();
  }
});

test("neither an expired value nor an older one of its key is recovered", async (t) => {
  const { open } = fixture(t);
  let cache = open<string>();
  cache.set("k", "for ever");
  cache.set("k", "a moment", 30);
  cache.set("stale", "fresh a moment", { ttl: 30, staleWhileRevalidate: "10m" });
  cache.set("long", "a while", "10m");
  cache.close();
  await sleep(40);
  cache = open();
  assert.equal(cache.get("k"), undefined);
  assert.equal(cache.get("stale"), undefined);
  assert.equal(cache.get("stale", { allowStale: true }), "fresh a moment");
  assert.ok(cache.remainingTtl("long") > 500_000);
  assert.equal(cache.stats().persist!.recovered.expired, 1);
});

test("deleted values are not recovered, even if they had been evicted before", (t) => {
  // What fifo leaves is what a restart keeps: the newest values.
  const options = { memoryMax: "2MiB", codec: "none", tiers: false, policy: "fifo" };
  const { open } = fixture(t, options);
  let cache = open<string>();
  const value = "x".repeat(5000);
  for (let n = 0; n < 800; n++) cache.set(`key ${n}`, value + n);
  const left = new Set(cache.keys());
  const evicted = Array.from({ length: 800 }, (_, n) => `key ${n}`).filter((k) => !left.has(k));
  assert.ok(evicted.length > 100);
  for (const key of evicted) assert.equal(cache.delete(key), false);
  cache = restartOf(cache, () => open());
  for (const key of evicted) assert.equal(cache.has(key), false, key);
  for (const key of cache.keys()) assert.equal(cache.get(key), value + key.slice(4));
  assert.ok(cache.size > left.size / 2);
});

/** Copies the files: a process that starts after a kill right now would find these. */
function restartOf<V>(cache: Cache<string, V>, open: () => Cache<string, V>): Cache<string, V> {
  cache.flush();
  const { path } = cache.stats().persist!;
  const folder = join(path, "..");
  const copies = readdirSync(folder)
    .filter((name) => !name.endsWith(".lock"))
    .map((name) => [join(folder, name), readFileSync(join(folder, name))] as const);
  cache.close();
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
  for (const [name, bytes] of copies) writeFileSync(name, bytes);
  return open();
}

for (const policy of policyNames()) {
  for (const bytes of [6000, 30_000]) {
    test(`the newest values that fit are recovered: ${policy}, ${bytes} bytes`, (t) => {
      const { open } = fixture(t, { codec: "none", tiers: false, dictionary: false, policy });
      const count = Math.floor(9e6 / bytes);
      let cache = open<string>();
      for (let n = 0; n < count; n++) cache.set(`key ${n}`, String(n).padEnd(bytes));
      cache.close();
      cache = open<string>({ memoryMax: "4MiB" });
      const most = (4 << 20) / bytes;
      assert.ok(cache.size > most / 3 && cache.size < most, String(cache.size));
      const newest = count - Math.floor(most / 3);
      for (let n = newest; n < count; n++) assert.equal(cache.get(`key ${n}`)?.trim(), String(n));
      cache.store.verify();
    });
  }
}

for (const codec of ["lz4", "zstd"]) {
  test(`dictionaries are recovered with their numbers: ${codec}`, async (t) => {
    const { open } = fixture(t, { codec, dictionary: "16KiB" }, "16MiB");
    const document = (n: number) => ({
      id: n,
      name: `customer ${n % 17}`,
      address: { street: `${n % 13} Long Road`, city: ["Ulm", "Bonn", "Trier"][n % 3] },
    });
    let cache = open();
    for (let n = 0; n < 2000; n++) cache.set(`a ${n}`, document(n));
    const report = await cache.train();
    assert.ok(report?.used);
    for (let n = 0; n < 500; n++) cache.set(`b ${n}`, document(n));
    const check = () => {
      for (let n = 0; n < 500; n++) {
        assert.deepEqual(cache.get(`a ${n}`), document(n));
        assert.deepEqual(cache.get(`b ${n}`), document(n));
      }
      assert.equal(cache.stats().dictionary, 1);
    };
    check();
    // From the log, from a snapshot, and from a snapshot with another dictionary in the log.
    cache = restartOf(cache, () => open());
    check();
    cache.set("more", "x".repeat(10));
    cache.store.scanIdle({ entries: 10_000, redictionary: true, recompress: { idleTicks: 0 } });
    await snapshotOf(cache);
    cache = restartOf(cache, () => open());
    assert.ok(cache.stats().persist!.snapshotBytes > 0);
    check();
    const worse = await cache.train();
    assert.equal(worse?.used, false, "the one in use is known");
  });
}

/** Sets one value repeatedly until a snapshot has been written. */
async function snapshotOf(cache: Cache<string>): Promise<void> {
  const before = cache.stats().persist!.snapshots;
  const value = Uint8Array.from({ length: 15_000 }, (_, i) => (i * i * 31) >>> 7);
  for (let n = 0; n < 5000 && cache.stats().persist!.snapshots === before; n++) {
    cache.set("snapshot", value);
    if (n % 100 === 99) await sleep(5);
  }
  await until(() => cache.stats().persist!.snapshots > before, "a snapshot is written");
}

test("a snapshot replaces the logs while values are set", async (t) => {
  const { open, files } = fixture(t, {}, "16MiB");
  let cache = open<unknown>();
  const model = new Map<string, unknown>();
  for (let n = 0; n < 3000; n++) {
    const value = n % 100 === 0 ? `${n} `.repeat(10_000) : { n };
    cache.set(`key ${n}`, value);
    model.set(`key ${n}`, value);
  }
  let n = 0;
  const busy = setInterval(() => {
    for (let i = 0; i < 50; i++, n++) {
      const key = `key ${(n * 7) % 3000}`;
      if (n % 3 === 0) {
        cache.delete(key);
        model.delete(key);
      } else {
        cache.set(key, `again ${n}`);
        model.set(key, `again ${n}`);
      }
    }
  }, 1);
  await snapshotOf(cache);
  clearInterval(busy);
  const value = cache.get("snapshot");
  model.set("snapshot", value);
  cache.flush();
  const snapshots = files().filter((name) => /snapshot\.\d+$/.test(name));
  assert.equal(snapshots.length, 1, files().join());
  const number = Number(snapshots[0]!.split(".").at(-1));
  assert.ok(number > 1 && files().includes(`c.zc.log.${number}`), files().join());
  assert.ok(!files().includes(`c.zc.log.${number - 1}`), files().join());
  cache = restartOf(cache, () => open());
  assert.deepEqual(new Map(cache), model);
  assert.equal(cache.stats().persist!.recovered.gaps, 0);
});

test("values in the write-back file are recovered too", (t) => {
  const { open, path } = fixture(t);
  const options = { memoryMax: "3MiB", writeBack: { path, max: "64MiB" }, persist: true };
  let cache = open<string>(options);
  for (let n = 0; n < 1200; n++) {
    cache.set(`key ${n}`, noise(n));
    while (cache.store.maintain());
  }
  assert.ok(cache.stats().inFile > 100);
  // A store with so few pages evicts some values without writing them.
  const before = cache.size;
  assert.ok(before > 1150, String(before));
  cache.close();
  cache = open(options);
  assert.equal(cache.stats().persist!.recovered.records, before + 3);
  assert.ok(cache.size > before - 50, String(cache.size));
  assert.ok(cache.stats().inFile > 100);
  let there = 0;
  for (let n = 0; n < 1200; n++) {
    // A value that is read moves to memory, and evicts others.
    while (cache.store.maintain());
    const value = cache.get(`key ${n}`);
    if (value === undefined) continue;
    assert.equal(value, noise(n));
    there++;
  }
  assert.ok(there > 1100, String(there));
});

/** 5,000 characters that compress poorly. */
function noise(seed: number): string {
  let state = seed + 1;
  let text = "";
  while (text.length < 5000) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    text += state.toString(36);
  }
  return text.slice(0, 5000);
}

/** The state after 400 calls, and all values that each key ever had. */
function filled(cache: Cache<string>) {
  const ever = new Map<string, Set<string>>();
  const last = new Map<string, string>();
  for (let n = 0; n < 400; n++) {
    const key = `key ${(n * 13) % 60}`;
    if (n % 5 === 0) {
      cache.delete(key);
      last.delete(key);
    } else {
      const value = n % 37 === 0 ? `${n}/`.repeat(10_000) : `${n}/`.repeat(n % 90);
      cache.set(key, value);
      last.set(key, value);
      if (!ever.has(key)) ever.set(key, new Set());
      ever.get(key)!.add(value);
    }
  }
  return { ever, last };
}

test("a log that is cut or damaged at any place yields no wrong value", (t) => {
  const { open, path } = fixture(t, { memoryMax: "4MiB", tiers: false, dictionary: false });
  let cache = open();
  const { ever, last } = filled(cache);
  cache.close();
  const log = `${path}.log.1`;
  const whole = readFileSync(log);
  let random = 7;
  const below = (end: number) => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((random / 2 ** 32) * end);
  };
  let some = 0;
  for (let round = 0; round < 100; round++) {
    const bytes = Buffer.from(whole);
    const isCut = round % 2 === 0;
    const at = 96 + below(whole.length - 96);
    for (let i = 0; !isCut && i < 1 + (round % 3); i++) bytes[at + below(40)]! ^= 1 << below(8);
    for (const name of readdirSync(join(path, ".."))) rmSync(join(path, "..", name));
    writeFileSync(log, isCut ? bytes.subarray(0, at) : bytes);
    cache = open();
    const { recovered } = cache.stats().persist!;
    for (const [key, value] of cache) {
      assert.ok(ever.get(key)?.has(value as string), `${key} was set to what it is`);
      // A damage may hide a change of any key: only values set after it are recovered.
      const isExact = !isCut && at < whole.length - 40_000;
      if (isExact) assert.equal(value, last.get(key), `round ${round}, ${key} is what it was last`);
    }
    if (isCut) assert.equal(recovered.gaps + recovered.damagedBytes, 0);
    some += cache.size;
    cache.store.verify();
    cache.close();
  }
  assert.ok(some > 100 * 10, `${some} values came back`);
});

test("the intact values of a damaged snapshot are recovered", async (t) => {
  const { open, folder, files } = fixture(t, { dictionary: false, tiers: false }, "16MiB");
  let cache = open<unknown>();
  for (let n = 0; n < 500; n++) cache.set(`key ${n}`, `value ${n}`);
  await snapshotOf(cache);
  // A long log makes close() write another snapshot: here the first one, before the last change.
  cache.close();
  cache = open();
  cache.set("in the log", 1);
  cache.close();
  const name = files().find((one) => one.includes("snapshot"));
  const snapshot = join(folder, name!);
  const bytes = readFileSync(snapshot);
  for (let at = 1000; at < bytes.length; at += 5000) bytes[at]! ^= 4;
  writeFileSync(snapshot, bytes);
  cache = open();
  assert.ok(cache.size > 300 && cache.size < 501, String(cache.size));
  assert.ok(cache.stats().persist!.recovered.damagedBytes > 0);
  assert.equal(cache.get("in the log"), 1);
  for (const [key, value] of cache) {
    if (key.startsWith("key")) assert.equal(value, key.replace("key", "value"));
  }
});

test("a missing log is a gap: no older value is recovered", (t) => {
  const { open, path, files } = fixture(t);
  for (const value of ["first", "second", "third"]) {
    const cache = open<string>();
    cache.set("k", value);
    cache.set(value, value);
    if (value === "second") cache.delete("first");
    cache.close();
  }
  assert.deepEqual(files().sort(), ["c.zc.log.1", "c.zc.log.2", "c.zc.log.3"]);
  rmSync(`${path}.log.2`);
  const cache = open<string>();
  assert.deepEqual(
    new Map(cache),
    new Map([
      ["k", "third"],
      ["third", "third"],
    ]),
  );
  assert.equal(cache.stats().persist!.recovered.gaps, 1);
});

test("a missing end of a log is a gap if another log follows", (t) => {
  const { open, path } = fixture(t);
  for (const value of ["first", "second"]) {
    const cache = open<string>();
    cache.set("k", value);
    cache.set(value, value);
    cache.close();
  }
  const log = readFileSync(`${path}.log.1`);
  writeFileSync(`${path}.log.1`, log.subarray(0, log.length - 64));
  let cache = open<string>();
  assert.deepEqual([...cache.keys()].sort(), ["k", "second"]);
  assert.equal(cache.stats().persist!.recovered.gaps, 1);
  cache.close();
  // The next start must find the same values, whether the end was torn or not.
  cache = open<string>({ persist: { path, existing: "discard" } });
  cache.set("k", "v");
  cache.set("torn", "x");
  cache.close();
  const torn = readFileSync(`${path}.log.1`);
  writeFileSync(`${path}.log.1`, torn.subarray(0, torn.length - 64));
  for (let round = 0; round < 3; round++) {
    cache = open<string>();
    assert.deepEqual([...cache.keys()], ["k"]);
    assert.equal(cache.stats().persist!.recovered.gaps, 0);
    cache.close();
  }
});

test("files of other stores are refused and stay as they are", (t) => {
  const { open, path, files } = fixture(t);
  const cache = open<string>();
  cache.set("k", "v");
  assert.throws(() => open(), code("ERR_FILE_LOCKED"));
  const other = spawnSync(process.execPath, ["--input-type=module", "-e", OTHER(path)], {
    encoding: "utf8",
  });
  assert.equal(other.stdout.trim(), "ERR_FILE_LOCKED", other.stderr);
  cache.close();
  for (const wrong of [{ codec: "zstd" }, { pageSize: 4096 }, { tiers: false }]) {
    assert.throws(() => open(wrong), code("ERR_OPTION"), JSON.stringify(wrong));
  }
  const log = readFileSync(`${path}.log.1`);
  const later = Buffer.from(log);
  later.write("9", 15, "latin1");
  writeFileSync(`${path}.log.1`, later);
  assert.throws(() => open(), /version "9".*reads versions 1 and 2; .*existing: "discard"/);
  open({ persist: { path, existing: "discard" } }).close();
  assert.deepEqual(files(), ["c.zc.log.1"]);
});

test("only the owner can read the files, whatever the umask", (t) => {
  const before = process.umask();
  t.after(() => process.umask(before));
  for (const mask of [0, 0o022, 0o077, 0o277]) {
    process.umask(mask);
    const { open, folder, files } = fixture(t);
    for (let n = 0; n < 7; n++) open().close();
    assert.ok(files().some((name) => name.includes("snapshot")));
    for (const name of files()) {
      const { mode } = statSync(join(folder, name));
      assert.equal(mode & 0o777, 0o600, `${name} under ${mask.toString(8)}`);
    }
  }
});

const OTHER = (path: string) => `
  import { Cache } from ${JSON.stringify(LIBRARY)};
  try { Cache.create({ persist: { path: ${JSON.stringify(path)} } }).close(); }
  catch (error) { console.log(error.code); }`;

test("errors name invalid options", (t) => {
  const { open, path } = fixture(t);
  const wrong = [
    { persist: true },
    { persist: {} },
    { persist: { path: "" } },
    { persist: { path, max: "1MiB" } },
    { persist: { path, flushMs: 0 } },
    { persist: { path, existing: "reuse" } },
    { persist: { paths: path } },
    { persist: "yes" },
  ];
  for (const options of wrong) {
    assert.throws(() => open(options as CacheOptions), code("ERR_OPTION"), JSON.stringify(options));
  }
  assert.throws(() => open({ persist: { path: join(path, "no", "folder") } }), code("ERR_IO"));
  const cache = open();
  cache.close();
  assert.throws(() => cache.flush(), code("ERR_STORE_CLOSED"));
});

test("a process or thread that ends without close() loses nothing", async (t) => {
  const { open, path } = fixture(t);
  const script = `
    import { Cache } from ${JSON.stringify(LIBRARY)};
    const cache = Cache.create({
      memoryMax: "16MiB",
      persist: { path: ${JSON.stringify(path)}, flushMs: 60_000 },
    });
    for (let n = 0; n < 100; n++) cache.set("key " + n, n);`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
  assert.equal(child.status, 0, String(child.stderr));
  let cache = open<number>();
  assert.equal(cache.size, 100);
  const worker = new Worker(PERSIST_WORKER, { workerData: { share: cache.share(), seed: 0 } });
  await once(worker, "message");
  await worker.terminate();
  assert.equal(cache.get("by a worker"), 1);
  cache.flush();
  cache = restartOf(cache, () => open());
  assert.equal(cache.get("by a worker"), 1);
  assert.equal(cache.get("key 5"), undefined);
  assert.equal(cache.size, 100);
});

test("terminated threads leave files that agree with the cache", async (t) => {
  const { open } = fixture(t);
  let cache = open<string>();
  for (let round = 0; round < 8; round++) {
    const workers = [1, 2].map((thread) => {
      const workerData = { share: cache.share(), seed: round * 2 + thread };
      return new Worker(PERSIST_WORKER, { workerData });
    });
    await Promise.all(workers.map((worker) => once(worker, "message")));
    for (const worker of workers) {
      await sleep((round * 17) % 60);
      await worker.terminate();
    }
    cache.flush();
    const state = new Map(cache);
    assert.ok(state.size > 0);
    cache = restartOf(cache, () => open());
    assert.deepEqual(new Map(cache), state, `round ${round}`);
    assert.equal(cache.stats().persist!.recovered.gaps, 0);
    cache.store.verify();
  }
});

/** Lets writes to files fail. @returns sets the error's code; undefined: writes succeed */
function faultyDisk(t: TestContext) {
  let fault: string | undefined;
  let failures = 0;
  const { writeSync } = fs;
  const faulty = (...args: unknown[]) => {
    if (fault === undefined) return (writeSync as (...all: unknown[]) => number)(...args);
    failures++;
    throw Object.assign(new Error(`${fault}: no more`), { code: fault });
  };
  fs.writeSync = faulty as typeof writeSync;
  syncBuiltinESMExports();
  t.after(() => {
    fs.writeSync = writeSync;
    syncBuiltinESMExports();
  });
  return {
    set: (code: string | undefined) => {
      fault = code;
    },
    failures: () => failures,
  };
}

test("a disk that is full for a moment causes no loss", async (t) => {
  const { open } = fixture(t);
  const disk = faultyDisk(t);
  let cache = open<number>();
  const faults: string[] = [];
  cache.on("fault", ({ code: name }) => faults.push(name));
  cache.set("before", 1);
  cache.flush();
  disk.set("ENOSPC");
  for (let n = 0; n < 100; n++) cache.set(`key ${n}`, n);
  assert.throws(() => cache.flush(), code("ERR_IO"));
  await until(() => faults.length > 0, "the fault is reported");
  disk.set(undefined);
  cache.flush();
  assert.ok(cache.stats().persist!.errors > 0);
  assert.equal(cache.stats().persist!.isSuspended, false);
  cache = restartOf(cache, () => open());
  assert.equal(cache.size, 101);
});

test("a disk that fails for long: outdated files go, and new ones come later", async (t) => {
  const { open, files } = fixture(t);
  const disk = faultyDisk(t);
  let cache = open<string>();
  const faults: string[] = [];
  cache.on("fault", ({ message }) => faults.push(message));
  cache.set("deleted later", "x");
  cache.set("stays", "y");
  cache.flush();
  disk.set("EIO");
  cache.delete("deleted later");
  for (let n = 0; n < 2000; n++) assert.ok(cache.set(`key ${n % 300}`, noise(n).slice(0, 1000)));
  assert.equal(cache.get("key 5"), noise(1805).slice(0, 1000));
  await until(() => faults.some((text) => text.includes("removed")), "the end is reported");
  assert.ok(cache.stats().persist!.isSuspended);
  assert.deepEqual(files(), [], "nothing old is left");
  assert.throws(() => cache.flush(), code("ERR_IO"));
  cache.set("meanwhile", "z");
  disk.set(undefined);
  await until(() => cache.stats().persist!.snapshots > 0, "a new snapshot is written");
  cache.set("afterwards", "w");
  cache.flush();
  const state = new Map(cache);
  cache = restartOf(cache, () => open());
  assert.deepEqual(new Map(cache), state);
  assert.equal(cache.get("deleted later"), undefined);
  assert.equal(cache.get("meanwhile"), "z");
});

test("a full disk is an error at the start, and a fault event at the end", (t) => {
  const { open } = fixture(t);
  const disk = faultyDisk(t);
  disk.set("ENOSPC");
  assert.throws(() => open(), code("ERR_IO"));
  disk.set(undefined);
  const cache = open();
  const faults: unknown[] = [];
  cache.on("fault", (error) => faults.push(error));
  cache.set("k", 1);
  disk.set("ENOSPC");
  cache.close();
  disk.set(undefined);
  assert.ok(faults.length > 0);
  assert.equal(open().get("k"), undefined);
});

test("sets without a pause fill several logs, and none is lost", (t) => {
  const { open, folder, files } = fixture(t, { codec: "none", tiers: false }, "16MiB");
  let cache = open<string>();
  for (let n = 0; n < 6000; n++) cache.set(`key ${n % 800}`, noise(n % 7).slice(n % 1000));
  const { isSuspended, snapshots } = cache.stats().persist!;
  assert.ok(!isSuspended && snapshots > 3, `${snapshots} snapshots`);
  const bytes = files().reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  assert.ok(bytes <= 16 << 20, `${bytes} bytes`);
  const state = new Map(cache);
  assert.equal(state.size, 800);
  cache = restartOf(cache, () => open());
  assert.deepEqual(new Map(cache), state);
});

test("the files never exceed max", async (t) => {
  const { open, folder, path, files } = fixture(t);
  const max = 16 << 20;
  const options = { memoryMax: "32MiB", codec: "none", tiers: false, persist: { path, max } };
  let cache = open<string>(options);
  let most = 0;
  for (let n = 0; n < 5000; n++) {
    cache.set(`key ${n % 2500}`, noise(n));
    if (n % 50 !== 0) continue;
    await sleep(1);
    let bytes = 0;
    for (const name of files()) {
      // The file may just have been removed.
      bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
    }
    most = Math.max(most, bytes);
  }
  assert.ok(most <= max, `${most} bytes`);
  assert.ok(most > max / 4, `${most} bytes`);
  const state = new Map(cache);
  cache.close();
  cache = open(options);
  assert.ok(cache.size > 100, String(cache.size));
  for (const [key, value] of cache) assert.equal(value, state.get(key), key);
});
