// A disk that fails once or permanently, at any call of a cache with `persist`: no older value and
// none that `flush` acknowledged is lost, and each failure is reported.
import assert from "node:assert/strict";
import fs, { cpSync, mkdtempSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { Cache, ZcacheError } from "../../src/index.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const home = temporaryFolder("faults");

/** Starts before the one that fails: after five, its close writes a snapshot; after six, not. */
const STARTS = [5, 6] as const;
/** Upper limit of the calls of one kind that a start and a close make. */
const CALLS_MAX = 60;

type Call = "openSync" | "writeSync" | "fsyncSync" | "renameSync" | "readSync" | "unlinkSync";
interface Fault {
  readonly code: string;
  readonly lasts: boolean;
}

/** Not unlinkSync for ever: the lock file would stay, and the check could not open the files. */
const calls: readonly (readonly [Call, Fault])[] = [
  ["openSync", { code: "EMFILE", lasts: false }],
  ["openSync", { code: "EMFILE", lasts: true }],
  ["writeSync", { code: "ENOSPC", lasts: false }],
  ["writeSync", { code: "ENOSPC", lasts: true }],
  ["writeSync", { code: "EIO", lasts: true }],
  ["fsyncSync", { code: "EIO", lasts: false }],
  ["fsyncSync", { code: "EIO", lasts: true }],
  ["renameSync", { code: "ENOSPC", lasts: true }],
  ["readSync", { code: "EIO", lasts: false }],
  ["readSync", { code: "EIO", lasts: true }],
  ["unlinkSync", { code: "EIO", lasts: false }],
];

function open(folder: string): Cache<string, string> {
  return Cache.create<string, string>({
    ...{ memoryMax: "4MiB", backgroundMs: 0, tiers: false, dictionary: false },
    persist: { path: join(folder, "p"), max: "16MiB", flushMs: 60_000 },
  });
}

/**
 * Lets the n-th call fail, and all later ones if the fault is permanent.
 * @returns a function that ends the fault and returns whether the n-th call took place
 */
function failAt(name: Call, { code, lasts }: Fault, nth: number): () => boolean {
  const original = fs[name] as (...args: unknown[]) => unknown;
  let count = 0;
  (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
    // Other files, such as those of /proc, are not on this disk.
    if (typeof args[0] === "string" && !args[0].startsWith(home)) return original(...args);
    if (++count === nth || (lasts && count > nth))
      throw Object.assign(new Error(`${code}: injected`), { code });
    return original(...args);
  };
  syncBuiltinESMExports();
  return () => {
    (fs as unknown as Record<string, unknown>)[name] = original;
    syncBuiltinESMExports();
    return count >= nth;
  };
}

/** Makes the files of some starts, each of which has set the older values. */
function makeBase(starts: number): string {
  const base = mkdtempSync(join(home, "base-"));
  for (let start = 0; start < starts; start++) {
    const cache = open(base);
    for (let n = 0; n < 10; n++) cache.set(`old ${start}/${n}`, `${n} `.repeat(n * 50));
    cache.set("changes", String(start));
    cache.close();
  }
  return base;
}

/** Sets the newer values if possible. @returns the failures, and the acknowledged values */
function work(folder: string) {
  const failures: string[] = [];
  const attempt = (what: () => void) => {
    try {
      what();
      return true;
    } catch (error) {
      assert.ok(error instanceof ZcacheError, String(error));
      assert.equal(error.code, "ERR_IO");
      failures.push(error.message);
      return false;
    }
  };
  let cache: Cache<string, string> | undefined;
  let isFlushed = false;
  attempt(() => {
    cache = open(folder);
  });
  if (cache !== undefined) {
    const made = cache;
    const { gaps, lostFiles } = made.stats().persist!.recovered;
    if (gaps + lostFiles > 0) failures.push(`${gaps} gaps, ${lostFiles} lost files`);
    made.on("fault", ({ message }) => failures.push(message));
    made.set("new", "value");
    made.delete("old 0/1");
    isFlushed = attempt(() => made.flush());
    made.close();
  }
  return { failures, isFlushed };
}

/** Makes the n-th call of a start and a close fail. @returns whether there is an n-th call */
function failOnce(base: string, starts: number, name: Call, fault: Fault, nth: number): boolean {
  const folder = mkdtempSync(join(home, "case-"));
  cpSync(base, folder, { recursive: true });
  const restore = failAt(name, fault, nth);
  let worked: ReturnType<typeof work>;
  let hasFailed = false;
  try {
    worked = work(folder);
  } finally {
    hasFailed = restore();
  }
  if (!hasFailed) return false;
  const what = `${starts} starts, call ${nth}: ${worked.failures.join(" | ")}`;
  const cache = open(folder);
  if (worked.isFlushed) {
    assert.equal(cache.get("new"), "value", what);
    assert.equal(cache.has("old 0/1"), false, what);
  }
  // An unreadable file is a gap: older values are dropped, which is reported.
  const isAll = cache.size >= starts * 10;
  assert.ok(isAll || worked.failures.length > 0, `${what}: ${cache.size} values`);
  if (name !== "readSync") assert.ok(isAll, `${what}: ${cache.size} values`);
  for (const [key, value] of cache) {
    const n = Number(key.split("/")[1]);
    if (key.startsWith("old")) assert.equal(value, `${n} `.repeat(n * 50), what);
    else if (key === "changes") assert.equal(value, String(starts - 1), what);
  }
  cache.store.verify();
  cache.close();
  rmSync(folder, { recursive: true });
  return true;
}

for (const [name, fault] of calls) {
  const how = fault.lasts ? "fails from then on" : "fails once";
  test(`${name} ${how} with ${fault.code}, at each call in turn`, () => {
    let cases = 0;
    for (const starts of STARTS) {
      const base = makeBase(starts);
      let nth = 1;
      while (nth <= CALLS_MAX && failOnce(base, starts, name, fault, nth)) nth++;
      assert.ok(nth <= CALLS_MAX, `${nth} calls`);
      cases += nth - 1;
    }
    assert.ok(cases > 0);
  });
}
