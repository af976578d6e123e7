// A thread that is stopped at its n-th logged write, as a worker is that somebody terminates: the
// journal's room is made so small that the next write fails before it is done.
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
