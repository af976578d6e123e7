// The journal: whatever was written and moved since the last commit is undone exactly.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { JOURNAL_NEXT } from "../../src/memory/arena.layout.ts";
import { Arena } from "../../src/memory/arena.ts";
import { add, journalCommit, journalRollBack, moveBytes, put } from "../../src/memory/journal.ts";
import { stopAfter } from "../doubles/stopped.ts";

function arenaWithJournal() {
  const arena = Arena.create({ sizeBytes: 1 << 19 });
  const at = arena.frames.frameToWord(arena.frames.alloc(1, 0) as never);
  arena.keepJournal();
  return { arena, words: arena.words, at };
}

const step = fc.record({
  op: fc.constantFrom("put", "add"),
  at: fc.nat(40),
  value: fc.integer(),
});

test("writes since the last commit are undone, latest first", () => {
  const { arena, words, at } = arenaWithJournal();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, keep) => {
      const before = words.slice(at, at + 41);
      for (const one of steps) {
        if (one.op === "put") put(words, at + one.at, one.value);
        else add(words, at + one.at, one.value);
      }
      assert.equal(words[JOURNAL_NEXT], 1 + steps.length);
      if (keep) return journalCommit(words);
      assert.equal(journalRollBack(words, arena.kernels), steps.length);
      assert.deepEqual(words.slice(at, at + 41), before);
      assert.equal(words[JOURNAL_NEXT], 1);
    }),
    { numRuns: 300 },
  );
});

test("an overlapping move is undone byte for byte", () => {
  const { arena, words, at } = arenaWithJournal();
  const base = at * 4;
  for (const [from, to] of [
    [100, 140],
    [140, 100],
    [0, 1],
    [700, 0],
  ] as const) {
    for (let i = 0; i < 600; i++) arena.bytes[base + from + i] = i * 7;
    put(words, at + 1800, from);
    moveBytes(words, arena.kernels, base + to, base + from, 600);
    assert.equal(arena.bytes[base + to + 599], (599 * 7) & 255);
    put(words, at + 1800, to);
    journalRollBack(words, arena.kernels);
    assert.equal(words[at + 1800], 0);
    for (let i = 0; i < 600; i++) assert.equal(arena.bytes[base + from + i], (i * 7) & 255);
  }
});

test("without a journal, words are written and nothing can be undone", () => {
  const arena = Arena.create({ sizeBytes: 1 << 18 });
  const at = arena.frames.frameToWord(arena.frames.alloc(0, 0) as never);
  put(arena.words, at, 5);
  assert.equal(add(arena.words, at, 2), 5);
  assert.equal(journalRollBack(arena.words, arena.kernels), 0);
  assert.equal(arena.words[at], 7);
});

test("an exception under the lock undoes all changes, a commit keeps them", () => {
  const { arena, words, at } = arenaWithJournal();
  for (let writes = 0; writes < 4; writes++) {
    put(words, at, 1);
    put(words, at + 1, 1);
    journalCommit(words);
    const done = stopAfter(arena, writes, () => {
      put(words, at, 2);
      arena.lock.commit();
      put(words, at + 1, 2);
      put(words, at, 3);
    });
    const kept = [words[at], words[at + 1]];
    assert.deepEqual(kept, writes === 0 ? [1, 1] : done ? [3, 2] : [2, 1]);
    assert.equal(done, writes >= 2);
  }
});
