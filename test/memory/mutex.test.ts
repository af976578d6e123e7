// The lock word as one thread sees it; test/stress covers several threads.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError } from "../../src/base/errors.ts";
import { Mutex } from "../../src/memory/mutex.ts";
import { instantiateKernels } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";

const AT = 3;
const WAITED = 0x4000_0000;

/** A small memory, and the lock at its word AT as any thread sees it. */
function freshLock(): { words: Int32Array; as: (owner: number) => Mutex } {
  const memory = new Wasm.Memory({ initial: 1, maximum: 1, shared: true });
  const words = new Int32Array(memory.buffer, 0, 8);
  const kernels = instantiateKernels(memory);
  return { words, as: (owner) => new Mutex(words, kernels, AT, owner, () => false) };
}

test("the word names the owner while the lock is held, and is 0 otherwise", () => {
  const { words, as } = freshLock();
  for (const owner of [1, 2, 192, 2 ** 30 - 1]) {
    as(owner).lock();
    assert.equal(words[AT], owner);
    as(owner).unlock();
    assert.equal(words[AT], 0);
  }
});

test("tryLock takes a free lock only", () => {
  const { words, as } = freshLock();
  assert.equal(as(5).tryLock(), true);
  assert.equal(as(6).tryLock(), false);
  assert.equal(as(5).tryLock(), false);
  assert.equal(words[AT], 5);
  as(5).unlock();
  assert.equal(as(6).tryLock(), true);
});

test("assertLocked knows the holder, with or without waiters", () => {
  const { words, as } = freshLock();
  assert.throws(() => as(1).assertLocked(), AssertionError);
  as(1).lock();
  as(1).assertLocked();
  assert.throws(() => as(2).assertLocked(), AssertionError);
  words[AT]! |= WAITED;
  as(1).assertLocked();
  assert.throws(() => as(2).assertLocked(), AssertionError);
});

test("a thread that takes a lock twice gets an error instead of waiting for itself", () => {
  const { words, as } = freshLock();
  as(4).lock();
  assert.throws(() => as(4).lock(), /a thread takes a lock only once/);
  words[AT]! |= WAITED;
  assert.throws(() => as(4).lock(), /a thread takes a lock only once/);
});

test("only the holder releases a lock", () => {
  const { as } = freshLock();
  assert.throws(() => as(1).unlock(), /released by the thread that holds it/);
  as(1).lock();
  assert.throws(() => as(2).unlock(), /released by the thread that holds it/);
});

test("unlock clears the waiters' mark, which waiters set again", () => {
  const { words, as } = freshLock();
  as(1).lock();
  words[AT]! |= WAITED;
  as(1).unlock();
  assert.equal(words[AT], 0);
});

test("neighbouring words do not change", () => {
  const { words, as } = freshLock();
  words.fill(-7);
  words[AT] = 0;
  as(1).lock();
  as(1).unlock();
  assert.deepEqual([...words], [-7, -7, -7, 0, -7, -7, -7, -7]);
});
