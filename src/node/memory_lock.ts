// Keeps the arenas of a store in memory: the system neither swaps them out nor drops them. A server
// that stores the pages which the system swaps out must not wait for a page of its own.
//
// A page is locked when it is touched (MLOCK_ONFAULT), so an arena takes no more memory than
// before. Only arenas are locked, not the whole process by mlockall(2): V8 ends the process when
// madvise(2) refuses to drop locked pages of its heap. A control group that does not swap covers
// the rest.
import type { Address } from "../base/brand.ts";
import { ResidentMemory } from "../store/resident_memory.ts";
import { type Store, stateOf } from "../store/store.ts";
import { ArenaMemory, type MemoryCalls, memoryCalls } from "./memory_calls.ts";

/**
 * Locks the arenas of a store.
 * @param stores the shards of one store
 * @param load the calls of the system, for tests; an error says why there are none
 * @returns why they are not locked, or undefined
 */
export function lockArenas(
  stores: readonly Store[],
  load: () => MemoryCalls = memoryCalls,
): string | undefined {
  try {
    const calls = load();
    for (const shard of stores) {
      const { bytes } = new ResidentMemory(stateOf(shard));
      const memory = new ArenaMemory(bytes, calls);
      memory.lockTouched(0 as Address, bytes.length);
      if (memory.failure !== undefined) return memory.failure;
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
