// Calls of the system for the memory of an arena: which library makes them, what they refuse, and
// what they do where they are real.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import type { Address } from "../../src/base/brand.ts";
import { AssertionError } from "../../src/base/errors.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import { ArenaMemory, loadMemoryCalls, type MemoryCalls } from "../../src/node/memory_calls.ts";

const PAGE = 4 * KIB;
const EINVAL = 22;

/** Calls that are only recorded. @param results of the calls, in turn; 0 afterwards */
function recordedCalls(results: number[] = []) {
  const calls: (readonly [name: string, at: number, sizeBytes: number, how: number])[] = [];
  const record = (name: string) => (region: Uint8Array, sizeBytes: number, how: number) => {
    calls.push([name, region.byteOffset, sizeBytes, how]);
    return results.shift() ?? 0;
  };
  const made: MemoryCalls = {
    by: "koffi",
    systemPage: PAGE,
    madvise: record("madvise"),
    mlock2: record("mlock2"),
  };
  return { made, calls };
}

/** A library in the place of koffi or node:ffi, and what was called in it. */
function libraries(has: readonly string[]) {
  const called: string[] = [];
  const call =
    (name: string) =>
    (...args: unknown[]) => {
      called.push(`${name} ${args.slice(1).join(" ")}`.trim());
      if (name === "getpagesize") return PAGE;
      return name === "madvise" ? -1 : 0;
    };
  const koffi = {
    load: () => ({ func: (declaration: string) => call(/(\w+)\(/.exec(declaration)![1]!) }),
    errno: () => 12,
  };
  const ffi = {
    dlopen: (_: null, wanted: object) => ({
      functions: Object.fromEntries(Object.keys(wanted).map((name) => [name, call(name)])),
    }),
    getInt32: () => 11,
  };
  const load = (name: string) => {
    if (!has.includes(name)) throw new Error(`Cannot find module '${name}'\nRequire stack`);
    return name === "koffi" ? koffi : ffi;
  };
  return { load, called };
}

test("koffi makes the calls, else node:ffi, else the reasons are named", () => {
  const region = new Uint8Array(PAGE);
  for (const [has, by, errno] of [
    [["koffi", "node:ffi"], "koffi", 12],
    [["node:ffi"], "node:ffi", 11],
  ] as const) {
    const { load, called } = libraries(has);
    const calls = loadMemoryCalls(load, "linux");
    assert.equal(calls.by, by);
    assert.equal(calls.systemPage, PAGE);
    assert.equal(calls.madvise(region, PAGE, 4), errno, "the number of the error");
    assert.equal(calls.mlock2(region, PAGE, 1), 0);
    assert.deepEqual(called.slice(-2), [`madvise ${PAGE} 4`, `mlock2 ${PAGE} 1`]);
  }
  assert.throws(() => loadMemoryCalls(libraries([]).load, "linux"), {
    message: "Cannot find module 'koffi'; Cannot find module 'node:ffi'",
  });
  assert.throws(() => loadMemoryCalls(libraries(["koffi"]).load, "darwin"), /for darwin/);
});

test("a region that is not made of whole pages of the arena is never passed on", () => {
  const bytes = new Uint8Array(16 * PAGE);
  const number = fc.oneof(
    fc.integer({ min: -4, max: 20 }).map((pages) => pages * PAGE),
    fc.integer({ min: -PAGE, max: 20 * PAGE }),
    fc.constantFrom(Number.NaN, 0.5, 2 ** 32, 2 ** 53, Number.POSITIVE_INFINITY),
  );
  fc.assert(
    fc.property(number, number, fc.nat(2), (at, sizeBytes, which) => {
      const { made, calls } = recordedCalls();
      const memory = new ArenaMemory(bytes, made);
      const methods = ["release", "useHugePages", "lockTouched"] as const;
      const isWhole = (of: number) => Number.isInteger(of / PAGE);
      const isInside = at >= 0 && sizeBytes > 0 && at + sizeBytes <= bytes.length;
      const run = () => memory[methods[which]!](at as Address, sizeBytes);
      if (isInside && isWhole(at) && isWhole(sizeBytes)) {
        assert.equal(run(), true);
        assert.deepEqual(calls[0]!.slice(1, 3), [at, sizeBytes]);
      } else {
        assert.throws(run, AssertionError);
        assert.deepEqual(calls, []);
      }
    }),
    { numRuns: 500 },
  );
});

test("locked pages are released by the advice for locked pages, from then on", () => {
  const bytes = new Uint8Array(4 * PAGE);
  const { made, calls } = recordedCalls([EINVAL]);
  const memory = new ArenaMemory(bytes, made);
  assert.equal(memory.release(0 as Address, PAGE), true);
  assert.equal(memory.release(PAGE as Address, PAGE), true);
  assert.deepEqual(
    calls.map(([, , , advice]) => advice),
    [4, 24, 24],
  );
  assert.equal(memory.failure, undefined);
});

test("a call that fails says so", () => {
  const bytes = new Uint8Array(4 * PAGE);
  const memory = new ArenaMemory(bytes, recordedCalls([EINVAL, EINVAL, 12]).made);
  assert.equal(memory.release(0 as Address, PAGE), false);
  assert.equal(memory.failure, "madvise failed with error number 22");
  assert.equal(memory.lockTouched(0 as Address, PAGE), false);
  assert.equal(memory.failure, "mlock2 failed with error number 12");
  assert.equal(memory.useHugePages(0 as Address, PAGE), true);
  assert.equal(memory.failure, undefined);
});

/** A figure of the mapping that has the size of an arena at its largest, in bytes. */
function figureOf(arena: Arena, figure: string): number {
  let isArena = false;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    const [name, value] = line.split(/:\s+/) as [string, string | undefined];
    if (name === "Size") isArena = value === `${arena.bytes.length / KIB} kB`;
    if (name === figure && isArena) return Number.parseInt(value!, 10) * KIB;
  }
  return Number.NaN;
}

test("the system takes back exactly the region that it is told", (t) => {
  let calls: MemoryCalls;
  try {
    calls = loadMemoryCalls();
  } catch (error) {
    return t.skip((error as Error).message);
  }
  // A size that no other mapping of the process has.
  // It is not closed: its words are overwritten.
  const arena = Arena.create({ sizeBytes: 64 * MIB + 448 * KIB });
  const memory = new ArenaMemory(arena.bytes, calls);
  arena.bytes.fill(0xa5);
  const before = figureOf(arena, "Rss");
  assert.equal(before, arena.bytes.length);
  assert.equal(memory.release((8 * MIB) as Address, 16 * MIB), true, memory.failure);
  assert.equal(figureOf(arena, "Rss"), before - 16 * MIB);
  // Locked pages need another advice; a process may lock few pages or none.
  if (memory.lockTouched((32 * MIB) as Address, 64 * KIB)) {
    assert.equal(memory.release((32 * MIB) as Address, 64 * KIB), true, memory.failure);
    assert.equal(arena.bytes[32 * MIB], 0);
  }
  const byteAt = (at: number) => arena.bytes[at];
  assert.deepEqual([8 * MIB - 1, 8 * MIB, 24 * MIB - 1, 24 * MIB].map(byteAt), [0xa5, 0, 0, 0xa5]);
  return undefined;
});
