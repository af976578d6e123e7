// The lock word seen by one thread; test/stress has what several threads do to it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AssertionError } from "../../src/base/errors.ts";
import { assertLocked, lock, tryLock, unlock } from "../../src/memory/mutex.ts";

const AT = 3;
const WAITED = 0x4000_0000;

function freshWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(32));
}

test("the word names the owner while the lock is held, and is 0 otherwise", () => {
  const words = freshWords();
  for (const owner of [1, 2, 192, 2 ** 30 - 1]) {
    lock(words, AT, owner);
    assert.equal(words[AT], owner);
    unlock(words, AT, owner);
    assert.equal(words[AT], 0);
  }
});

test("tryLock takes a free lock only", () => {
  const words = freshWords();
  assert.equal(tryLock(words, AT, 5), true);
  assert.equal(tryLock(words, AT, 6), false);
  assert.equal(tryLock(words, AT, 5), false);
  assert.equal(words[AT], 5);
  unlock(words, AT, 5);
  assert.equal(tryLock(words, AT, 6), true);
});

test("assertLocked knows the holder, with or without waiters", () => {
  const words = freshWords();
  assert.throws(() => assertLocked(words, AT, 1), AssertionError);
  lock(words, AT, 1);
  assertLocked(words, AT, 1);
  assert.throws(() => assertLocked(words, AT, 2), AssertionError);
  words[AT]! |= WAITED;
  assertLocked(words, AT, 1);
  assert.throws(() => assertLocked(words, AT, 2), AssertionError);
});

test("a thread that takes a lock twice is told so, instead of waiting for itself", () => {
  const words = freshWords();
  lock(words, AT, 4);
  assert.throws(() => lock(words, AT, 4), /a thread takes a lock only once/);
  words[AT]! |= WAITED;
  assert.throws(() => lock(words, AT, 4), /a thread takes a lock only once/);
});

test("only the holder releases a lock", () => {
  const words = freshWords();
  assert.throws(() => unlock(words, AT, 1), /released by the thread that holds it/);
  lock(words, AT, 1);
  assert.throws(() => unlock(words, AT, 2), /released by the thread that holds it/);
});

test("unlock clears the mark of waiters, who set it again", () => {
  const words = freshWords();
  lock(words, AT, 1);
  words[AT]! |= WAITED;
  unlock(words, AT, 1);
  assert.equal(words[AT], 0);
});

test("neighbouring words are left alone", () => {
  const words = freshWords();
  words.fill(-7);
  words[AT] = 0;
  lock(words, AT, 1);
  unlock(words, AT, 1);
  assert.deepEqual([...words], [-7, -7, -7, 0, -7, -7, -7, -7]);
});
