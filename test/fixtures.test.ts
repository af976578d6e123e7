// Files that versions of zcache have written (scripts/make-fixtures.mjs), and what a start makes of
// them: each is read, or refused with one line that names both versions.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { VERSION } from "../src/base/version.ts";
import { Cache, type CacheShare } from "../src/index.ts";
import * as Super from "../src/memory/arena.layout.ts";
import { RESTART_VERSION } from "../src/persist/header.ts";
import * as Root from "../src/store/store.layout.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FIXTURES = join(ROOT, "test/fixtures");
const home = mkdtempSync(join(tmpdir(), "zcache-fixtures-"));
after(() => rmSync(home, { recursive: true }));

/** A copy of a fixture, which a start may change. */
function copyOf(name: string): string {
  const folder = mkdtempSync(join(home, "copy-"));
  cpSync(join(FIXTURES, name), folder, { recursive: true });
  return folder;
}

function open(folder: string, existing: "recover" | "discard" = "recover") {
  const persist = { path: join(folder, "c"), existing };
  return Cache.create<string, unknown>({ memoryMax: "8MiB", dictionary: false, persist });
}

/** What make-fixtures.mjs sets in each of its processes. */
function expected(starts: number): Map<string, unknown> {
  return new Map<string, unknown>([
    ["text", "plain text, again and again ".repeat(20)],
    ["ümläut", "漢字 🎉"],
    ["bytes", Uint8Array.from({ length: 300 }, (_, i) => (i * i) & 255)],
    ["object", { list: [1, 2n, null], nested: { date: new Date(0) } }],
    ["long", "a long value has parts; ".repeat(4000)],
    ["for ever", "x"],
    ...Array.from({ length: starts }, (_, n) => [`start ${n}`, n] as const),
  ]);
}

const names = readdirSync(FIXTURES).sort();

test("there are fixtures of the version that is written, and of each before it", () => {
  for (let version = 1; version <= Number(RESTART_VERSION); version++) {
    for (const what of ["logs", "snapshot"]) {
      assert.ok(names.includes(`restart-${version}-${what}`), `restart-${version}-${what}`);
    }
  }
});

for (const name of names.filter((one) => one.startsWith("restart-"))) {
  test(`${name} is read`, () => {
    const folder = copyOf(name);
    let cache = open(folder);
    const { gaps, damagedBytes, tornBytes, lostFiles } = cache.stats().persist!.recovered;
    assert.equal(gaps + damagedBytes + tornBytes + lostFiles, 0);
    assert.deepEqual(new Map(cache), expected(name.endsWith("logs") ? 2 : 7));
    cache.set("new", 1);
    cache.close();
    cache = open(folder);
    assert.equal(cache.get("new"), 1);
    assert.equal(cache.get("ümläut"), "漢字 🎉");
    cache.close();
  });
}

/** As a build of that version would have made it: with a check of its own. */
function withVersion(path: string, version: string): void {
  const bytes = readFileSync(path);
  bytes.write(version, 15, "latin1");
  createHash("sha256").update(bytes.subarray(0, 92)).digest().copy(bytes, 92, 0, 4);
  writeFileSync(path, bytes);
}

for (const version of ["0", "9"]) {
  test(`files of version ${version} of persist are refused, or discarded if wanted`, () => {
    for (const whole of [true, false]) {
      const folder = copyOf(`restart-${RESTART_VERSION}-logs`);
      const paths = readdirSync(folder).map((file) => join(folder, file));
      for (const path of whole ? paths : paths.slice(1)) withVersion(path, version);
      const before = paths.map((path) => readFileSync(path));
      const text = `version "${version}" of these files, and this zcache reads versions 1 and 2; `;
      assert.throws(() => open(folder), {
        code: "ERR_OPTION",
        message: new RegExp(`${text}existing: "discard" begins without it$`),
      });
      assert.deepEqual(
        paths.map((path) => readFileSync(path)),
        before,
        "they stay as they are",
      );
      const cache = open(folder, "discard");
      assert.equal(cache.size, 0);
      cache.close();
    }
  });
}

test("shares of another version are refused, naming both", () => {
  assert.equal(VERSION, JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).version);
  const cache = Cache.create({ memoryMax: "4MiB" });
  const share = cache.share();
  const attach = (wrong: unknown) => () => Cache.attach(wrong as CacheShare);
  for (const version of [0, 9]) {
    assert.throws(attach({ ...share, zcacheCache: version }), {
      code: "ERR_STORE_SHARE",
      message: new RegExp(`is of version ${version}, and this thread knows version 1: let all`),
    });
    for (const [at, code, known] of [
      [Super.VERSION, "ERR_ARENA_SHARE", Super.ARENA_VERSION],
      [share.store.zcacheStore + Root.VERSION, "ERR_STORE_SHARE", Root.STORE_VERSION],
    ] as const) {
      const { words } = cache.store.arena;
      words[at] = version;
      assert.throws(attach(share), (error: Error & { code: string }) => {
        assert.equal(error.code, code);
        assert.match(error.message, new RegExp(`\\b${version}\\b.*\\b${known}\\b.*same version`));
        return true;
      });
      words[at] = known;
    }
    const arena = { ...share.store.arena, zcache: `${version}.1.2` };
    assert.throws(attach({ ...share, store: { ...share.store, arena } }), {
      code: "ERR_ARENA_SHARE",
      message: new RegExp(`of zcache ${version}.1.2, and .* of zcache ${VERSION}: let all`),
    });
  }
  Cache.attach(share).detach();
  cache.close();
});
