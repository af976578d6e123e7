// `--csv` of analyze and simulate: the rows of the JSON, field by field.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { csvText } from "../../src/cli/csv.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const MAIN = fileURLToPath(new URL(`../../src/cli/main.${EXTENSION}`, import.meta.url));

function zcache(...args: string[]) {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
}

test("cells are quoted where CSV requires it, and nested objects become columns", () => {
  const rows = [
    { name: 'a,"b"\nc', ns: { median: 1, p99: 2.5 } },
    { name: "d", ns: { median: 3, p99: 4 } },
  ];
  assert.equal(csvText(rows), 'name,ns.median,ns.p99\n"a,""b""\nc",1,2.5\nd,3,4\n');
  assert.equal(csvText([]), "\n");
});

/** Of rows that depend on nothing but the input. */
const SIMULATE = ["simulate", "--zipf", "0.9", "--keys", "50", "--requests", "500"];

test("simulate prints the results of its JSON", () => {
  const json = zcache(...SIMULATE, "--json");
  const csv = zcache(...SIMULATE, "--csv");
  assert.equal(csv.status, 0, csv.stderr);
  const { results } = JSON.parse(json.stdout) as { results: Record<string, unknown>[] };
  const [head, ...rows] = csv.stdout.trimEnd().split("\n");
  assert.equal(head, Object.keys(results[0]!).join(","));
  assert.deepEqual(
    rows,
    results.map((row) => Object.values(row).join(",")),
  );
  assert.ok(rows.length > 4, `${rows.length} rows`);
});

test("analyze prints a row for each codec and pool", () => {
  const args = ["--codec", "lz4,deflate", "--pool", "zbud,dense", "--csv"];
  const { status, stdout, stderr } = zcache("analyze", MAIN, ...args);
  assert.equal(status, 0, stderr);
  const [head, ...rows] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split(","));
  assert.deepEqual(head!.slice(0, 2), ["codec", "pool"]);
  for (const name of ["effective_ratio", "put_ns.median", "get_ns.p99"]) {
    const column = head!.indexOf(name);
    assert.ok(column > 0, `there is no column ${name} in ${head}`);
    for (const row of rows) assert.ok(Number(row[column]) > 0, `${name} of ${row}`);
  }
  assert.deepEqual(
    rows.map((row) => `${row[0]} ${row[1]}`),
    ["lz4 zbud", "lz4 dense", "deflate zbud", "deflate dense"],
  );
});

test("--csv and --json exclude each other", () => {
  for (const args of [SIMULATE, ["analyze", MAIN]]) {
    const { status, stderr } = zcache(...args, "--csv", "--json");
    assert.equal(status, 2);
    assert.match(stderr, /^zcache: --csv and --json: [^\n]+\n$/);
  }
});
