// Threads that use a store while its memory is returned to the system, all the time and far more
// often than the background work does: no page changes, and no frame is lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { createStore } from "../../src/index.ts";
import { BLOCK_FRAMES } from "../../src/memory/free_blocks.ts";
import {
  populateAhead,
  type ReleaseMemory,
  returnBlocks,
  returnFramesIn,
} from "../../src/memory/residency.ts";
import { ArenaMemory, memoryCalls } from "../../src/node/memory_calls.ts";
import type { Store } from "../../src/store/store.ts";
import type { ResidencyInput, ResidencyReport } from "./residency_worker.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./residency_worker.${EXTENSION}`, import.meta.url);
const WORKERS = 3;
const BURSTS = 60;

/** The system's call, or, where there is none, what it does to the memory. */
function releaseOf({ arena }: Store): ReleaseMemory {
  try {
    const memory = new ArenaMemory(arena.bytes, memoryCalls());
    return (at, sizeBytes) => memory.release(at, sizeBytes);
  } catch {
    return (at, sizeBytes) => {
      arena.bytes.fill(0, at, at + sizeBytes);
      return true;
    };
  }
}

function runWorker(input: ResidencyInput): Promise<ResidencyReport> {
  const worker = new Worker(WORKER, { workerData: input });
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

test("pages stay as they are while memory is returned and populated all the time", async () => {
  // Less than the pages of all workers take: the last free frames are returned too.
  using store = createStore({ memoryMax: "40MiB", giveBack: "off" });
  const pool = store.createPool({ persistent: true });
  const { arena } = store;
  const release = releaseOf(store);
  const random = new Xorshift32(1);
  const blocks = Math.ceil(arena.frames.framesTotal / BLOCK_FRAMES);
  let isDone = false;
  const reports = Promise.all(
    Array.from({ length: WORKERS }, (_, slot) =>
      runWorker({ share: store.share(), pool, slot, bursts: BURSTS }),
    ),
  ).finally(() => {
    isDone = true;
  });
  let returned = 0;
  while (!isDone) {
    returned += returnBlocks(arena, random.next() % 2000, release);
    for (let nth = 0; nth < 10; nth++) {
      returned += returnFramesIn(arena, random.next() % blocks, release);
    }
    if (random.next() % 4 === 0) populateAhead(arena, (random.next() % 200) + 1);
    if (random.next() % 50 === 0) await new Promise(setImmediate);
  }
  for (const { reads, wrong } of await reports) {
    assert.ok(reads > 1000);
    assert.equal(wrong, 0);
  }
  assert.ok(returned > arena.frames.framesTotal, "more memory than the store has, over time");
  store.verify();
});
