// The points at which a thread can be stopped in the middle of its work: every lock, commit,
// allocation, copy, atomic access and file write. A worker counts the points and ends itself at a
// chosen one. As in a termination no `finally` runs, but each run stops at the same place, and no
// other thread has to terminate it.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { ArenaLock } from "../../src/memory/arena_lock.ts";
import { FrameAllocator } from "../../src/memory/frames.ts";
import { Mutex } from "../../src/memory/mutex.ts";
import { BasePool } from "../../src/pool/base.ts";

/** Words that a worker shares with the test. */
export const STATE = 0; // atomic: RUNNING, STOPPED or ENDED
export const PASSED = 1; // atomic: points passed, for the watchdog
export const STOP_WORDS = 4;

export const RUNNING = 0;
export const STOPPED = 1;
/** The work was over before the chosen point came. */
export const ENDED = 2;

type Methods = Record<string, (...args: unknown[]) => unknown>;

const METHODS: readonly (readonly [object, readonly string[]])[] = [
  [Mutex.prototype, ["lock", "tryLock", "unlock", "reset"]],
  [
    ArenaLock.prototype,
    ["lock", "lockBeside", "tryLockBeside", "commit", "commitBeside", "rollBack", "unlock"],
  ],
  [ArenaLock.prototype, ["enterReader", "leaveReader"]],
  [FrameAllocator.prototype, ["alloc", "free", "handOver", "claimUnpopulated"]],
  [FrameAllocator.prototype, ["beginReturn", "beginReturnIn", "markReturned", "endReturn"]],
  [BasePool.prototype, ["malloc", "free", "readShared", "writeShared"]],
  [Atomics, ["store", "add", "sub", "exchange", "compareExchange", "notify"]],
  [fs, ["writeSync", "fsyncSync", "fdatasyncSync", "ftruncateSync", "renameSync", "unlinkSync"]],
];

const wait = Atomics.wait;
const { store, add } = Atomics;

/** Counts points from now on, in this thread; at the `stopAt`-th, ends the thread. */
export function stopAtPoint(control: Int32Array, stopAt: number): void {
  let left = stopAt;
  const pass = () => {
    add(control, PASSED, 1);
    if (--left === 0) endThread(control, STOPPED);
  };
  for (const [target, names] of METHODS) {
    for (const name of names) {
      const original = (target as Methods)[name]!;
      (target as Methods)[name] = function (this: unknown, ...args: unknown[]) {
        pass();
        const result = original.apply(this, args);
        pass();
        return result;
      };
    }
  }
  syncBuiltinESMExports();
}

/** Reports the state of the thread, and ends the thread at this point. */
export function endThread(control: Int32Array, state: number): never {
  store(control, STATE, state);
  (process.exit as (code: number) => void)(0);
  // The thread is stopped at the next look of the engine.
  for (;;) wait(control, STATE, state);
}
