// Workers on one store that are terminated at any instant, also inside a critical section: the
// others go on, nothing hangs, everything holds, and every page that was acknowledged is there.
//
// `ZCACHE_STRESS_ROUNDS` multiplies the rounds for a longer run.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { openStore } from "../doubles/store_fixture.ts";
import {
  DONE,
  FLUSH,
  INDEXES,
  NOTE_WORDS,
  PENDING,
  pageOf,
  type StoreWorkerInput,
} from "./store_worker.ts";

const ROUNDS = 40 * Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 1);
const SLOTS = 2;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./store_worker.${EXTENSION}`, import.meta.url);
const skip = process.platform === "linux" ? false : "only Linux tells which threads are dead";

interface Crew {
  readonly store: Store;
  readonly pool: number;
  readonly workers: Worker[];
  readonly notes: Int32Array[];
  readonly errors: Error[];
}

async function start(crew: Crew, slot: number, seed: number): Promise<void> {
  const { store, pool } = crew;
  const input: StoreWorkerInput = {
    share: store.share(),
    pool,
    slot,
    seed,
    notes: crew.notes[slot]!,
  };
  const worker = new Worker(WORKER, { workerData: input });
  worker.on("error", (error) => crew.errors.push(error as Error));
  crew.workers[slot] = worker;
  await new Promise<void>((resolve) => {
    worker.once("message", () => resolve());
    worker.once("exit", () => resolve());
  });
}

/** Compares the pages of a dead worker with its records. */
function check({ store, pool, notes }: Crew, slot: number): void {
  const key = new TmemKey().setObject(slot);
  const page = new Uint8Array(store.pageSize);
  const expected = new Uint8Array(store.pageSize);
  for (let index = 0; index < INDEXES; index++) {
    const note = notes[slot]!.subarray(index * NOTE_WORDS, (index + 1) * NOTE_WORDS);
    const [done, pending] = [note[DONE]!, note[PENDING]!];
    const found = store.get(pool, key.setIndex(index), page);
    const allowed = pending === 0 ? [done] : [done, pending === FLUSH ? 0 : pending];
    const is = allowed.find((serial) =>
      serial === 0 ? !found : found && Buffer.compare(page, pageOf(expected, serial)) === 0,
    );
    assert.ok(is !== undefined, `worker ${slot}, page ${index}: none of ${allowed}, ${found}`);
    note[DONE] = is;
    note[PENDING] = 0;
  }
}

for (const pool of ["dense", "zsmalloc", "z3fold"]) {
  test(`${pool}: workers terminated at random, ${ROUNDS} rounds`, { skip }, async () => {
    const store = openStore({ memoryMax: "4MiB", pool });
    const crew: Crew = {
      store,
      pool: store.createPool({ persistent: true }),
      workers: [],
      notes: Array.from(
        { length: SLOTS },
        () => new Int32Array(new SharedArrayBuffer(INDEXES * NOTE_WORDS * 4)),
      ),
      errors: [],
    };
    const random = new Xorshift32(4711);
    for (let slot = 0; slot < SLOTS; slot++) await start(crew, slot, slot + 1);
    for (let round = 0; round < ROUNDS; round++) {
      const slot = round % SLOTS;
      // What the terminated one holds, the other has to find out.
      await new Promise((resolve) => setTimeout(resolve, random.below(4)));
      await crew.workers[slot]!.terminate();
      check(crew, slot);
      if (round % 10 === 9) store.verify();
      assert.deepEqual(crew.errors, []);
      await start(crew, slot, round + 100);
    }
    for (const worker of crew.workers) await worker.terminate();
    for (let slot = 0; slot < SLOTS; slot++) check(crew, slot);
    store.verify();
    assert.ok(store.stats().recoveries > 0, "some died inside");
    assert.deepEqual(crew.errors, []);
    store.close();
  });
}
