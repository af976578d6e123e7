// Caches whose process is killed at random moments, again and again: the next process finds the
// values as they were after some call of each thread, and no call that was flushed is missing.
//
// ZCACHE_KILLS=1000 makes more rounds.
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
/** Maximum time for which a child works. */
const LIFE_MS = 250;
const START_MS = 120_000;
/** A file system in memory if there is one: only the process is killed, not the machine. */
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
/** Rounds after which the files are removed, so that one fault does not fail all later rounds. */
const ROUNDS = 20;

type State = Map<string, string>;

/** Lets a child work, and kills it. @returns its reports: calls by cache and thread */
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
  // The kill may also hit the start of the process or of a thread.
  await sleep(((run * 7919) % 1000) * (LIFE_MS / 1000));
  child.kill("SIGKILL");
  await exited;
  clearTimeout(timer);
  assert.ok(text.startsWith("ready\n"), "the child has begun");
  const flushed = Array.from({ length: CACHES }, () => new Array<number>(THREADS).fill(0));
  // The last line may be incomplete.
  for (const line of text.split("\n").slice(1, -1)) {
    const [cache, thread, n] = line.split(" ").map(Number);
    flushed[cache!]![thread!] = n!;
  }
  return flushed;
}

/** The values of a thread's own keys, at first and after each call that may be the last one. */
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

/** The same for a cache with several shards: the log of each ends at another of the states. */
function isSameByKey(states: readonly State[], own: State): boolean {
  const keys = new Set([...own.keys(), ...states.flatMap((state) => [...state.keys()])]);
  return [...keys].every((key) => states.some((state) => state.get(key) === own.get(key)));
}

/** Checks keys that all threads set: each value is of a call for its key, and not too old. */
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

test(`${KILLS} caches of killed processes lose no flushed change`, async (t) => {
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
        const isOne = cache.group.stores.length === 1;
        assert.ok(
          isOne ? states.some((state) => isSame(state, own)) : isSameByKey(states, own),
          `${what}: thread ${thread} has a state of its calls from ${flushed[nth]![thread]} on`,
        );
      }
      checkShared(state, before[nth]!, run, nth, flushed[nth]!);
      cache.group.verify();
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
