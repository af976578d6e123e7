// Damage of any kind to the files of `persist`: the next cache starts with the intact values. All
// of them are right, losses are reported, and foreign files stay as they are.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { Cache, type ZcacheError } from "../../src/index.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const home = temporaryFolder("damage");

/** Random damages for each run, in addition to one of each kind for each of its first files. */
const RANDOM_CASES = 40;

type Existing = "recover" | "discard";

function open(folder: string, existing: Existing = "recover"): Cache<string, string> {
  return Cache.create<string, string>({
    ...{ memoryMax: "8MiB", backgroundMs: 0, tiers: false, dictionary: false },
    persist: { path: join(folder, "p"), max: "16MiB", flushMs: 60_000, existing },
  });
}

/** The files of a run, by name, and the values that it has stored. */
interface Run {
  readonly files: ReadonlyMap<string, Buffer>;
  /** The last value of each key, and all of its values. */
  readonly last: ReadonlyMap<string, string>;
  readonly ever: ReadonlyMap<string, ReadonlySet<string>>;
}

function filesOf(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder).sort();
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

/** @param starts number of processes, in turn @param isKilled the last one does not close */
async function run(starts: number, isKilled: boolean): Promise<Run> {
  const folder = mkdtempSync(join(home, "run-"));
  const last = new Map<string, string>();
  const ever = new Map<string, Set<string>>();
  let files = new Map<string, Buffer>();
  for (let start = 0; start < starts; start++) {
    const cache = open(folder);
    for (let n = 0; n < 120; n++) {
      const key = `key ${(n * 7 + start * 3) % 50}`;
      const value = `${start}/${n}/`.repeat(n % 29 === 0 ? 6000 : n % 40);
      if (n % 5 === 4) last.delete(key);
      else last.set(key, value);
      if (n % 5 === 4) cache.delete(key);
      else cache.set(key, value);
      ever.set(key, (ever.get(key) ?? new Set()).add(value));
    }
    cache.flush();
    files = filesOf(folder);
    cache.close();
  }
  if (!isKilled) files = filesOf(folder);
  files.delete("p.log.lock");
  return { files, last, ever };
}

/** A damage: `at` is a position as a part of the length, `to` chooses another file or bytes. */
interface Damage {
  readonly what: keyof typeof KINDS;
  readonly file: number;
  readonly at: number;
  readonly to: number;
  readonly bit: number;
}

/** A file to damage. */
interface Target extends Damage {
  readonly folder: string;
  readonly path: string;
  readonly bytes: Buffer;
  /** Byte offset of `at`. */
  readonly place: number;
  /** Another file or the same one. */
  readonly other: string;
  /** The name of a later file. */
  readonly later: string;
}

const TEXT = "my diary, and no file of a cache\n".repeat(9);
const ELF = readFileSync(process.execPath).subarray(0, 5000);

function randomBytes(seed: number, length: number): Buffer {
  let state = seed + 1;
  return Buffer.alloc(length).map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  }) as Buffer;
}

function flip({ path, bytes, bit }: Target, place: number): void {
  const copy = Buffer.from(bytes);
  if (copy.length > 0) copy[place]! ^= 1 << bit;
  writeFileSync(path, copy);
}

/** Replaces the file by a foreign one. @returns its name */
function replace({ path }: Target, make: (path: string) => unknown): string {
  rmSync(path);
  make(path);
  return path;
}

/** All kinds of damage. Each returns the path of the foreign file that it makes, if any. */
const KINDS = {
  zeros: ({ path, bytes }: Target) => writeFileSync(path, Buffer.alloc(bytes.length)),
  cut: ({ path, bytes, place }: Target) => writeFileSync(path, bytes.subarray(0, place)),
  cutHead: ({ path, bytes, place }: Target) =>
    writeFileSync(path, bytes.subarray(1 + Math.min(place, 200))),
  grow: ({ path, bytes, to }: Target) =>
    writeFileSync(path, Buffer.concat([bytes, randomBytes(to, 5000)])),
  growZeros: ({ path, bytes }: Target) =>
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(100_000)])),
  flip: (target: Target) => flip(target, target.place),
  flipInHeader: (target: Target) => flip(target, Math.floor(target.at * 96)),
  flipInMagic: (target: Target) => flip(target, Math.floor(target.at * 16)),
  swap: ({ path, other, bytes }: Target) => {
    writeFileSync(path, readFileSync(other));
    writeFileSync(other, bytes);
  },
  remove: ({ path }: Target) => rmSync(path),
  copyOver: ({ other, bytes }: Target) => writeFileSync(other, bytes),
  renameUp: ({ path, later }: Target) => renameSync(path, later),
  zeroTail: ({ path, bytes, place }: Target) =>
    writeFileSync(path, Buffer.from(bytes).fill(0, place)),
  random: (target: Target) =>
    replace(target, (path) => writeFileSync(path, randomBytes(target.to, target.bytes.length))),
  text: (target: Target) => replace(target, (path) => writeFileSync(path, TEXT)),
  elf: (target: Target) => replace(target, (path) => writeFileSync(path, ELF)),
  folder: (target: Target) => replace(target, (path) => mkdirSync(path)),
  fifo: (target: Target) => replace(target, (path) => spawnSync("mkfifo", [path])),
  linkToNothing: (target: Target) =>
    replace(target, (path) => symlinkSync(join(target.folder, "nowhere"), path)),
  linkToText: (target: Target) =>
    replace(target, (path) => {
      writeFileSync(join(home, "text"), TEXT);
      symlinkSync(join(home, "text"), path);
    }),
  textBeside: ({ later }: Target) => {
    writeFileSync(later, TEXT);
    return later;
  },
};

const NAMES = Object.keys(KINDS) as (keyof typeof KINDS)[];

/** The kinds that may leave a log which is intact up to an earlier end. */
const AT_END: readonly string[] = ["cut", "flip", "zeroTail"];

const damage: fc.Arbitrary<Damage> = fc.record({
  what: fc.constantFrom(...NAMES),
  file: fc.nat(100),
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  to: fc.nat(100),
  bit: fc.nat(7),
});

/** Applies a damage. @returns the path of the foreign file, if any */
function apply(folder: string, one: Damage): string | undefined {
  const names = readdirSync(folder).sort();
  const path = join(folder, names[one.file % names.length]!);
  const bytes = readFileSync(path);
  const target: Target = {
    ...one,
    ...{ folder, path, bytes },
    place: Math.floor(one.at * bytes.length),
    other: join(folder, names[one.to % names.length]!),
    later: path.replace(/\d+$/, (number) => String(Number(number) + 3)),
  };
  return KINDS[one.what](target) as string | undefined;
}

/** The content of a regular file, or the kind of another file. */
function lookAt(path: string | undefined): string {
  const stat = path === undefined ? undefined : lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return "nothing";
  return stat.isFile() ? readFileSync(path!, "latin1") : `mode ${stat.mode}`;
}

async function check(from: Run, one: Damage): Promise<void> {
  const folder = mkdtempSync(join(home, "case-"));
  for (const [name, bytes] of from.files) writeFileSync(join(folder, name), bytes);
  const lastLog = readdirSync(folder)
    .filter((name) => name.includes("log"))
    .sort()
    .at(-1)!;
  const foreign = apply(folder, one);
  const before = lookAt(foreign);
  const reopen = (existing?: Existing) => {
    assert.deepEqual(lookAt(foreign), before, "a foreign file stays as it is");
    return open(folder, existing);
  };
  // A log with a damaged end looks like that of a process that was killed there.
  const names = [...from.files.keys()].sort();
  const mayBeOld = AT_END.includes(one.what) && names[one.file % names.length] === lastLog;
  // No file is left that could reveal a loss.
  if (readdirSync(folder).length === 0) return;

  let cache = open(folder);
  await checkFirst(cache, from, mayBeOld);
  cache.set("new", "value");
  cache.delete("key 1");
  const state = new Map(cache);
  cache.store.verify();
  cache.close();
  cache = reopen();
  assert.deepEqual(new Map(cache), state, "the next start has what this one had");
  cache.close();
  cache = reopen("discard");
  assert.equal(cache.size, 0);
  cache.set("only", "value");
  cache.close();
  cache = reopen();
  assert.deepEqual([...cache], [["only", "value"]]);
  cache.close();
  rmSync(folder, { recursive: true });
}

/** Checks that a cache has the values of a run as far as possible, and reports the losses. */
async function checkFirst(cache: Cache<string, string>, from: Run, mayBeOld: boolean) {
  const faults: ZcacheError[] = [];
  cache.on("fault", (error) => faults.push(error));
  const { gaps, damagedBytes, tornBytes, lostFiles, wasClosed } = cache.stats().persist!.recovered;
  for (const [key, value] of cache) {
    if (mayBeOld) assert.ok(from.ever.get(key)?.has(value), `${key} was set to its value`);
    else assert.equal(value, from.last.get(key), `${key} has its last value`);
  }
  const lost = gaps + damagedBytes + tornBytes + lostFiles;
  const isAll = [...from.last].every(([key, value]) => cache.get(key) === value);
  if (!isAll || cache.size !== from.last.size) {
    assert.ok(lost > 0 || !wasClosed, "what was lost is counted");
  }
  await turn();
  assert.equal(faults.length, lost > 0 ? 1 : 0, "losses are reported once");
  for (const { code } of faults) assert.equal(code, "ERR_CORRUPT");
}

const runs = [
  { name: "one log", starts: 1, snapshots: false },
  { name: "several logs", starts: 3, snapshots: false },
  { name: "a snapshot and logs", starts: 7, snapshots: true },
];
for (const { name, starts, snapshots } of runs) {
  for (const isKilled of [false, true]) {
    const end = isKilled ? "killed" : "closed";
    test(`damaged files: ${name}, ${end}`, async () => {
      const from = await run(starts, isKilled);
      assert.equal(
        [...from.files.keys()].some((file) => file.includes("snapshot")),
        snapshots,
      );
      const examples = NAMES.flatMap((what) => {
        const one = { what, at: 0.4, to: 1, bit: 3 };
        return [0, 1, 2].map((file) => [{ ...one, file }] as [Damage]);
      });
      const property = fc.asyncProperty(damage, (one) => check(from, one));
      await fc.assert(property, { numRuns: examples.length + RANDOM_CASES, examples });
    });
  }
}
