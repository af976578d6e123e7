// Memory pressure in a real control group (version 1): another process of the group needs memory
// that the cache has, gets it, and nothing is killed. Needs root, and `koffi`.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MIB } from "../../src/base/units.ts";
import { memoryCalls } from "../../src/node/memory_calls.ts";
import type { PressureStats } from "../../src/store/pressure_stats.ts";

const TOP = "/sys/fs/cgroup/memory";
const GROUP = `${TOP}/zcache-test-${process.pid}`;
const GROUP_BYTES = 512 * MIB;
const CACHE_BYTES = 320 * MIB;
/** More than what is left beside the full cache. */
const TAKEN_BYTES = 240 * MIB;
const INDEX = new URL("../../src/index.js", import.meta.url).href;
const WAIT_MS = 240_000;

/** Why this can't be tested here, if so. */
function obstacle(): string | false {
  try {
    memoryCalls();
    mkdirSync(GROUP);
    writeFileSync(`${GROUP}/memory.limit_in_bytes`, String(GROUP_BYTES));
    return false;
  } catch (error) {
    return `needs root, the memory controller of cgroup version 1, and koffi: ${error}`;
  }
}

const skip = obstacle();

after(() => {
  try {
    rmdirSync(GROUP);
  } catch {
    // It was never made.
  }
});

/** Sets and gets values all the time, and prints a line of figures now and then. */
const CACHE = `
  import { randomFillSync } from "node:crypto";
  const { Cache } = await import(${JSON.stringify(INDEX)});
  const cache = Cache.create({
    memoryMax: ${CACHE_BYTES}, codec: "none", tiers: false, dictionary: false, pressure: "auto",
  });
  const value = new Uint8Array(8000);
  let nth = 0;
  setInterval(() => {
    for (let i = 0; i < 400; i++) cache.set("key" + nth++, randomFillSync(value));
  }, 5);
  setInterval(() => {
    const { memoryUsed, memoryMax, store } = cache.stats();
    console.log(JSON.stringify({ memoryUsed, memoryMax, pressure: store.pressure }));
  }, 50);
`;

/** Takes memory step by step, keeps it until it may end. */
const OTHER = `
  const parts = [];
  const step = () => {
    if (parts.length * ${4 * MIB} >= ${TAKEN_BYTES}) {
      console.log("done");
      process.stdin.resume().on("end", () => process.exit(0));
      return;
    }
    parts.push(Buffer.alloc(${4 * MIB}, 1));
    setTimeout(step, 20);
  };
  step();
`;

interface Figures {
  readonly memoryUsed: number;
  readonly memoryMax: number;
  readonly pressure: PressureStats;
}

/** Starts a program in the control group. */
function startInGroup(program: string) {
  const join = `import { writeFileSync as join } from "node:fs";
    join(${JSON.stringify(`${GROUP}/cgroup.procs`)}, String(process.pid));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", join + program], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  return { child, lines: createInterface({ input: child.stdout }) };
}

test("a process of the same group gets the memory it needs, and nothing is killed", {
  skip,
}, async () => {
  const cache = startInGroup(CACHE);
  let figures: Figures | undefined;
  cache.lines.on("line", (line) => {
    figures = JSON.parse(line) as Figures;
  });
  const until = async (what: string, holds: (figures: Figures) => boolean) => {
    const endMs = performance.now() + WAIT_MS;
    while (figures === undefined || !holds(figures)) {
      assert.equal(cache.child.exitCode ?? cache.child.signalCode, null, "the cache lives");
      assert.ok(performance.now() < endMs, `${what}: ${JSON.stringify(figures)}`);
      await sleep(20);
    }
  };
  try {
    await until("the cache is full", (now) => now.memoryUsed > 0.97 * CACHE_BYTES);
    const { memoryMax } = figures!;
    const other = startInGroup(OTHER);
    const ended = new Promise((resolve) => other.child.once("exit", (...how) => resolve(how)));
    await Promise.race([new Promise((resolve) => other.lines.once("line", resolve)), ended]);
    await until("the limit is lower", (now) => now.memoryMax < memoryMax);
    assert.ok(figures!.pressure.lowered > 0);
    assert.equal(figures!.pressure.source, "control group");
    other.child.stdin.end();
    assert.deepEqual(await ended, [0, null]);
    await until("the cache grows back", (now) => now.memoryUsed > 0.97 * CACHE_BYTES);
    assert.match(readFileSync(`${GROUP}/memory.oom_control`, "latin1"), /^oom_kill 0$/m);
  } finally {
    const isOver = new Promise((resolve) => cache.child.once("exit", resolve));
    cache.child.kill();
    if (cache.child.exitCode === null && cache.child.signalCode === null) await isOver;
  }
});
