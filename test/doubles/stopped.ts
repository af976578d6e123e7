// A thread that stops at its n-th journal write, like a terminated worker. The journal is made so
// small that the next write fails before it is done.
import assert from "node:assert/strict";
import { AssertionError } from "../../src/base/errors.ts";
import { JOURNAL_LIMIT } from "../../src/memory/arena.layout.ts";
import type { Arena } from "../../src/memory/arena.ts";

/**
 * Runs `work` under the arena's lock and lets it make `writes` logged writes in a transaction.
 * @returns whether it came to its end; if not, nothing of its last transaction is left
 */
export function stopAfter(arena: Arena, writes: number, work: () => void): boolean {
  const { words } = arena;
  const room = words[JOURNAL_LIMIT]!;
  arena.lock.lock();
  try {
    words[JOURNAL_LIMIT] = Math.min(room, writes);
    work();
    arena.lock.commit();
    return true;
  } catch (error) {
    assert.ok(error instanceof AssertionError, String(error));
    assert.match(error.message, /fits into the journal/);
    return false;
  } finally {
    words[JOURNAL_LIMIT] = room;
    arena.lock.unlock();
  }
}

/** What a thread throws that stops. */
class Stopped extends Error {}

/**
 * Runs `work` and stops it right after it has given the arena's lock up for the n-th time since it
 * committed something, 1 or more: what was committed stands, and nothing of what follows is done.
 * @returns whether `work` came to its end
 */
export function stopAfterCommit(
  arenas: Arena | readonly Arena[],
  nth: number,
  work: () => void,
): boolean {
  let left = nth;
  const locks = [arenas].flat().map(({ lock }) => lock);
  const names = ["commit", "unlock"];
  for (const lock of locks) {
    let hasCommitted = false;
    Object.assign(lock, {
      commit() {
        Object.getPrototypeOf(lock).commit.call(lock);
        hasCommitted = true;
      },
      unlock() {
        Object.getPrototypeOf(lock).unlock.call(lock);
        if (hasCommitted && --left === 0) throw new Stopped();
        hasCommitted = false;
      },
    });
  }
  try {
    work();
    return true;
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    return false;
  } finally {
    for (const lock of locks) for (const name of names) Reflect.deleteProperty(lock, name);
  }
}
