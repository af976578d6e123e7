// Arenas that are locked in memory: which calls of the system that takes, and what it changes where
// the calls are real.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { MIB } from "../../src/base/units.ts";
import { createStore } from "../../src/index.ts";
import { type MemoryCalls, memoryCalls } from "../../src/node/memory_calls.ts";
import { lockArenas } from "../../src/node/memory_lock.ts";
import { TmemKey } from "../../src/tmem/key.ts";

const MLOCK_ONFAULT = 1;
const EPERM = 1;

function recordedCalls(errno = 0) {
  const locked: (readonly [sizeBytes: number, flags: number])[] = [];
  const made: MemoryCalls = {
    by: "koffi",
    systemPage: 4096,
    madvise: () => assert.fail("no memory is returned"),
    mlock2: (_, sizeBytes, flags) => {
      locked.push([sizeBytes, flags]);
      return errno;
    },
  };
  return { locked, load: () => made };
}

test("each arena is locked as a whole, where it is touched", () => {
  using store = createStore({ memoryMax: "256MiB", shards: 3, giveBack: "off" });
  const { locked, load } = recordedCalls();
  assert.equal(lockArenas(store.shards, load), undefined);
  const sizes = store.shards.map(({ arena }) => [arena.bytes.length, MLOCK_ONFAULT]);
  assert.deepEqual(locked, sizes);
});

test("a refusal is returned as a reason, and the store works on", () => {
  using store = createStore({ memoryMax: "16MiB", giveBack: "off" });
  assert.equal(
    lockArenas(store.shards, recordedCalls(EPERM).load),
    "mlock2 failed with error number 1",
  );
  const missing = () => {
    throw new Error("Cannot find module 'koffi'");
  };
  assert.equal(lockArenas(store.shards, missing), "Cannot find module 'koffi'");
  const pool = store.createPool({ persistent: true });
  assert.equal(
    store.put(pool, new TmemKey().setObject(3).setIndex(5), new Uint8Array(4096).fill(7)),
    0,
  );
});

function skipWithoutCalls(): string | false {
  try {
    memoryCalls();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

test("the system counts the arena as locked, and drops its memory with the store", {
  skip: skipWithoutCalls(),
}, (t) => {
  const lockedBytes = () =>
    Number(/VmLck:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
  const before = lockedBytes();
  using store = createStore({ memoryMax: "32MiB" });
  const refusal = lockArenas(store.shards);
  if (refusal !== undefined) {
    t.skip(`this machine does not permit it: ${refusal}`);
    return;
  }
  assert.ok(lockedBytes() - before >= 32 * MIB, `${lockedBytes()} bytes are locked`);
});
