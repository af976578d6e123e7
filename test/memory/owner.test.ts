// Owner numbers: a word of a dead thread is never mistaken for a word of the thread that has its
// number now, and its owner is always found to be dead.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Handle, NIL, type PageFrame } from "../../src/base/brand.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { put } from "../../src/memory/journal.ts";
import { Mutex } from "../../src/memory/mutex.ts";
import { threadOf } from "../../src/memory/owner.ts";
import * as Pool from "../../src/pool/pool.layout.ts";
import { createPool } from "../../src/pool/registry.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";

const SIZE = 4 << 20;

/** An arena with a journal, one word to write to, and threads that can be made dead. */
function freshArena() {
  const threads = new SimulatedThreads();
  const arena = Arena.create({ sizeBytes: SIZE }, threads);
  const at = arena.frames.frameToWord(arena.frames.alloc(0, 0) as PageFrame);
  arena.words.fill(0, at, at + 16);
  arena.keepJournal();
  const attach = () => {
    const other = Arena.attach(arena.share(), threads);
    return { arena: other, name: threads.last };
  };
  return { threads, arena, at, attach };
}

test("an owner number is never assigned twice, although thread numbers are", () => {
  const { attach } = freshArena();
  const owners = new Set<number>();
  for (let round = 0; round < 1000; round++) {
    const { arena } = attach();
    assert.equal(threadOf(arena.owner), arena.thread);
    assert.equal(arena.thread, 2, "the number is free again");
    assert.ok(!owners.has(arena.owner) && arena.owner > 0 && arena.owner < 2 ** 30);
    owners.add(arena.owner);
    assert.ok(arena.ownerMayRun(arena.owner));
    arena.detach();
  }
});

test("a detached or dead owner may not run, the next owner of its number may", () => {
  const { arena, threads, attach } = freshArena();
  const first = attach();
  threads.dead.add(first.name);
  assert.equal(arena.ownerMayRun(first.arena.owner), false);
  // The first to attach clears up, the second gets the number.
  attach();
  const heir = attach();
  assert.equal(heir.arena.thread, first.arena.thread);
  assert.equal(arena.ownerMayRun(first.arena.owner), false);
  assert.equal(arena.ownerMayRun(heir.arena.owner), true);
  heir.arena.detach();
  assert.equal(arena.ownerMayRun(heir.arena.owner), false);
  for (const stray of [0, 1, 2, 255, 193, 2 ** 29]) assert.equal(arena.ownerMayRun(stray), false);
});

test("the next owner of its number takes over the lock of a dead thread", () => {
  const { at, threads, attach } = freshArena();
  const first = attach();
  const { words, kernels, owner, isDead } = first.arena;
  new Mutex(words, kernels, at, owner, isDead).lock();
  threads.dead.add(first.name);
  attach();
  const { arena: heir } = attach();
  assert.equal(heir.thread, first.arena.thread);
  const mutex = new Mutex(heir.words, heir.kernels, at, heir.owner, heir.isDead);
  assert.equal(mutex.lock(), owner);
  mutex.unlock();
  assert.equal(words[at], 0);
});

test("a death found while a thread attaches is repaired by the next thread that can", () => {
  const { arena, at, threads, attach } = freshArena();
  let repairs = 0;
  arena.lock.onDeath = () => {
    repairs++;
  };
  const { arena: victim, name } = attach();
  victim.lock.lock();
  put(victim.words, at, 17);
  threads.dead.add(name);
  attach();
  assert.equal(arena.words[at], 0, "its steps are undone");
  assert.equal(arena.words[Super.REPAIR], 1);
  assert.equal(repairs, 0);
  for (const take of ["lock", "lockBeside", "tryLockBeside"] as const) {
    arena.words[Super.REPAIR] = 1;
    repairs = 0;
    arena.lock[take]();
    assert.equal(repairs, 1, take);
    assert.equal(arena.words[Super.REPAIR], 0);
    arena.lock.unlock();
  }
});

test("a repair that throws leaves the lock free, and stays due until one succeeds", () => {
  const { arena, at, threads, attach } = freshArena();
  let failures = 2;
  let repairs = 0;
  arena.lock.onDeath = () => {
    put(arena.words, at + 1, 5);
    if (failures-- > 0) throw new Error("no repair yet");
    repairs++;
  };
  const { arena: victim, name } = attach();
  victim.lock.lock();
  threads.dead.add(name);
  assert.throws(() => arena.lock.lock(), /no repair yet/);
  assert.equal(arena.words[Super.ARENA_LOCK], 0);
  assert.equal(arena.words[Super.WRITING], 0);
  assert.equal(arena.words[at + 1], 0, "what the failed repair did is undone");
  assert.throws(() => arena.lock.lockBeside(), /no repair yet/);
  arena.lock.lock();
  assert.equal(repairs, 1);
  assert.equal(arena.words[at + 1], 5);
  arena.lock.unlock();
  arena.lock.lock();
  assert.equal(repairs, 1, "once");
  arena.lock.unlock();
});

test("a thread that dies during a repair is found like the first one", () => {
  const { arena, threads, attach } = freshArena();
  const second = attach();
  const { arena: victim, name } = attach();
  let repairs = 0;
  // The second thread is terminated in its repair: no `finally` of its own runs.
  second.arena.lock.onDeath = () => {
    repairs++;
    arena.words[Super.ARENA_LOCK] = second.arena.owner;
    throw new Error("terminated");
  };
  arena.lock.onDeath = () => {
    repairs += 100;
  };
  victim.lock.lock();
  threads.dead.add(name);
  const unlock = second.arena.lock.unlock;
  second.arena.lock.unlock = () => {};
  assert.throws(() => second.arena.lock.lock(), /terminated/);
  second.arena.lock.unlock = unlock;
  threads.dead.add(second.name);
  arena.lock.lock();
  assert.equal(repairs, 101);
  assert.equal(arena.words[Super.REPAIR], 0);
  arena.lock.unlock();
});

test("if only dead threads have numbers, one is taken over with its scratch", () => {
  const { arena, threads, attach } = freshArena();
  const before = arena.frames.framesUsed;
  for (let nth = 1; nth < Super.MAX_THREADS; nth++) {
    const { arena: other, name } = attach();
    // All die at the end: whoever attaches clears up.
    if (nth === 5 || nth === 9) other.reserve(3 * 4096);
    if (nth > 1) continue;
    assert.equal(name, 2);
  }
  for (let name = 2; name <= threads.last; name++) threads.dead.add(name);
  const { arena: late } = attach();
  assert.equal(arena.frames.framesUsed, before, "all scratch of the dead is free");
  late.detach();
  assert.equal(attach().arena.thread, 2);
});

test("a failed attach frees its thread number", () => {
  const { arena, attach } = freshArena();
  let isFailing = true;
  const { threads } = freshArena();
  threads.mayRun = () => {
    if (isFailing) throw new Error("the system does not answer");
    return true;
  };
  const numbers = () => arena.words.subarray(Super.THREADS, Super.THREADS + 8).join(" ");
  const before = numbers();
  for (let nth = 0; nth < 3; nth++) {
    assert.throws(() => Arena.attach(arena.share(), threads), /does not answer/);
    assert.equal(numbers(), before);
  }
  isFailing = false;
  attach();
});

test("a detached thread can't take the arena's lock any more", () => {
  const { attach } = freshArena();
  const { arena } = attach();
  arena.detach();
  for (const take of ["lock", "lockBeside", "tryLockBeside"] as const) {
    assert.throws(() => arena.lock[take](), { code: "ERR_ARENA_CLOSED" });
  }
  assert.equal(arena.lock.enterReader(), false);
});

test("a pool without a store in which a thread died fails, and never waits forever", () => {
  const threads = new SimulatedThreads();
  const arena = Arena.create({ sizeBytes: SIZE }, threads);
  const pool = createPool("zbud", arena);
  const handle = pool.malloc(100) as Handle;
  const victim = Arena.attach(arena.share(), threads);
  const word = Pool.lockOf(pool.share().generation);
  arena.words[word] = victim.owner;
  threads.dead.add(threads.last);
  assert.throws(() => pool.free(handle), { code: "ERR_ARENA_DAMAGED" });
  assert.throws(() => pool.malloc(100), { code: "ERR_ARENA_DAMAGED" });
  arena.words[Super.FRAMES_LOCK] = victim.owner;
  assert.throws(() => arena.frames.alloc(0, 0), { code: "ERR_ARENA_DAMAGED" });
});

test("what readers announce themselves by outlasts the thread that created the arena", () => {
  const { arena, attach } = freshArena();
  const { arena: other } = attach();
  const readers = Math.floor(arena.words[Super.READERS_AT]! / other.frames.wordsPerPage);
  arena.close();
  for (let frame: number = 0; frame !== NIL; ) {
    other.lock.lock();
    frame = other.frames.alloc(0, 0);
    other.lock.commit();
    other.lock.unlock();
    assert.notEqual(frame, readers);
  }
});

test("a thread that has detached is not taken for a terminated one", () => {
  using arena = Arena.create({ sizeBytes: SIZE });
  const other = Arena.attach(arena.share());
  assert.equal(arena.isDeadInside(other.owner), false);
  other.detach();
  assert.equal(
    arena.isDeadInside(other.owner),
    true,
    "the lock may be taken: its word has changed",
  );
  // Another thread with the same number is not it.
  const next = Arena.attach(arena.share());
  assert.equal(next.thread, other.thread);
  assert.equal(arena.isDeadInside(other.owner), true);
  assert.equal(arena.isDeadInside(next.owner), false);
  next.detach();
});
