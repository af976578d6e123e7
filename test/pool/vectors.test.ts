// The allocators against the original C code: the page counts of every checkpoint must be equal.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Replay, type ReplayRow } from "../../src/lab/replay.ts";
import { parseTraceLine } from "../../src/lab/trace.ts";
import { Arena } from "../../src/memory/arena.ts";
import { createPool, findPoolDriver } from "../../src/pool/registry.ts";

const VECTORS = fileURLToPath(new URL("../../../test/vectors/", import.meta.url));
const DISTRIBUTIONS = ["histA", "uniform", "hist_mixlz4"] as const;
/** What we do not build, with the reason. */
const NOT_BUILT: Readonly<Record<string, string>> = {
  "z3fold-6.12": "removed upstream for its defects; z3fold is v4 repaired",
};

/** The rows of a pages file, by allocator, in the columns that `replay` prints. */
function expectedRows(distribution: string): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  const lines = readFileSync(`${VECTORS}pages_${distribution}.csv`, "utf8").trim().split("\n");
  for (const line of lines.slice(1)) {
    const [, alloc, , , phase, ops, objs, rejects, stored, pages] = line.split(",");
    const list = rows.get(alloc!) ?? [];
    list.push([phase, ops, objs, rejects, stored, pages].join(","));
    rows.set(alloc!, list);
  }
  return rows;
}

/** Our phases under the names of the pages files; undefined for rows that those do not have. */
function phaseInVectors(row: ReplayRow): string | undefined {
  if (/^churn round [0-8]$/.test(row.phase)) return undefined;
  if (row.phase === "churn round 9") return "churn";
  if (row.phase === "compact") return "free70+compact";
  return row.phase;
}

function replay(name: string, distribution: string): string[] {
  using arena = Arena.create({ sizeBytes: 256 * 1024 * 1024 });
  const pool = createPool(name, arena);
  const rows: string[] = [];
  const run = new Replay(pool, name, (row) => {
    const phase = phaseInVectors(row);
    if (phase === undefined) return;
    rows.push([phase, row.ops, row.objs, row.rejects, row.stored_bytes, row.pages].join(","));
    if (row.phase === "cp" && row.ops === 21_504)
      rows.push(rows.at(-1)!.replace("cp", "half-freed"));
  });
  const lines = readFileSync(`${VECTORS}trace_${distribution}.csv`, "utf8").split("\n");
  lines.forEach((text, index) => {
    const step = parseTraceLine(text, index + 1);
    if (step !== undefined) run.step(step);
  });
  run.end();
  pool.verify();
  pool.destroy();
  arena.frames.verify();
  return rows;
}

assert.ok(existsSync(VECTORS), "the vectors stand in test/vectors");
for (const distribution of DISTRIBUTIONS) {
  for (const [name, expected] of expectedRows(distribution)) {
    const reason = NOT_BUILT[name];
    test(`${name} on ${distribution}`, { skip: reason ?? false }, () => {
      findPoolDriver(name);
      assert.deepEqual(replay(name, distribution), expected);
    });
  }
}
