// Threads that wait for the arena's lock in every way, and are terminated while they wait or while
// others wait for them. Each step is taken when a word shows that the last one has been reached.
import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, beforeEach, test } from "node:test";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import * as Super from "../../src/memory/arena.layout.ts";
import { Arena, type ArenaShare } from "../../src/memory/arena.ts";
import { put } from "../../src/memory/journal.ts";
import { threadOf } from "../../src/memory/owner.ts";
import * as Reader from "../../src/memory/reader.layout.ts";
import { nodeThreads } from "../../src/node/threads.ts";

/** What a worker does when it has attached. */
type Task = "read" | "write" | "beside" | "hold" | "stayReader";

interface Input {
  readonly arena: ArenaShare;
  readonly task: Task;
  readonly at: number;
}

/** Words that all threads share, from `at` on. */
const PROGRESS = 0; // atomic: 1 when a worker has got what it wanted, and its end is near
const VALUE = 16; // guarded by the arena's lock
const READ = 32; // what a reader read of VALUE

const WAITED = 0x4000_0000;
const WATCHDOG_MS = 60_000;

function work({ arena: share, task, at }: Input): void {
  const arena = Arena.attach(share, nodeThreads());
  const { lock, words } = arena;
  lock.onDeath = () => {};
  const stay = () => {
    Atomics.store(words, at + PROGRESS, 1);
    for (;;) Atomics.wait(words, at + PROGRESS, 1);
  };
  if (task === "read" || task === "stayReader") {
    while (!lock.enterReader()) {
      // The thread that writes is dead: this repairs what it has left.
      lock.lockBeside();
      lock.unlock();
    }
    if (task === "stayReader") stay();
    words[at + READ] = words[at + VALUE]!;
    lock.leaveReader();
  } else {
    if (task === "beside") lock.lockBeside();
    else lock.lock();
    put(words, at + VALUE, words[at + VALUE]! + 1);
    if (task === "hold") stay();
    if (task === "beside") lock.commitBeside();
    else lock.commit();
    lock.unlock();
  }
  Atomics.store(words, at + PROGRESS, 1);
  arena.detach();
}

if (!isMainThread) {
  work(workerData as Input);
} else {
  const skip = process.platform === "linux" ? false : "only Linux tells which threads are dead";
  let arena: Arena;
  let at = 0;
  const workers: Worker[] = [];

  beforeEach(() => {
    arena = Arena.create({ sizeBytes: 1 << 20 }, nodeThreads());
    at = arena.frames.frameToWord(arena.frames.alloc(0, 0) as never);
    arena.words.fill(0, at, at + 64);
    arena.keepJournal();
    arena.lock.onDeath = () => {};
  });

  afterEach(async () => {
    await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
    arena.close();
  });

  const start = (task: Task): Worker => {
    const workerData: Input = { arena: arena.share(), task, at };
    const worker = new Worker(new URL(import.meta.url), { workerData });
    workers.push(worker);
    return worker;
  };

  /** Waits until a word is what it should be. */
  const reached = async (what: string, isReached: () => boolean): Promise<void> => {
    const end = Date.now() + WATCHDOG_MS;
    while (!isReached()) {
      assert.ok(Date.now() < end, `${what}: not reached`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const word = (index: number) => Atomics.load(arena.words, index);
  const readerSleeps = () => word(Super.WRITING) === Super.WRITES_AWAITED;
  const writerSleeps = () => (word(Super.ARENA_LOCK) & WAITED) !== 0;
  const done = () => word(at + PROGRESS) === 1;
  const stateOf = (thread: number) =>
    arena.words[Super.READERS_AT]! + (thread - 1) * Reader.READER_WORDS + Reader.STATE;
  const takeAndFree = () => {
    arena.lock.lock();
    arena.lock.unlock();
  };

  test("a reader sleeps while a thread writes, is woken, and is counted as a reader", async () => {
    arena.lock.lock();
    const reader = start("read");
    const exit = once(reader, "exit");
    await reached("the reader sleeps", readerSleeps);
    assert.equal(word(Super.ARENA_LOCK), arena.owner, "it does not wait for the lock");
    put(arena.words, at + VALUE, 7);
    arena.lock.commit();
    arena.lock.unlock();
    await exit;
    assert.equal(arena.words[at + READ], 7);
    const { reader: waits, exclusive, beside } = arena.lock.counts();
    assert.equal(waits.contended, 1);
    assert.ok(waits.slept >= 1 && waits.waitedNs > 0);
    // Whether it met the lock when it attached or detached depends on the moment.
    assert.equal(beside.contended, 0);
    assert.ok(exclusive.contended <= 2);
  });

  for (const task of ["write", "beside"] as const) {
    test(`a thread that sleeps for the lock is counted: ${task}`, async () => {
      const worker = start(task);
      arena.lock.lock();
      await reached("a thread sleeps", () => writerSleeps() || done());
      arena.lock.unlock();
      await reached("the worker is done", done);
      await worker.terminate();
      arena.lock.lock();
      assert.equal(arena.words[at + VALUE], 1);
      arena.lock.unlock();
      const counts = arena.lock.counts();
      for (const { contended, slept, waitedNs } of Object.values(counts)) {
        assert.equal(contended > 0, waitedNs > 0);
        assert.ok(slept === 0 || contended > 0);
      }
    });
  }

  test("a thread that is terminated while it waits as a reader stops nobody", async () => {
    arena.lock.lock();
    const reader = start("read");
    await reached("the reader sleeps", readerSleeps);
    await reader.terminate();
    arena.lock.unlock();
    takeAndFree();
    assert.equal(word(stateOf(2)), 0, "it has announced nothing");
    assert.equal(word(Super.WRITING), 0);
    assert.equal(done(), false);
  });

  test("readers go on when the thread that writes is terminated", { skip }, async () => {
    const writer = start("hold");
    await reached("the worker writes", done);
    Atomics.store(arena.words, at + PROGRESS, 0);
    arena.words[at + READ] = -1;
    const readers = ["read", "read"].map((task) => start(task as Task));
    // One of them may be attaching, for which it takes the lock.
    await reached("readers wait", () => readerSleeps() || writerSleeps());
    await writer.terminate();
    await Promise.all(readers.map((reader) => once(reader, "exit")));
    assert.equal(arena.words[at + READ], 0, "they see what was there before");
    assert.equal(word(Super.WRITING), 0);
    assert.equal(arena.words[Super.RECOVERIES], 1);
  });

  test("a writer goes on when a reader is terminated while it reads", { skip }, async () => {
    const reader = start("stayReader");
    await reached("the worker reads", done);
    Atomics.store(arena.words, at + PROGRESS, 0);
    const writer = start("write");
    await reached("a writer sleeps", () => word(stateOf(2)) === (Reader.READING | Reader.AWAITED));
    await reader.terminate();
    await once(writer, "exit");
    assert.equal(arena.words[at + VALUE], 1);
    assert.equal(word(stateOf(2)), 0);
  });

  test("a thread that waits for long is handed the lock", async () => {
    arena.lock.lock();
    const writer = start("write");
    const exit = once(writer, "exit");
    await reached("there is an heir", () => word(Super.LOCK_HEIR) !== 0);
    assert.equal(threadOf(word(Super.LOCK_HEIR)), 2);
    arena.lock.unlock();
    assert.equal(word(Super.LOCK_HEIR), 0);
    await exit;
    takeAndFree();
    assert.equal(arena.words[at + VALUE], 1);
  });

  test("an heir that is terminated does not get the lock", { skip }, async () => {
    arena.lock.lock();
    const writer = start("write");
    await reached("there is an heir", () => word(Super.LOCK_HEIR) !== 0);
    await writer.terminate();
    arena.lock.unlock();
    assert.equal(word(Super.ARENA_LOCK), 0);
    assert.equal(word(Super.LOCK_HEIR), 0);
    takeAndFree();
    assert.equal(arena.words[Super.RECOVERIES], 0);
  });
}
