// Caches whose process is killed at any moment, again and again: what the next one finds is what
// there was after some call of each thread, and none that was flushed is missing.
//
// ZCACHE_KILLS=1000 kills more of them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Cache } from "../../src/index.ts";
import { BATCH, CACHES, callOf, OPTIONS, parseValue, THREADS, valueSetBy } from "./model.ts";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));
const KILLS = Number(process.env["ZCACHE_KILLS"] ?? 240);
/** How long a child works at most, after it has begun. */
const LIFE_MS = 250;
const START_MS = 120_000;
/** Where nobody waits for a disk, if there is such a place: what is killed is a process. */
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
/** Rounds after which all begins with nothing, so that what goes wrong is not there for ever. */
const ROUNDS = 20;

type State = Map<string, string>;

/** Lets a child work, and kills it. @returns what it said: calls by cache and thread */
async function killOne(folder: string, run: number): Promise<number[][]> {
  const child = spawn(process.execPath, [CHILD, folder, String(run)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("latin1");
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const ready = new Promise<void>((resolve) => {
    child.stdout.on("data", (data: string) => {
      text += data;
      if (text.startsWith("ready")) resolve();
    });
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
  await Promise.race([ready, exited]);
  // Also before it has done anything, and while a thread begins.
  await sleep(((run * 7919) % 1000) * (LIFE_MS / 1000));
  child.kill("SIGKILL");
  await exited;
  clearTimeout(timer);
  assert.ok(text.startsWith("ready\n"), "the child has begun");
  const flushed = Array.from({ length: CACHES }, () => new Array<number>(THREADS).fill(0));
  // The last line may be cut.
  for (const line of text.split("\n").slice(1, -1)) {
    const [cache, thread, n] = line.split(" ").map(Number);
    flushed[cache!]![thread!] = n!;
  }
  return flushed;
}

/** What a thread's own keys held at first, and after each call that may have been the last. */
function statesOf(before: State, run: number, cache: number, thread: number, flushed: number) {
  const state: State = new Map([...before].filter(([key]) => key.startsWith(`${thread} has`)));
  const states: State[] = [];
  for (let n = 0; n <= flushed + BATCH; n++) {
    if (n > 0) {
      const call = callOf(run, cache, thread, n);
      if (!call.isShared && call.what === "delete") state.delete(call.key);
      else if (!call.isShared) state.set(call.key, valueSetBy(run, thread, n, call));
    }
    if (n >= flushed) states.push(new Map(state));
  }
  return states;
}

function isSame(a: State, b: State): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
}

/** Values under keys that all threads set are of calls for these, and none is too old. */
function checkShared(state: State, before: State, run: number, cache: number, flushed: number[]) {
  for (const [key, value] of state) {
    if (!key.startsWith("shared")) continue;
    const of = parseValue(value);
    if (of.run !== run) {
      assert.equal(value, before.get(key), `${key}: as it was before`);
      of.n = 0;
    } else {
      const call = callOf(run, cache, of.thread, of.n);
      assert.equal(call.key, key);
      assert.equal(value, valueSetBy(run, of.thread, of.n, call));
    }
    const threads = of.n === 0 ? flushed.keys() : [of.thread];
    for (const thread of threads) {
      for (let n = of.n + 1; n <= flushed[thread]!; n++) {
        assert.notEqual(callOf(run, cache, thread, n).key, key, `${key} is of call ${of.n}`);
      }
    }
  }
  for (const key of before.keys()) {
    if (key.startsWith("shared")) assert.ok(state.has(key), `${key} is still there`);
  }
}

test(`${KILLS} caches that are killed lose nothing that was flushed`, async (t) => {
  let folder = "";
  let before: State[] = [];
  let snapshots = 0;
  let records = 0;
  const ms = { child: 0, checks: 0 };
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const rounds = Math.ceil(KILLS / CACHES);
  for (let run = 1; run <= rounds; run++) {
    if ((run - 1) % ROUNDS === 0) {
      if (folder !== "") rmSync(folder, { recursive: true });
      folder = mkdtempSync(join(FOLDER, "zcache-kill-"));
      before = Array.from({ length: CACHES }, () => new Map());
    }
    const begin = performance.now();
    const flushed = await killOne(folder, run);
    ms.child += performance.now() - begin;
    for (let nth = 0; nth < CACHES; nth++) {
      const cache = Cache.create<string, string>(OPTIONS(folder, nth));
      const state: State = new Map(cache);
      const { recovered, snapshotBytes } = cache.stats().persist!;
      const what = `run ${run}, cache ${nth}: ${JSON.stringify(recovered)}`;
      assert.equal(recovered.gaps + recovered.damagedBytes + recovered.refused, 0, what);
      for (let thread = 0; thread < THREADS; thread++) {
        const own = new Map([...state].filter(([key]) => key.startsWith(`${thread} has`)));
        const states = statesOf(before[nth]!, run, nth, thread, flushed[nth]![thread]!);
        assert.ok(
          states.some((one) => isSame(one, own)),
          `${what}: thread ${thread} has a state of its calls from ${flushed[nth]![thread]} on`,
        );
      }
      checkShared(state, before[nth]!, run, nth, flushed[nth]!);
      cache.store.verify();
      assert.equal(cache.size, state.size, what);
      if (snapshotBytes > 0) snapshots++;
      records += recovered.records;
      before[nth] = state;
      cache.close();
    }
    ms.checks += performance.now() - begin;
  }
  t.diagnostic(`${records} records, ${snapshots} with a snapshot, ${JSON.stringify(ms)}`);
  if (rounds >= 10) assert.ok(snapshots > rounds, "many were killed that had a snapshot");
});
