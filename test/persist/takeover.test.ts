// A store that starts with another number of shards than its files have takes the values over, and
// loses nothing if its process ends at any moment of that.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs, { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { Cache, type CacheOptions, ZcacheError } from "../../src/index.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const RUNS = Number(process.env["ZCACHE_MODEL_RUNS"] ?? 6);
const home = temporaryFolder("takeover");
let folders = 0;

/** Calls that change files. */
const CHANGES = ["openSync", "writeSync", "fsyncSync", "renameSync", "unlinkSync"] as const;

/** About as many calls are made in a takeover by three shards. */
const MOMENTS = 60;

type Model = Map<string, string>;

function folderOf(): string {
  const folder = join(home, String(++folders));
  fs.mkdirSync(folder);
  return folder;
}

function open(folder: string, shards: number | "auto", more: CacheOptions = {}) {
  return Cache.create<string, string>({
    ...{ memoryMax: "8MiB", backgroundMs: 0, dictionary: false, shards },
    persist: { path: join(folder, "p"), max: "64MiB", flushMs: 60_000 },
    ...more,
  });
}

/** The files as a process that is killed now leaves them. */
function copyOf(folder: string): string {
  const copy = folderOf();
  for (const name of readdirSync(folder)) {
    if (!name.includes(".lock")) cpSync(join(folder, name), join(copy, name));
  }
  return copy;
}

/** Calls `before` before each call that may change files below the folder. */
function whileWatching<T>(folder: string, before: (name: string) => void, work: () => T): T {
  const originals = CHANGES.map((name) => [name, fs[name]] as const);
  const patched = fs as unknown as Record<string, unknown>;
  let isInside = false;
  for (const [name, original] of originals) {
    patched[name] = (...args: unknown[]) => {
      const isOther = typeof args[0] === "string" && !args[0].startsWith(folder);
      if (!isOther && !isInside) {
        isInside = true;
        try {
          before(name);
        } finally {
          isInside = false;
        }
      }
      return (original as (...args: unknown[]) => unknown)(...args);
    };
  }
  syncBuiltinESMExports();
  try {
    return work();
  } finally {
    for (const [name, original] of originals) patched[name] = original;
    syncBuiltinESMExports();
  }
}

const key = fc.integer({ min: 0, max: 30 }).map((nth) => `key ${nth}`);
const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 900 }) },
  { weight: 1, arbitrary: fc.integer({ min: 17_000, max: 40_000 }) },
);
const call = fc.oneof(
  { weight: 12, arbitrary: fc.record({ what: fc.constant("set" as const), key, size }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant("delete" as const), key }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant("clear" as const) }) },
);
const shards = fc.integer({ min: 1, max: 6 });
const stage = fc.record({
  shards,
  calls: fc.array(call, { maxLength: 40 }),
  isClosed: fc.boolean(),
  /** Which of the moments of the next takeover are tried, and with how many shards. */
  moments: fc.array(fc.nat(), { minLength: 3, maxLength: 3 }),
  others: shards,
});

/** Checks that a cache has exactly the values of the model. */
function check(cache: Cache<string, string>, model: Model, what: string): void {
  for (const [name, value] of model) assert.ok(cache.get(name) === value, `${what}: ${name}`);
  assert.equal(cache.size, model.size, what);
  const { recovered } = cache.stats().persist!;
  const { entries, refused, gaps, damagedBytes, lostFiles } = recovered;
  assert.deepEqual([entries, refused + gaps + damagedBytes + lostFiles], [model.size, 0], what);
  cache.group.verify();
}

test("values survive any numbers of shards, and an end at any moment of a takeover", () => {
  let takeovers = 0;
  let moments = 0;
  const run = fc.property(fc.array(stage, { minLength: 2, maxLength: 4 }), (stages) => {
    const model: Model = new Map();
    let folder = folderOf();
    let before = stages[0]!.shards;
    for (const [nth, one] of stages.entries()) {
      const copies: string[] = [];
      const chosen = new Set(one.moments.map((moment) => moment % MOMENTS));
      let count = 0;
      const cache = whileWatching(
        folder,
        () => {
          if (one.shards !== before && chosen.has(count++)) copies.push(copyOf(folder));
        },
        () => open(folder, one.shards),
      );
      check(cache, model, `stage ${nth}, ${before} to ${one.shards} shards`);
      if (one.shards !== before && count > 0) takeovers++;
      for (const copy of copies) {
        moments++;
        const left = open(copy, one.others);
        check(left, model, `stage ${nth}, ${before} to ${one.shards}, one of ${one.moments}`);
        left.close();
        const again = open(copy, before);
        check(again, model, `stage ${nth}, ${before} shards once more, one of ${one.moments}`);
        again.close();
        rmSync(copy, { recursive: true });
      }
      for (const [i, made] of one.calls.entries()) {
        if (made.what === "clear") cache.clear();
        else if (made.what === "delete") cache.delete(made.key);
        else cache.set(made.key, `${nth}/${i}/`.padEnd(made.size + 8, `${made.key},${i} `));
        if (made.what === "clear") model.clear();
        else if (made.what === "delete") model.delete(made.key);
        else model.set(made.key, `${nth}/${i}/`.padEnd(made.size + 8, `${made.key},${i} `));
      }
      cache.flush();
      before = one.shards;
      const killed = one.isClosed ? folder : copyOf(folder);
      cache.close();
      if (killed !== folder) rmSync(folder, { recursive: true });
      folder = killed;
    }
    rmSync(folder, { recursive: true });
  });
  fc.assert(run, { numRuns: RUNS });
  assert.ok(takeovers > 0 && moments > 0, `${takeovers} takeovers, ${moments} moments`);
});

/** A folder with so many values, and the values. */
function filled(shardCount: number, count: number, more: CacheOptions = {}): [string, Model] {
  const folder = folderOf();
  const model: Model = new Map();
  const cache = open(folder, shardCount, more);
  for (let nth = 0; nth < count; nth++) {
    const value = `${nth} `.repeat(nth % 40 === 0 ? 9000 : 90);
    model.set(`key ${nth}`, value);
    cache.set(`key ${nth}`, value);
  }
  cache.close();
  return [folder, model];
}

test("a takeover that a disk fails is refused, and loses nothing", () => {
  let refused = 0;
  const [folder, model] = filled(2, 60);
  for (const failing of ["openSync", "writeSync", "fsyncSync", "renameSync"] as const) {
    for (let nth = 1, isOver = false; !isOver; nth++) {
      const copy = copyOf(folder);
      let calls = 0;
      const fail = (name: string) => {
        if (name !== failing || ++calls !== nth) return;
        // A file that can't be opened to be read would count as lost.
        const code = failing === "openSync" ? "EMFILE" : "ENOSPC";
        throw Object.assign(new Error(`${code}: injected`), { code });
      };
      try {
        check(
          whileWatching(copy, fail, () => open(copy, 3)),
          model,
          `${failing} ${nth}`,
        );
        isOver = calls < nth;
      } catch (error) {
        assert.ok(
          error instanceof ZcacheError && error.code === "ERR_IO",
          String((error as Error).stack),
        );
        refused++;
        const names = readdirSync(copy);
        assert.ok(!names.some((name) => name.includes("-of-3.")), names.join());
        const cache = open(copy, nth % 2 === 0 ? 2 : 4);
        check(cache, model, `after ${failing} ${nth}`);
        cache.close();
      }
    }
  }
  assert.ok(refused > 12, `${refused} takeovers were refused`);
});

test("a file that can't be removed after a takeover is not used later", () => {
  const [folder, model] = filled(3, 60);
  const originals = readdirSync(folder);
  const keep = (name: string) => {
    if (name === "unlinkSync") throw Object.assign(new Error("EIO: injected"), { code: "EIO" });
  };
  let cache = whileWatching(folder, keep, () => open(folder, 2));
  model.set("later", "value");
  cache.set("later", "value");
  cache.close();
  assert.ok(originals.every((name) => readdirSync(folder).includes(name)));
  cache = open(folder, 3);
  check(cache, model, "after a takeover back to three shards");
  cache.close();
  assert.ok(!readdirSync(folder).some((name) => /-of-2[.]|[.]shards/.test(name)));
});

test("a mark that can't be read is refused in one line", () => {
  const [folder, model] = filled(1, 5);
  for (const text of ["zcache shards 2 5\n", "zcache shards 1 0\n", "zcache shards "]) {
    writeFileSync(join(folder, "p.shards"), text);
    assert.throws(
      () => open(folder, 1),
      (error: ZcacheError) =>
        error.code === "ERR_OPTION" && /p\.shards is damaged/.test(error.message),
    );
  }
  rmSync(join(folder, "p.shards"));
  const cache = open(folder, 1);
  check(cache, model, "without the mark");
  cache.close();
});

test("values keep their dictionary and the time when they expire", async () => {
  for (const codec of ["lz4", "zstd"]) {
    const folder = folderOf();
    const more = { codec, dictionary: "8KiB" };
    const made = open(folder, 3, more);
    const value = (nth: number) =>
      JSON.stringify({
        ...{ identifier: nth * 7919, name: `user number ${nth}`, active: nth % 3 === 0 },
        ...{ address: { street: `street ${nth % 89}`, city: "somewhere", country: "nowhere" } },
      });
    for (let nth = 0; nth < 3000; nth++) made.set(`sample ${nth}`, value(nth));
    assert.ok((await made.train())?.used, "the dictionary is in use");
    made.clear();
    const model: Model = new Map();
    for (let nth = 0; nth < 500; nth++) {
      model.set(`key ${nth}`, value(nth));
      made.set(`key ${nth}`, value(nth), nth % 2 === 0 ? { ttl: "1h" } : {});
    }
    const { storedBytes } = made.stats();
    made.close();
    for (const shardCount of [1, 5, 3]) {
      const cache = open(folder, shardCount, more);
      check(cache, model, `${codec}, ${shardCount} shards`);
      assert.equal(cache.stats().storedBytes, storedBytes, "compressed as before");
      assert.equal(cache.stats().dictionary, 1, "new values use it too");
      const left = cache.remainingTtl("key 10");
      assert.ok(left > 0 && left <= 3_600_000, String(left));
      assert.equal(cache.remainingTtl("key 11"), Number.POSITIVE_INFINITY);
      cache.close();
    }
  }
});

test("values that do not fit are evicted, and the limit holds", () => {
  const folder = folderOf();
  const more = { codec: "none", tiers: false };
  const large = open(folder, 6, { ...more, memoryMax: "24MiB" });
  const text = (nth: number) => `${nth}:`.padEnd(3000, String.fromCharCode(97 + (nth % 26)));
  for (let nth = 0; nth < 5000; nth++) large.set(`key ${nth}`, text(nth));
  const before = large.size;
  large.close();
  const small = open(folder, "auto", { ...more, memoryMax: "5MiB" });
  const after = small.size;
  assert.equal(small.group.stores.length, 1);
  assert.ok(before > 4000 && after > 1000 && after < before, `${before} to ${after}`);
  for (const [name, found] of small) assert.equal(found, text(Number(name.slice(4))));
  assert.ok(small.stats().memoryUsed <= 5 * 1024 * 1024);
  small.group.verify();
  small.close();
  const again = open(folder, 2, { ...more, memoryMax: "5MiB" });
  assert.ok(again.size > 1000);
  again.close();
});

test("a process that is killed during takeovers loses nothing", async () => {
  const [folder, model] = filled(1, 1500);
  const index = new URL("../../src/index.js", import.meta.url).href;
  let kills = 0;
  for (let nth = 0; nth < 8; nth++) {
    const program = `
      const { Cache } = await import(${JSON.stringify(index)});
      console.log("begin");
      for (let nth = ${nth}; ; nth++) {
        const persist = { path: ${JSON.stringify(join(folder, "p"))}, max: "64MiB" };
        const shards = [3, 1, 6, 2, 5][nth % 5];
        Cache.create({ memoryMax: "8MiB", dictionary: false, shards, persist }).close();
      }`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    await sleep(nth * 23);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    if (child.signalCode === "SIGKILL") kills++;
    const cache = open(folder, "auto");
    check(cache, model, `kill ${nth}`);
    cache.close();
  }
  assert.equal(kills, 8);
});
