// The write-back file: its lock, existing and foreign files of its name, and the effects of
// truncation, overwriting and a full file on a store.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Cache } from "../../src/index.ts";
import { FileDevice } from "../../src/node/file_device.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import type { WriteBackOptions } from "../../src/store/options.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { fillPage } from "../doubles/store_fixture.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const folder = temporaryFolder("file");

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const DEVICE = new URL(`../../src/node/file_device.${EXTENSION}`, import.meta.url).href;
const PAGES = 900;

function device(path: string, options: Partial<Parameters<typeof FileDevice.open>[0]> = {}) {
  const defaults = { sizeBytesMax: 1 << 20, existing: "reuse", preallocate: false } as const;
  return FileDevice.open({ path, ...defaults, ...options });
}

/** A store of 1 MiB with more persistent pages in it than it has room for. */
function spilled(path: string, options: Partial<WriteBackOptions> = {}) {
  const writeBack = { path, max: "8MiB", ...options };
  const store = Store.create({ memoryMax: "1MiB", writeBack }, nodePlatform());
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey().setObject(1);
  const page = new Uint8Array(4096);
  let stored = 0;
  while (stored < PAGES && store.put(pool, key.setIndex(stored), textPage(page, stored)) === 0) {
    stored++;
  }
  return { store, pool, key, page, stored };
}

function textPage(page: Uint8Array, seed: number): Uint8Array {
  return fillPage(page, "text", seed);
}

/** Reads all pages. @returns how many came back, and how many were said to be lost */
function readAll({ store, pool, key, page, stored }: ReturnType<typeof spilled>) {
  const expected = new Uint8Array(4096);
  const seen = { right: 0, missed: 0, codes: new Map<string, number>() };
  for (let index = 0; index < stored; index++) {
    try {
      const found = store.get(pool, key.setIndex(index), page);
      if (found) assert.deepEqual(page, textPage(expected, index));
      if (found) seen.right++;
      else seen.missed++;
    } catch (error) {
      const { code } = error as { code: string };
      seen.codes.set(code, (seen.codes.get(code) ?? 0) + 1);
    }
  }
  return seen;
}

test("more persistent pages than memory: all are read back, byte for byte", () => {
  const fixture = spilled(join(folder, "all"));
  assert.equal(fixture.stored, PAGES);
  assert.ok(fixture.store.stats().counters.written_back_pages > PAGES / 3);
  while (fixture.store.maintain());
  assert.equal(readAll(fixture).right, PAGES);
  fixture.store.verify();
  assert.ok(statSync(join(folder, "all")).size > 65_536);
  fixture.store.close();
  assert.ok(!existsSync(join(folder, "all.lock")), "the lock is given back");
});

test("a truncated or overwritten file causes typed errors, never other bytes", () => {
  for (const harm of ["cut", "overwritten"]) {
    const path = join(folder, harm);
    const fixture = spilled(path);
    while (fixture.store.maintain());
    const { size } = statSync(path);
    if (harm === "cut") truncateSync(path, size / 2);
    else writeFileSync(path, Buffer.alloc(size, "not what was written here"));
    const first = readAll(fixture);
    assert.ok(first.right > 0, "what is in memory stays");
    const told = (first.codes.get("ERR_CORRUPT") ?? 0) + (first.codes.get("ERR_IO") ?? 0);
    assert.ok(told > 0, "what is lost is told");
    assert.equal(first.right + told, PAGES);
    if (harm === "overwritten") {
      assert.equal(fixture.store.stats().counters.lost_pages, told);
      assert.deepEqual(readAll(fixture), { right: first.right, missed: told, codes: new Map() });
      const gone = fixture.store.explain(fixture.pool, fixture.key.setIndex(0));
      assert.ok(gone.stored || /lost|never/.test(gone.reason));
    }
    fixture.store.verify();
    fixture.store.close();
  }
});

test("a full file refuses further pages, and keeps those that it has", () => {
  const fixture = spilled(join(folder, "full"), { max: "1MiB" });
  assert.ok(fixture.stored < PAGES);
  assert.equal(readAll(fixture).right, fixture.stored);
  assert.ok(fixture.store.stats().counters.reject_reclaim_fail > 0);
  for (let index = 0; index < fixture.stored; index += 2)
    fixture.store.flush(fixture.pool, fixture.key.setIndex(index));
  while (fixture.store.maintain());
  assert.equal(
    fixture.store.put(fixture.pool, fixture.key.setIndex(0), textPage(fixture.page, 0)),
    0,
  );
  fixture.store.verify();
  fixture.store.close();
});

test("a foreign file is left as it is", () => {
  const path = join(folder, "foreign");
  writeFileSync(path, "a letter to my mother");
  assert.throws(() => device(path), { code: "ERR_OPTION", message: /no write-back file/ });
  assert.equal(readFileSync(path, "utf8"), "a letter to my mother");
  assert.ok(!existsSync(`${path}.lock`));
  assert.throws(() => device(folder), { code: "ERR_OPTION" });
  assert.throws(() => device(join(folder, "no/such/folder")), { code: "ERR_IO" });
});

test("one process at a time; the file of a killed process is reused or refused", async () => {
  const path = join(folder, "left");
  const script = `import { FileDevice } from ${JSON.stringify(DEVICE)};
    const device = FileDevice.open({ path: ${JSON.stringify(path)}, sizeBytesMax: 1048576,
      existing: "reuse", preallocate: false });
    device.write(65536, new Uint8Array(1000).fill(7));
    console.log("open");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  await once(child.stdout, "data");
  assert.throws(() => device(path), { code: "ERR_FILE_LOCKED", message: /process \d+/ });
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.throws(() => device(path, { existing: "refuse" }), { code: "ERR_OPTION" });
  const again = device(path);
  assert.throws(() => again.read(65_536, new Uint8Array(10)), { code: "ERR_IO" });
  again.close();
  device(path, { preallocate: true }).close();
  assert.equal(statSync(path).size, 1 << 20);
});

test("a write-back file with any damage is reused; a foreign file is not", () => {
  const path = join(folder, "used");
  const fixture = spilled(path);
  while (fixture.store.maintain());
  fixture.store.close();
  const whole = readFileSync(path);
  const head = (bytes: string | Buffer) => {
    const copy = Buffer.from(whole);
    copy.set(Buffer.from(bytes));
    return copy;
  };
  const flipped = Buffer.from(whole);
  flipped[3]! ^= 16;
  const own = {
    "of another version": head("zcache write-back 9\n"),
    "with a flipped bit": flipped,
    "without its header": head(Buffer.alloc(64)),
    zeros: Buffer.alloc(whole.length),
    "cut in the header": whole.subarray(0, 7),
    "cut later": whole.subarray(0, 70_000),
    longer: Buffer.concat([whole, Buffer.alloc(12_345, "x")]),
    empty: Buffer.alloc(0),
  };
  for (const [what, bytes] of Object.entries(own)) {
    writeFileSync(path, bytes, { mode: 0o644 });
    const opened = device(path);
    assert.equal(opened.share().path, path, what);
    assert.equal(statSync(path).size, 20, what);
    assert.equal(statSync(path).mode & 0o777, 0o600, `${what}: others may not read values`);
    opened.close();
  }
  const foreign: Record<string, () => void> = {
    text: () => writeFileSync(path, "my diary\n".repeat(20_000)),
    program: () => writeFileSync(path, readFileSync(process.execPath).subarray(0, 300_000)),
    folder: () => mkdirSync(path),
    fifo: () => spawnSync("mkfifo", [path]),
    "link to nothing": () => symlinkSync(join(folder, "nowhere"), path),
    "link to a device": () => symlinkSync("/dev/null", path),
  };
  for (const [what, make] of Object.entries(foreign)) {
    rmSync(path, { recursive: true });
    make();
    const before = lstatSync(path);
    for (const existing of ["reuse", "refuse"] as const) {
      assert.throws(() => device(path, { existing }), /left as it is; use another path, or/, what);
    }
    const opened = device(path, { existing: "discard" });
    assert.equal(opened.share().path, `${path}.1`, what);
    opened.write(100, Buffer.from("data"));
    opened.close();
    assert.equal(lstatSync(path).mode, before.mode, what);
    assert.equal(lstatSync(path).size, before.size, what);
  }
});

test("a cache reports that its write-back file has another name", async () => {
  const path = join(folder, "diary");
  writeFileSync(path, "my diary");
  const writeBack = { path, existing: "discard", max: "1MiB" } as const;
  const cache = Cache.create({ memoryMax: "2MiB", writeBack });
  const error = await new Promise<Error>((resolve) => void cache.on("fault", resolve));
  assert.match(
    error.message,
    /diary is not a file of zcache and is left as it is: .*diary\.1 is used/,
  );
  cache.close();
  assert.equal(readFileSync(path, "utf8"), "my diary");
});
