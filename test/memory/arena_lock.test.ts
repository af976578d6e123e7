// Threads that are terminated while they hold the arena's lock: the others go on, and find
// everything as it was before the dead thread's transaction.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { RECOVERIES } from "../../src/memory/arena.layout.ts";
import { Arena, type ArenaShare } from "../../src/memory/arena.ts";
import { put } from "../../src/memory/journal.ts";
import { nodeThreads } from "../../src/node/threads.ts";

interface Input {
  readonly arena: ArenaShare;
  readonly at: number;
}

const CELLS = 64;

/** Takes the lock again and again, and keeps all cells equal whenever it gives it up. */
function writeForEver({ arena: share, at }: Input): never {
  const arena = Arena.attach(share, nodeThreads());
  parentPort?.postMessage("at work");
  for (;;) {
    arena.lock.lock();
    try {
      const next = arena.words[at]! + 1;
      for (let cell = 0; cell < CELLS; cell++) put(arena.words, at + cell, next);
      arena.lock.commit();
    } finally {
      arena.lock.unlock();
    }
  }
}

if (!isMainThread) {
  writeForEver(workerData as Input);
} else {
  const linux = process.platform === "linux";
  const skip = linux ? false : "only Linux tells which threads are dead";

  test("a thread's name is its own, and it may run until it has ended", { skip }, async () => {
    const threads = nodeThreads();
    assert.equal(threads.self(), threads.self());
    assert.ok(threads.mayRun(threads.self()));
    // The number 1 is this machine's first process, not a thread of this one.
    assert.equal(threads.mayRun((1 << 9) | 1), process.pid === 1);
    assert.equal(threads.mayRun(threads.self() ^ 1), false, "same number, begun at another time");
  });

  test("workers terminated at any moment leave the lock usable and all words consistent", {
    skip,
  }, async () => {
    const arena = Arena.create({ sizeBytes: 1 << 20 }, nodeThreads());
    const at = arena.frames.frameToWord(arena.frames.alloc(0, 0) as never);
    arena.keepJournal();
    const input: Input = { arena: arena.share(), at };
    const url = new URL(import.meta.url);
    const framesUsed = arena.frames.framesUsed;
    for (let round = 0; round < 25; round++) {
      const worker = new Worker(url, { workerData: input });
      await new Promise((resolve) => worker.once("message", resolve));
      await new Promise((resolve) => setTimeout(resolve, round % 5));
      await worker.terminate();
      arena.lock.lock();
      const first = arena.words[at]!;
      for (let cell = 1; cell < CELLS; cell++) assert.equal(arena.words[at + cell], first);
      arena.lock.commit();
      arena.lock.unlock();
    }
    assert.ok(arena.words[at]! > 0, "they did something");
    assert.ok(arena.words[RECOVERIES]! > 0, "some of them died inside");
    arena.reapThreads();
    assert.equal(arena.frames.framesUsed, framesUsed);
    arena.close();
  });
}
