// The thread that works in the background, if there is one: it makes room before memory runs out,
// and writes to the file, so that those who put need not.
import { put } from "../memory/journal.ts";
import { Latency } from "./counters.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import { flushStep, isLow, isVeryLow, maintain, reclaimStep } from "./write_back.ts";

/** It also looks by itself now and then: segments are cleaned without anybody calling. */
const LOOK_EVERY_MS = 100;
/** So many calls for one maintainer are made between two looks at whether it lives. */
const CALLS_PER_LOOK = 256;

/** Works until the store is closed. */
export function serveMaintenance(state: StoreState): void {
  const { words, root, arena } = state;
  transaction(state, () => put(words, root + Store.MAINTAINER, arena.owner));
  try {
    while (Atomics.load(words, root + Store.CLOSED) === 0) {
      const calls = Atomics.load(words, root + Store.WORK);
      if (maintain(state)) continue;
      Atomics.wait(words, root + Store.WORK, calls, LOOK_EVERY_MS);
    }
  } finally {
    forget(state, arena.owner);
    Atomics.notify(words, root + Store.MAINTAINER);
  }
}

/**
 * Calls the maintainer, if there is one that keeps up. One that is too slow shows in how little is
 * left: then whoever puts does the work. One that is dead is found now and then, and forgotten.
 */
export function isServed(state: StoreState): boolean {
  const { words, root } = state;
  const maintainer = words[root + Store.MAINTAINER]!;
  if (maintainer === 0 || maintainer === state.arena.owner) return false;
  const calls = Atomics.add(words, root + Store.WORK, 1);
  Atomics.notify(words, root + Store.WORK, 1);
  if (calls % CALLS_PER_LOOK === 0 && state.arena.isDead(maintainer)) forget(state, maintainer);
  return !isVeryLow(state);
}

/** A maintainer is no more: it has died, or ends. */
function forget(state: StoreState, maintainer: number): void {
  const { words, root } = state;
  transaction(state, () => {
    // Another may have begun meanwhile.
    if (words[root + Store.MAINTAINER] === maintainer) put(words, root + Store.MAINTAINER, 0);
  });
}

/** After a put: where memory is low and nobody else works on it, this thread does one round. */
export function makeRoomAfterPut(state: StoreState): void {
  if (!isLow(state) || isServed(state)) return;
  const begin = state.platform.clock.nowNs();
  reclaimStep(state);
  flushStep(state);
  recordSince(state, Latency.RECLAIM, begin);
}

/** A thread that is in the middle of a write gets so long, then the file is closed. */
const CLOSE_WAIT_MS = 5000;
const CLOSE_LOOK_MS = 5;

/** Waits until no other thread writes to the file: who closes it would pull it from under them. */
export function waitForOthers(state: StoreState): void {
  const { words, root, arena } = state;
  const isOther = (owner: number) => owner !== arena.owner && arena.ownerMayRun(owner);
  for (let waited = 0; waited < CLOSE_WAIT_MS; waited += CLOSE_LOOK_MS) {
    const maintainer = words[root + Store.MAINTAINER]!;
    const isServing = maintainer !== 0 && isOther(maintainer);
    const isBusy = isServing || transaction(state, () => state.backing?.isBusyLocked(isOther));
    if (isBusy !== true) return;
    Atomics.add(words, root + Store.WORK, 1);
    Atomics.notify(words, root + Store.WORK);
    Atomics.wait(words, root + Store.MAINTAINER, maintainer, CLOSE_LOOK_MS);
  }
}
