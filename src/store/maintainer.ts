// The maintainer: a thread, if there is one, that reclaims memory and writes to the file in the
// background, so that threads that put pages need not.
import { put } from "../memory/journal.ts";
import { Latency } from "./counters.ts";
import { populateForPuts } from "./resident_memory.ts";
import type { StoreState } from "./state.ts";
import { recordSince } from "./statistics.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import { flushStep, isLow, isVeryLow, maintain, reclaimStep } from "./write_back.ts";

/** The maintainer also wakes up by itself, to clean segments. */
const LOOK_EVERY_MS = 100;
const LOOK_EVERY_MS_SHARDED = 5;
/** Calls for the maintainer between two checks of whether it is alive. */
const CALLS_PER_LOOK = 256;

/**
 * Runs maintenance until the store is closed.
 * @param states its shards; the first one is waited for, so calls to the others are heard later
 */
export function serveMaintenance(states: readonly StoreState[]): void {
  const { words, root } = states[0]!;
  const lookEveryMs = states.length === 1 ? LOOK_EVERY_MS : LOOK_EVERY_MS_SHARDED;
  for (const state of states) {
    transaction(state, () => put(state.words, state.root + Store.MAINTAINER, state.arena.owner));
  }
  try {
    while (Atomics.load(words, root + Store.CLOSED) === 0) {
      const calls = Atomics.load(words, root + Store.WORK);
      // All of them get a step, also after one that has more to do.
      if (states.filter(maintain).length > 0) continue;
      Atomics.wait(words, root + Store.WORK, calls, lookEveryMs);
    }
  } finally {
    for (const state of states) {
      forget(state, state.arena.owner);
      Atomics.notify(state.words, state.root + Store.MAINTAINER);
    }
  }
}

/**
 * Wakes the maintainer. Little free memory means that it does not keep up: then the calling thread
 * does the work. A dead maintainer is found after some calls, and forgotten.
 * @returns whether a maintainer does the work
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

/** Records that a maintainer has died or ended. */
function forget(state: StoreState, maintainer: number): void {
  const { words, root } = state;
  transaction(state, () => {
    // Another maintainer may have started meanwhile.
    if (words[root + Store.MAINTAINER] === maintainer) put(words, root + Store.MAINTAINER, 0);
  });
}

/**
 * After a put: prepares memory for the next ones. If memory is low and no maintainer works on that,
 * runs one round of reclaim.
 */
export function makeRoomAfterPut(state: StoreState): void {
  populateForPuts(state);
  if (!isLow(state) || isServed(state)) return;
  const begin = state.platform.clock.nowNs();
  reclaimStep(state);
  flushStep(state);
  recordSince(state, Latency.RECLAIM, begin);
}

/** Makes all threads find the store closed, and wakes the maintainer, which ends then. */
export function markClosed({ words, root }: StoreState): void {
  Atomics.store(words, root + Store.CLOSED, 1);
  Atomics.add(words, root + Store.WORK, 1);
  Atomics.notify(words, root + Store.WORK);
}

/** How long to wait for a thread that is writing to the file before the file is closed. */
const CLOSE_WAIT_MS = 5000;
const CLOSE_LOOK_MS = 5;

/**
 * Waits until no other thread writes to the file: closing it would take the descriptor from under
 * such a thread.
 */
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
