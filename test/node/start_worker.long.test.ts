// Workers of zcache do not inherit the application's flags, preloads and NODE_OPTIONS.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const folder = temporaryFolder("worker");
const TIMEOUT_MS = 120_000;
const ENDING = import.meta.url.endsWith(".ts") ? "ts" : "js";
const source = (name: string) => new URL(`../../src/${name}.${ENDING}`, import.meta.url).href;

const PRELOAD = join(folder, "preload.cjs");
writeFileSync(
  PRELOAD,
  `require("node:fs").appendFileSync(process.env.COUNT_FILE, "x");
process.on("exit", () => require("node:fs").appendFileSync(process.env.COUNT_FILE, "y"));`,
);

/** Trains a dictionary, compares codecs, works in the background: a worker for each. */
const APPLICATION = `
import { Cache } from "${source("index")}";
import { startMaintainer } from "${source("node/maintainer")}";
import { createStore } from "${source("node/stores")}";
import { monitorStore } from "${source("monitor/monitor")}";
const cache = Cache.create({ memoryMax: "32MiB" });
for (let n = 0; n < 3000; n++) cache.set("k" + n, { n, text: "lorem ipsum dolor ".repeat(20) + n });
const { sampleBytes } = await cache.train();
cache.close();
// A comparison does not keep the process alive: in the daemon, its servers do.
const alive = setInterval(() => {}, 1000);
const store = createStore({ memoryMax: 8 << 20 });
const maintainer = startMaintainer(store);
await new Promise((done) => maintainer.once("online", done));
const figures = () => ({ operations: {}, connections: { now: 0, accepted: 0, refused: 0 } });
const monitor = monitorStore({ name: "a", kind: "a", store, figures });
const { rows } = await monitor.whatIf("lz4", "zbud");
await monitor.close();
store.close();
clearInterval(alive);
console.log("trained " + (sampleBytes > 0) + ", compared " + (rows.length > 0));
`;

/** Runs the application; @returns what it said, and how often the preload has run */
function run(flags: readonly string[], nodeOptions: string, viaFile: boolean) {
  const count = join(folder, "count");
  writeFileSync(count, "");
  const script = join(folder, "application.mjs");
  writeFileSync(script, APPLICATION);
  const args = viaFile ? [...flags, script] : [...flags, "--input-type=module", "-e", APPLICATION];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: TIMEOUT_MS,
    env: { ...process.env, COUNT_FILE: count, NODE_OPTIONS: nodeOptions },
  });
  return { status, stdout, stderr, preloads: readFileSync(count, "utf8").match(/x/g)?.length ?? 0 };
}

const CASES: readonly { flags: string[]; options?: string; file?: boolean; preloads?: number }[] = [
  { flags: [] },
  { flags: ["--require", PRELOAD], preloads: 1 },
  { flags: ["--import", PRELOAD], file: true, preloads: 1 },
  { flags: [], options: `--require ${PRELOAD}`, file: true, preloads: 1 },
  { flags: [], options: `--import ${PRELOAD}`, preloads: 1 },
  { flags: ["--max-old-space-size=200", "--expose-gc", "--title=app"], file: true },
  { flags: ["--inspect=127.0.0.1:0", "--stack-trace-limit=5"], file: true },
  { flags: ["--conditions=development", "--trace-warnings"], options: "--no-warnings", file: true },
];

for (const { flags, options = "", file = false, preloads = 0 } of CASES) {
  const shown = [...flags, options && `NODE_OPTIONS=${options}`, file ? "file" : "-e"];
  test(`workers of an application started with ${shown.filter(Boolean).join(" ")}`, () => {
    const ended = run(flags, options, file);
    assert.equal(ended.stdout, "trained true, compared true\n", ended.stderr);
    assert.equal(ended.status, 0);
    assert.equal(ended.preloads, preloads);
  });
}
