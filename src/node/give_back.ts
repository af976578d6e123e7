// The memory of a store's free frames: returned to the system while much is free, and populated
// ahead of use while the store grows. Both are tasks of the thread that made the store. The memory
// of a closed store is returned by the last thread that leaves it.
import type { Address } from "../base/brand.ts";
import { MIB } from "../base/units.ts";
import { ResidentMemory } from "../store/resident_memory.ts";
import { type Store, stateOf } from "../store/store.ts";
import { ArenaMemory, type MemoryCalls, memoryCalls } from "./memory_calls.ts";
import type { Scheduler } from "./scheduler.ts";

/** Between two looks at how much is free, and between two runs while there is more to return. */
const LOOK_EVERY_MS = 100;
const RETURN_EVERY_MS = 8;
/** A run returns memory for so long. */
const RETURN_WORK_MS = 4;
/** Between two runs that populate, while the store grows. */
const POPULATE_EVERY_MS = 5;

/** Less memory than this is not worth loading the library that calls the system. */
const CLOSED_BYTES_MIN = MIB;

/**
 * Schedules both tasks, unless the store's options say otherwise.
 * @param stores the shards of one store
 * @param load the calls of the system, for tests; an error says why there are none
 * @returns returns memory at once, for so many ms: what it can, of what is free now
 */
export function manageResidentMemory(
  stores: readonly Store[],
  scheduler: Scheduler,
  load: () => MemoryCalls = memoryCalls,
): ReturnMemory {
  if (stores[0]!.options.giveBack === "off") return () => {};
  const shards = stores.map((shard) => new ResidentMemory(stateOf(shard)));
  scheduler.add({
    name: "populate",
    everyMs: LOOK_EVERY_MS,
    moreMs: POPULATE_EVERY_MS,
    step: () => {
      let isGrowing = false;
      for (const shard of shards) if (shard.populateStep()) isGrowing = true;
      return isGrowing;
    },
  });
  const giveBack = new GiveBack(shards, load);
  scheduler.add({
    name: "giveBack",
    everyMs: LOOK_EVERY_MS,
    moreMs: RETURN_EVERY_MS,
    budgetMs: () => RETURN_WORK_MS,
    step: () => giveBack.step(),
  });
  return (ms) => giveBack.now(ms);
}

/**
 * Returns the memory of a closed arena to the system (`ReleaseArena`). V8 would keep it until the
 * garbage collector finds that nothing refers to the arena, which V8 is in no hurry to find out: it
 * counts little of this memory. Without calls of the system, and if they fail, that remains so.
 * @param load the calls of the system, for tests
 */
export function releaseArena(
  bytes: Uint8Array,
  keptBytes: number,
  populatedBytes: number,
  load: () => MemoryCalls = memoryCalls,
): void {
  if (populatedBytes < CLOSED_BYTES_MIN) return;
  let memory: ArenaMemory;
  try {
    memory = new ArenaMemory(bytes, load());
  } catch {
    return;
  }
  const at = Math.ceil(keptBytes / memory.systemPage) * memory.systemPage;
  memory.release(at as Address, bytes.length - at);
}

/** Returns the memory of free frames to the system, for about so many ms. */
export type ReturnMemory = (ms: number) => void;

class GiveBack {
  readonly #shards: readonly ResidentMemory[];
  readonly #load: () => MemoryCalls;
  /** The shards that have memory to return. */
  #excessive: ResidentMemory[] = [];
  readonly #memories = new Map<ResidentMemory, ArenaMemory>();
  #hasFailed = false;

  constructor(shards: readonly ResidentMemory[], load: () => MemoryCalls) {
    this.#shards = shards;
    this.#load = load;
  }

  /** @returns whether there may be more to return */
  step(): boolean {
    if (this.#hasFailed) return false;
    if (this.#excessive.length === 0) {
      this.#excessive = this.#shards.filter((shard) => shard.isExcessive());
    }
    const shard = this.#excessive.at(-1);
    const memory = shard && this.#memoryOf(shard);
    if (shard === undefined || memory === undefined) return false;
    const isMore = shard.returnStep(memory.release.bind(memory), memory.systemPage);
    if (memory.failure !== undefined) {
      this.#fail(memory.failure);
      return false;
    }
    if (!isMore) this.#excessive.pop();
    return this.#excessive.length > 0;
  }

  /** Returns what is free now, without waiting whether it is used again. */
  now(ms: number): void {
    if (this.#hasFailed) return;
    const end = performance.now() + ms;
    this.#excessive = this.#shards.filter((shard) => shard.isExcessive(true));
    while (this.#excessive.length > 0 && performance.now() < end) this.step();
  }

  #memoryOf(shard: ResidentMemory): ArenaMemory | undefined {
    const known = this.#memories.get(shard);
    if (known !== undefined) return known;
    try {
      const memory = new ArenaMemory(shard.bytes, this.#load());
      this.#memories.set(shard, memory);
      for (const one of this.#shards) one.begin(memory.by);
      return memory;
    } catch (error) {
      this.#fail((error as Error).message);
      return undefined;
    }
  }

  #fail(reason: string): void {
    this.#hasFailed = true;
    for (const shard of this.#shards) shard.fail(reason);
  }
}
