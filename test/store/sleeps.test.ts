// A single thread never sleeps in a store: under the arena's lock, whatever it does inside pools,
// it has nobody to step aside for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { poolTypes } from "../../src/pool/registry.ts";
import { openStore, StoreModel } from "../doubles/store_fixture.ts";

const KINDS = ["text", "sparse", "noise"] as const;

/** Counts sleeps of this thread while `work` runs. */
function sleepsIn(work: () => void): number {
  const { wait } = Atomics;
  let sleeps = 0;
  Atomics.wait = ((...args: Parameters<typeof wait>) => {
    sleeps++;
    return wait(...args);
  }) as typeof wait;
  try {
    work();
  } finally {
    Atomics.wait = wait;
  }
  return sleeps;
}

for (const pool of poolTypes()) {
  test(`${pool}: puts, removals, compaction and maintenance without a sleep`, () => {
    const store = openStore({ memoryMax: "1MiB", pool });
    const model = new StoreModel(store, true);
    const sleeps = sleepsIn(() => {
      for (let nth = 0; nth < 6000; nth++) {
        const at = (nth * 7919) % 700;
        if (nth % 3 === 2) model.flush(1, at);
        else model.put(1, at, KINDS[nth % 7 < 4 ? 0 : nth % 2 ? 1 : 2]);
        if (nth % 50 === 0) store.maintain();
      }
      store.compact(64);
    });
    assert.equal(sleeps, 0);
    if (store.stats().persistent.pool.pagesCompacted === 0) {
      assert.ok(pool !== "zsmalloc", "zsmalloc has been compacted");
    }
    model.checkAll();
    store.verify();
    store.close();
  });
}
