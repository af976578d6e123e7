// Simulated caches: traces are read as written, no budget is exceeded, and the counts are those of
// a plain cache.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ZcacheError } from "../../src/base/errors.ts";
import { KIB } from "../../src/base/units.ts";
import { type GeneratedTrace, generate, TRACE_SHAPES } from "../../src/lab/simulate/generate.ts";
import { keyNumber, readRequest } from "../../src/lab/simulate/request.ts";
import {
  BELADY,
  kindNames,
  kindsByDefault,
  Simulation,
  type SimulationRow,
} from "../../src/lab/simulate/simulation.ts";

const SMALL: GeneratedTrace = {
  shape: "zipf",
  exponent: 0.99,
  keys: 3000,
  requests: 40_000,
  seed: 7,
  sizeMin: 100,
  sizeMax: 2000,
};

function simulate(
  trace: GeneratedTrace,
  kinds: readonly string[],
  { budgetsBytes = [256 * KIB], warmup = 0, ratio = 1 } = {},
): SimulationRow[] {
  const simulation = new Simulation({ kinds, budgetsBytes, overheadBytes: 40, ratio, warmup });
  for (const _ of generate(trace, (key, size) => simulation.request(key, size)));
  return simulation.result();
}

test("lines: with a time or without, any separator; others name the line", () => {
  const read = (text: string, line = 2) => {
    const seen: (readonly [number, number])[] = [];
    readRequest(text, line, (key, size) => seen.push([key, size]));
    return seen;
  };
  const abc = keyNumber("abc");
  assert.ok(abc < 0 && Number.isSafeInteger(abc));
  for (const text of ["1 abc 5", "abc 5", "1,abc,5", "1\tabc\t5\tGET", " abc, 5 ", "9 abc 5\r"]) {
    assert.deepEqual(read(text), [[abc, 5]], text);
  }
  assert.deepEqual(read("17 4711 0"), [[4711, 0]]);
  for (const text of ["", "# time key size"]) assert.deepEqual(read(text), []);
  assert.deepEqual(read("time,key,size", 1), []);
  for (const text of ["time,key,size", "abc", "1 abc -5", "1 abc 1e3", `1 abc ${2 ** 41}`]) {
    assert.throws(
      () => read(text),
      (error) => error instanceof ZcacheError && /^line 2: /.test(error.message),
      text,
    );
  }
  const names = Array.from({ length: 20_000 }, (_, n) => `user:${n}:profile`);
  assert.equal(new Set(names.map(keyNumber)).size, names.length, "names stay apart");
});

for (const shape of TRACE_SHAPES) {
  test(`${shape}: one seed, one trace; a key has one size`, () => {
    const trace = { ...SMALL, shape };
    const run = (): number[] => {
      const seen: number[] = [];
      for (const _ of generate(trace, (key, size) => seen.push(key, size)));
      return seen;
    };
    const seen = run();
    assert.equal(seen.length, 2 * trace.requests);
    assert.deepEqual(run(), seen);
    const sizes = new Map<number, number>();
    for (let at = 0; at < seen.length; at += 2) {
      const [key, size] = [seen[at]!, seen[at + 1]!];
      assert.ok(size >= trace.sizeMin && size <= trace.sizeMax);
      assert.equal(sizes.get(key) ?? size, size);
      sizes.set(key, size);
    }
  });
}

test("lru: the same hits as its plain form, also with values that change their size", () => {
  const simulation = new Simulation({
    kinds: ["lru"],
    budgetsBytes: [64 * KIB],
    overheadBytes: 0,
    ratio: 1,
    warmup: 0,
  });
  const plain = new Map<number, number>();
  let used = 0;
  let hits = 0;
  for (const _ of generate(SMALL, (key, size) => {
    const now = size + (simulation.requests % 3);
    simulation.request(key, now);
    const before = plain.get(key);
    if (before !== undefined) hits++;
    // A value that is found is used first and then made larger; a new one needs room first.
    used += now - (before ?? 0);
    plain.delete(key);
    if (before !== undefined) plain.set(key, now);
    for (const [oldest, bytes] of plain) {
      if (used <= 64 * KIB) break;
      plain.delete(oldest);
      used -= bytes;
    }
    if (before === undefined) plain.set(key, now);
  }));
  const [row] = simulation.result();
  assert.equal(row!.hits, hits);
  assert.ok(hits > 0 && row!.evictions > 0);
});

test("every policy keeps within its budget, and none beats belady", () => {
  // Values of one size: there Belady's is the best possible.
  const trace = { ...SMALL, sizeMin: 1000, sizeMax: 1000 };
  const rows = simulate(trace, kindNames(), { budgetsBytes: [256 * KIB, 512 * KIB] });
  assert.equal(rows.length, 2 * kindNames().length);
  for (const budget of [256 * KIB, 512 * KIB]) {
    const own = rows.filter((row) => row.budgetBytes === budget);
    const best = own.find(({ policy }) => policy === BELADY)!;
    for (const row of own) {
      assert.ok(row.usedBytesMax <= budget, `${row.policy}: ${row.usedBytesMax}`);
      assert.ok(row.usedBytesMax > 0.98 * budget, `${row.policy} leaves memory unused`);
      assert.ok(row.hits > 0 && row.hits <= best.hits, `${row.policy}: ${row.hits}`);
      assert.equal(row.requests, trace.requests);
      assert.ok(row.hitBytes <= row.bytes);
    }
  }
});

test("tinylfu: more hits than lru, sieve and s3-fifo where sizes differ", () => {
  const rows = simulate(SMALL, kindsByDefault(), { warmup: 20_000 });
  const hits = (policy: string) => rows.find((row) => row.policy === policy)!.hits;
  for (const policy of ["lru", "sieve", "s3-fifo", "fifo"]) {
    assert.ok(hits("tinylfu") > hits(policy), `${policy}: ${hits(policy)}, ${hits("tinylfu")}`);
  }
  for (const row of rows) assert.equal(row.requests, 20_000);
});

test("compressed values are more; a value larger than the budget is not stored", () => {
  const [raw] = simulate(SMALL, ["lru"]);
  const [packed] = simulate(SMALL, ["lru"], { ratio: 2.5 });
  assert.ok(packed!.valuesMax > 2 * raw!.valuesMax);
  const [none] = simulate({ ...SMALL, sizeMin: 512 * KIB, sizeMax: 512 * KIB }, ["lru"]);
  assert.equal(none!.hits, 0);
  assert.equal(none!.tooLarge, none!.requests);
});

test("an unknown policy is refused with the names of all", () => {
  const make = () =>
    new Simulation({ kinds: ["mru"], budgetsBytes: [1], overheadBytes: 0, ratio: 1, warmup: 0 });
  assert.throws(
    make,
    (error) =>
      error instanceof ZcacheError && /"mru"; available: s3-fifo, .*gdsf/.test(error.message),
  );
});
