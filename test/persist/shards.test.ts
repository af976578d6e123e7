// Files of `persist` for a store of several shards: each shard has files of its own, and all of
// them belong to one number of shards and one hash of keys.
import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ZcacheError } from "../../src/base/errors.ts";
import { MIB } from "../../src/base/units.ts";
import { abandonValues, openValues } from "../../src/cache/engine.ts";
import { Engines } from "../../src/cache/engines.ts";
import { Cache } from "../../src/index.ts";
import type { ResolvedPersist } from "../../src/persist/options.ts";
import { KeyHash } from "../../src/values/key_hash.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

type Shards = number | "auto";

const KEYS = 60;
const EXISTING_MAX = 64 * MIB;

/** A store of values with an engine for each shard. */
function openStore(
  path: string,
  shards: Shards,
  more: Partial<ResolvedPersist> = {},
  memoryMax = "6MiB",
) {
  const persist = {
    path,
    maxBytes: EXISTING_MAX,
    flushMs: 20,
    existing: "recover",
    ...more,
  } as const;
  const settings = { content: "values", memoryMax, pageSize: 8192, shards } as const;
  const opened = openValues(settings, persist, { front: "", stays: false });
  const faults: string[] = [];
  try {
    const values = opened.shards.map(
      ({ store }) =>
        new Values(
          store,
          () => Date.now(),
          () => 7,
        ),
    );
    const engines = new Engines(
      opened,
      values,
      { background: undefined, dictionaryBytes: 0, codec: "lz4", codecOptions: {} },
      {
        isUnwanted: () => false,
        onFault: ({ message }) => faults.push(message),
        onDictionary: () => {},
      },
    );
    return { ...opened, values, engines, faults, close: () => engines.close() };
  } catch (error) {
    abandonValues(opened);
    throw error;
  }
}

type Opened = ReturnType<typeof openStore>;

function valuesOf({ group, values, shards }: Opened, key: string): [Values, Uint8Array] {
  const bytes = new TextEncoder().encode(key);
  const seeds = shards[0]!.persistence!.keySeeds;
  const hash = new KeyHash(...seeds);
  hash.set(bytes, bytes.length);
  return [values[group.shardOf(hash.low, hash.high)]!, bytes];
}

function setAll(opened: Opened): void {
  for (let nth = 0; nth < KEYS; nth++) {
    const request = new SetRequest();
    const [values, key] = valuesOf(opened, `key ${nth}`);
    const value = new TextEncoder().encode(`value ${nth} `.repeat(nth % 7 === 0 ? 2000 : 9));
    Object.assign(request, { key, keyBytes: key.length, value, valueBytes: value.length });
    assert.equal(values.set(request), 0);
  }
}

/** How many keys are found; each has its own value. */
function countFound(opened: Opened): number {
  let found = 0;
  for (let nth = 0; nth < KEYS; nth++) {
    const [values, key] = valuesOf(opened, `key ${nth}`);
    if (!values.find(key, key.length)) continue;
    found++;
    const bytes =
      values.read(key, key.length) ??
      values.bytes.slice(values.bufferAt, values.bufferAt + values.valueBytes);
    assert.ok(new TextDecoder().decode(bytes).startsWith(`value ${nth} `));
  }
  const stored = opened.values.reduce((sum, { count }) => sum + count, 0);
  assert.equal(stored, found, "each value is in the shard of its key");
  opened.group.verify();
  return found;
}

function folderOf(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "zcache-shards-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const files = () => readdirSync(folder).sort();
  return { folder, path: join(folder, "c.zc"), files };
}

/** Leaves files of so many shards. */
function fill(path: string, shards: number): void {
  const opened = openStore(path, shards);
  setAll(opened);
  opened.close();
}

const isRefused =
  (...texts: RegExp[]) =>
  (error: unknown) => {
    assert.ok(error instanceof ZcacheError && error.code === "ERR_OPTION");
    for (const text of texts) assert.match(error.message, text);
    assert.ok(!error.message.includes("\n"), "one line");
    return true;
  };

test("each shard has files of its own, from which the values come back", (t) => {
  const { path, files } = folderOf(t);
  for (let round = 0; round < 3; round++) {
    const opened = openStore(path, 3);
    assert.equal(countFound(opened), round === 0 ? 0 : KEYS);
    if (round === 0) setAll(opened);
    opened.close();
    const kinds = new Set(files().map((name) => name.replace(/\.\d+$/, "")));
    assert.deepEqual(
      [...kinds].filter((name) => name.endsWith("log")),
      ["c.zc.1-of-3.log", "c.zc.2-of-3.log", "c.zc.3-of-3.log"],
    );
    assert.ok(!files().some((name) => name.endsWith(".lock")), "no lock is left");
  }
});

test("one shard has its files at the path itself", (t) => {
  const { path, files } = folderOf(t);
  fill(path, 1);
  assert.ok(files().every((name) => /^c\.zc\.(log|snapshot)\.\d+$/.test(name)));
  const opened = openStore(path, "auto");
  assert.equal(countFound(opened), KEYS);
  opened.close();
});

test("files are locked whatever the number of shards, and also after a failed start", (t) => {
  const { path } = folderOf(t);
  const isLocked = (error: unknown) =>
    error instanceof ZcacheError && error.code === "ERR_FILE_LOCKED";
  for (const shards of [1, 3]) {
    const opened = openStore(path, shards, { existing: "discard" });
    for (const other of [1, 2, 3, "auto"] as const) {
      assert.throws(() => openStore(path, other), isLocked);
      assert.throws(() => openStore(path, other, { existing: "discard" }), isLocked);
    }
    setAll(opened);
    opened.close();
    writeFileSync(`${path}.shards`, "somebody's notes");
    assert.throws(() => openStore(path, 2), isRefused(/c\.zc\.shards is not a file of zcache/));
    rmSync(`${path}.shards`);
  }
  openStore(path, 3).close();
});

test("auto takes the number of shards that the files have", (t) => {
  for (const shards of [1, 2, 5]) {
    const { path } = folderOf(t);
    fill(path, shards);
    const opened = openStore(path, "auto");
    assert.equal(opened.shards.length, shards);
    assert.equal(countFound(opened), KEYS);
    opened.close();
  }
});

test("values are taken over from files of another number of shards, or discarded", async (t) => {
  for (const [before, now] of [
    [1, 3],
    [3, 1],
    [2, 3],
    [6, 5],
  ] as const) {
    const { path, files } = folderOf(t);
    fill(path, before);
    for (const shards of [now, now, before, now]) {
      const taken = openStore(path, shards);
      assert.equal(taken.shards.length, shards);
      assert.equal(countFound(taken), KEYS, `${before} to ${shards}`);
      taken.close();
      await turn();
      assert.deepEqual(taken.faults, []);
      const names = new RegExp(shards === 1 ? "^c[.]zc[.](log|snap)" : `[.][0-9]-of-${shards}[.]`);
      assert.ok(
        files().every((name) => names.test(name)),
        files().join(),
      );
    }
    const opened = openStore(path, before, { existing: "discard" });
    assert.equal(countFound(opened), 0);
    opened.close();
    const foreign = before === 1 ? "-of-" : `-of-${now}.`;
    assert.ok(!files().some((name) => name.includes(foreign)), files().join());
    if (now === 1) assert.ok(!files().some((name) => /zc\.(log|snapshot)/.test(name)));
  }
});

test("auto takes over what a number of shards holds that the memory can't have", (t) => {
  const { path } = folderOf(t);
  fill(path, 6);
  // 3 MiB have 1 to 3 shards.
  const opened = openStore(path, "auto", {}, "3MiB");
  assert.equal(opened.shards.length, 1);
  assert.equal(countFound(opened), KEYS);
  opened.close();
});

test("files of two numbers of shards can only be discarded", (t) => {
  const { folder, path } = folderOf(t);
  fill(path, 2);
  fill(join(folder, "other"), 1);
  for (const name of readdirSync(folder)) {
    if (!name.startsWith("other")) continue;
    renameSync(join(folder, name), join(folder, name.replace("other", "c.zc")));
  }
  for (const shards of ["auto", 1, 2, 3] as const) {
    assert.throws(() => openStore(path, shards), isRefused(/files of 1 and 2 shards/, /discard/));
  }
  openStore(path, 3, { existing: "discard" }).close();
  openStore(path, "auto").close();
});

test("foreign files with such names neither decide the number nor are removed", (t) => {
  const { folder, path, files } = folderOf(t);
  writeFileSync(
    join(folder, "c.zc.1-of-2.log.1"),
    "somebody's notes, of more than a hundred bytes. ".repeat(9),
  );
  writeFileSync(join(folder, "c.zc.3-of-2.log.1"), "");
  openStore(path, 3, { existing: "discard" }).close();
  const opened = openStore(path, "auto");
  assert.equal(opened.shards.length, 3);
  opened.close();
  assert.ok(files().includes("c.zc.1-of-2.log.1"));
});

test("a shard whose files are of another store begins without values, and says so", async (t) => {
  const { folder, path } = folderOf(t);
  fill(path, 3);
  fill(join(folder, "other"), 3);
  for (const name of readdirSync(folder)) {
    if (name.startsWith("c.zc.2-of-3")) rmSync(join(folder, name));
  }
  for (const name of readdirSync(folder)) {
    if (!name.startsWith("other.2-of-3")) continue;
    copyFileSync(join(folder, name), join(folder, name.replace("other", "c.zc")));
  }
  const opened = openStore(path, "auto");
  const found = countFound(opened);
  assert.ok(found > 0 && found < KEYS && opened.values[1]!.count === 0, String(found));
  setAll(opened);
  await turn();
  assert.equal(opened.faults.length, 1);
  assert.match(opened.faults[0]!, /2-of-3 has the files of another store/);
  opened.close();
  const again = openStore(path, "auto");
  assert.equal(countFound(again), KEYS);
  await turn();
  assert.deepEqual(again.faults, []);
  again.close();
});

test("a shard without files among others that have some is reported", async (t) => {
  const { folder, path } = folderOf(t);
  fill(path, 3);
  for (const name of readdirSync(folder)) {
    if (name.startsWith("c.zc.1-of-3")) rmSync(join(folder, name));
  }
  const opened = openStore(path, 3);
  const found = countFound(opened);
  assert.ok(found > 0 && found < KEYS && opened.values[0]!.count === 0, String(found));
  await turn();
  assert.equal(opened.faults.length, 1);
  assert.match(opened.faults[0]!, /1-of-3 has no files/);
  opened.close();
});

test("values are dropped where the files of two shards were exchanged", async (t) => {
  const { folder, path } = folderOf(t);
  fill(path, 3);
  const swap = (from: string, to: string) => {
    for (const name of readdirSync(folder)) {
      if (name.includes(from)) renameSync(join(folder, name), join(folder, name.replace(from, to)));
    }
  };
  swap("1-of-3", "x");
  swap("2-of-3", "1-of-3");
  swap(".x.", ".2-of-3.");
  const opened = openStore(path, 3);
  const found = countFound(opened);
  assert.ok(found > 0 && found < KEYS && found === opened.values[2]!.count, String(found));
  await turn();
  assert.equal(opened.faults.length, 2);
  for (const fault of opened.faults) assert.match(fault, /values of other shards/);
  opened.close();
});

test("snapshots have the room that shards leave which have only one", async (t) => {
  const { folder, path, files } = folderOf(t);
  const max = 48 * MIB;
  const options = {
    ...{ memoryMax: "30MiB", shards: 3, tiers: false, dictionary: false },
    persist: { path, max },
  } as const;
  const COUNT = 11_000;
  const value = randomFillSync(new Uint8Array(2000));
  const cache = Cache.create<string, Uint8Array>(options);
  let most = 0;
  for (let nth = 0; nth < 3 * COUNT; nth++) {
    new DataView(value.buffer).setUint32(0, nth);
    assert.ok(cache.set(`key ${nth % COUNT}`, value));
    if (nth % 100 !== 0) continue;
    await turn();
    const sizes = files().map((name) => statSync(join(folder, name)).size);
    most = Math.max(
      most,
      sizes.reduce((sum, size) => sum + size, 0),
    );
  }
  const { entries, persist } = cache.stats();
  assert.ok(persist!.snapshots > 3, `${persist!.snapshots} snapshots`);
  assert.equal(persist!.errors, 0);
  await cache.close();
  assert.equal(entries, COUNT);
  assert.ok(most <= max, `${most} bytes of files`);
  const again = Cache.create<string, Uint8Array>(options);
  t.after(() => again.close());
  assert.equal(again.stats().entries, COUNT);
  for (let nth = 0; nth < COUNT; nth++) {
    const found = again.get(`key ${nth}`)!;
    assert.equal(new DataView(found.buffer, found.byteOffset).getUint32(0), nth + 2 * COUNT);
  }
});
