// Memory pressure: a store takes less than its limit while the control group or the machine runs
// short of memory, and grows back afterwards.
//
//   available:  0 ────────── reserve ─────────── 3 × reserve ──────────
//               the limit is lowered             the limit is raised again, slowly
//
// A lower limit evicts ephemeral entries and writes back persistent ones; then the task "giveBack"
// returns their memory (give_back.ts). Entries that can't leave memory are never in question: the
// limit stays above what they take. Without calls of the system (`koffi`), memory does not return;
// then the limit only keeps the store from growing.
import { ZcacheError } from "../base/errors.ts";
import { formatBytes, MIB } from "../base/units.ts";
import type { PressureStats } from "../store/pressure_stats.ts";
import type { StoreStats } from "../store/statistics.ts";
import { type Store, stateOf } from "../store/store.ts";
import { type AvailableMemory, availableMemory } from "./available_memory.ts";
import type { ReturnMemory } from "./give_back.ts";
import type { Scheduler } from "./scheduler.ts";

/** The part of a store, or of a group of shards, whose limit follows the pressure. */
export interface LimitedStore {
  /** The limit that `limit` has set. */
  readonly limitBytes: number;
  limit(bytes: number): void;
  maintain(): boolean;
  stats(): StoreStats;
}

/** What a store holds, in bytes. */
export interface HeldMemory {
  readonly limitBytes: number;
  readonly usedBytes: number;
  /** Of these, what can't leave memory. */
  readonly pinnedBytes: number;
  /** Memory of free frames, which is to be returned. */
  readonly freeBytes: number;
  /** Whether memory can be returned to the system. */
  readonly returns: boolean;
}

/**
 * Between two looks; and while less than so many times the reserve is available, because a process
 * may take 300 MiB in a second.
 */
const LOOK_EVERY_MS = 100;
const LOOK_CLOSELY_MS = 20;
const CLOSE_BELOW = 4;
/** A look may evict, and return memory, for so long: clients wait meanwhile. */
const WORK_MS = 10;
/** The same while less than the reserve is left: a process may be ended next. */
const URGENT_WORK_MS = 200;
/** So long at a time, in turns, so that what is evicted is returned soon. */
const TURN_MS = 5;

/** What is to stay available: this part of the limit, within these bounds. */
const RESERVE_PART = 1 / 20;
const RESERVE_BYTES_MIN = 16 * MIB;
const RESERVE_BYTES_MAX = 512 * MIB;
/** A group smaller than this many times the least reserve has a smaller one. */
const RESERVE_PART_MAX = 1 / 8;
/**
 * What others took lately, they are expected to take again within this time, in ms, which passes
 * until memory returns; but at most so many times the reserve, because most do not go on.
 */
const AHEAD_MS = 500;
const AHEAD_RESERVES = 4;
/** Tasks that wait for memory for this part of the time count as twice the reserve. */
const STALLED_PART = 0.1;
/** Lowering makes so many times the reserve available. */
const LOWER_TO = 1.5;
/** The limit is raised while this many times the reserve is available, after so many ms of calm. */
const RAISE_ABOVE = 3;
const CALM_MS = 5000;
const RAISE_EVERY_MS = 1000;
/** A step of the limit is at most this part of the user's limit; it stays above the other part. */
const RAISE_PART = 1 / 16;
const KEPT_PART = 1 / 8;
/** Smaller steps are left out. */
const STEP_PART = 1 / 256;

/** Decides the limit from looks at the memory; knows no system and no store. */
export class PressureControl {
  /** The limit that the user has set, while a lower one is in force; else undefined. */
  #wanted: number | undefined;
  /** The limit in force that this object has set. */
  #set = 0;
  #before: AvailableMemory | undefined;
  #beforeMs = 0;
  /** What the store itself had at the last look. */
  #ownBefore = 0;
  #shortMs = Number.NEGATIVE_INFINITY;
  #raisedMs = Number.NEGATIVE_INFINITY;

  /** The limit that the user has set, while a lower one is in force; else undefined. */
  get wantedBytes(): number | undefined {
    return this.#wanted;
  }

  /** Whether less than the reserve was left at the last look. */
  get isShort(): boolean {
    return this.#shortMs === this.#beforeMs;
  }

  /** Whether to look again soon. */
  get isClose(): boolean {
    const memory = this.#before;
    return memory !== undefined && memory.availableBytes < CLOSE_BELOW * reserveOf(memory);
  }

  /** @returns the limit to be set, which the caller confirms by `took`; undefined: it stays */
  decide(memory: AvailableMemory, held: HeldMemory, nowMs: number): number | undefined {
    // The user has changed the limit meanwhile.
    if (this.#wanted !== undefined && held.limitBytes !== this.#set) this.#wanted = undefined;
    const wanted = this.#wanted ?? held.limitBytes;
    const calm = reserveOf(memory);
    const own = held.usedBytes + held.freeBytes;
    const reserve = this.#reserve(memory, calm, own, nowMs);
    this.#before = memory;
    this.#beforeMs = nowMs;
    this.#ownBefore = own;
    const leaving = held.returns
      ? held.freeBytes + Math.max(0, held.usedBytes - held.limitBytes)
      : 0;
    const available = memory.availableBytes + leaving;
    if (memory.availableBytes < reserve) this.#shortMs = nowMs;
    if (available < reserve) {
      return lowered(held, wanted, LOWER_TO * reserve - available);
    }
    if (this.#wanted === undefined) return undefined;
    const isCalm = nowMs - this.#shortMs >= CALM_MS && nowMs - this.#raisedMs >= RAISE_EVERY_MS;
    if (!isCalm || memory.availableBytes < RAISE_ABOVE * calm) return undefined;
    this.#raisedMs = nowMs;
    const spare = (memory.availableBytes - LOWER_TO * calm) / 2;
    return Math.min(wanted, Math.floor(held.limitBytes + Math.min(wanted * RAISE_PART, spare)));
  }

  /**
   * Records that the store has taken a limit.
   * @param bytes what `decide` returned  @param limitBytes what the store made of it by rounding
   * @param held as `decide` had it
   */
  took(bytes: number, limitBytes: number, held: HeldMemory): void {
    const wanted = this.#wanted ?? held.limitBytes;
    this.#set = limitBytes;
    this.#wanted = bytes >= wanted ? undefined : wanted;
  }

  #reserve(memory: AvailableMemory, calm: number, own: number, nowMs: number): number {
    const before = this.#before;
    if (before === undefined || before.limitBytes !== memory.limitBytes) return calm;
    const ms = Math.max(1, nowMs - this.#beforeMs);
    const ownGrowth = own - this.#ownBefore;
    const taken = Math.max(0, before.availableBytes - memory.availableBytes - ownGrowth);
    const stalledMs = ((memory.stalledUs ?? 0) - (before.stalledUs ?? 0)) / 1000;
    const isStalled = stalledMs > ms * STALLED_PART;
    const ahead = Math.min(AHEAD_RESERVES * calm, (taken * AHEAD_MS) / ms);
    return calm * (isStalled ? 2 : 1) + ahead;
  }
}

function reserveOf({ limitBytes }: AvailableMemory): number {
  const reserve = Math.min(RESERVE_BYTES_MAX, limitBytes * RESERVE_PART);
  return Math.min(limitBytes * RESERVE_PART_MAX, Math.max(RESERVE_BYTES_MIN, reserve));
}

/** @returns a limit that makes `missing` bytes available, as far as may be; undefined: none does */
function lowered(held: HeldMemory, wanted: number, missing: number): number | undefined {
  const { limitBytes, usedBytes, pinnedBytes, returns } = held;
  const kept = wanted * KEPT_PART;
  const least = returns ? Math.max(kept, pinnedBytes + kept) : Math.max(kept, usedBytes);
  const next = Math.floor(Math.max(least, Math.min(limitBytes, usedBytes) - missing));
  return limitBytes - next < Math.max(1, wanted * STEP_PART) ? undefined : next;
}

export interface PressureParts {
  /** Returns what was evicted to the system (default: only the task "giveBack" does). */
  readonly returnMemory?: ReturnMemory;
  /** For tests: what is available. */
  readonly available?: () => AvailableMemory | undefined;
  /** Takes a line for each change of the limit. */
  readonly log?: (line: string) => void;
}

/**
 * Lowers and raises the limit of a store from now on, in the thread that made the store, and
 * counts that in `stats.pressure`, unless the option `pressure` says otherwise. Does nothing where
 * the system does not tell what is available.
 * @param first the first shard, or the store itself
 */
export function followPressure(
  store: LimitedStore,
  first: Store,
  scheduler: Scheduler,
  parts: PressureParts = {},
): void {
  const { available = availableMemory } = parts;
  if (first.options.pressure === "off" || available() === undefined) return;
  const task = new PressureTask(store, stateOf(first).pressure, parts);
  scheduler.add({
    name: "pressure",
    everyMs: LOOK_EVERY_MS,
    moreMs: LOOK_CLOSELY_MS,
    step: (nowMs) => {
      const memory = available();
      return memory !== undefined && task.look(memory, nowMs);
    },
  });
}

class PressureTask {
  readonly #store: LimitedStore;
  readonly #stats: PressureStats;
  readonly #control = new PressureControl();
  readonly #parts: PressureParts;

  constructor(store: LimitedStore, stats: PressureStats, parts: PressureParts) {
    this.#store = store;
    this.#stats = stats;
    this.#parts = parts;
  }

  /** @returns whether to look again soon */
  look(memory: AvailableMemory, nowMs: number): boolean {
    const stats = this.#stats;
    stats.source = memory.source;
    stats.availableBytes = memory.availableBytes;
    const held = heldBy(this.#store);
    const next = this.#control.decide(memory, held, nowMs);
    if (next !== undefined) this.#set(next, held, memory);
    stats.wantedBytes = this.#control.wantedBytes ?? this.#store.limitBytes;
    if (this.#control.wantedBytes !== undefined) {
      const workMs = this.#control.isShort ? URGENT_WORK_MS : WORK_MS;
      this.#shrink(performance.now() + workMs);
    }
    return this.#control.isClose;
  }

  #set(bytes: number, held: HeldMemory, memory: AvailableMemory): void {
    const store = this.#store;
    try {
      store.limit(bytes);
    } catch (error) {
      // A small store needs more than that for its tables.
      if (error instanceof ZcacheError && error.code === "ERR_OPTION") return;
      throw error;
    }
    const { limitBytes } = store;
    this.#control.took(bytes, limitBytes, held);
    const isLower = limitBytes < held.limitBytes;
    if (isLower) this.#stats.lowered++;
    else this.#stats.raised++;
    const change = `${formatBytes(held.limitBytes)} to ${formatBytes(limitBytes)}`;
    const left = `${formatBytes(memory.availableBytes)} left of ${formatBytes(memory.limitBytes)}`;
    const how = isLower ? "lowered" : "raised";
    this.#parts.log?.(
      `memory pressure: limit ${how} from ${change}; the ${memory.source} has ${left}`,
    );
  }

  /** Evicts what exceeds the limit, and returns its memory. */
  #shrink(untilMs: number): void {
    let isMore = true;
    while (isMore && performance.now() < untilMs) {
      const turnMs = performance.now() + TURN_MS;
      while (isMore && performance.now() < turnMs) isMore = this.#store.maintain();
      this.#parts.returnMemory?.(TURN_MS);
    }
  }
}

function heldBy(store: LimitedStore): HeldMemory {
  const stats = store.stats();
  const { mem_used_total, mem_resident, ephemeral, giveBack } = stats;
  const canLeave = stats.writeBack !== undefined || stats.remote?.accepts === true;
  return {
    limitBytes: store.limitBytes,
    usedBytes: mem_used_total,
    pinnedBytes: canLeave ? 0 : mem_used_total - ephemeral.compressedBytes,
    freeBytes: Math.max(0, mem_resident - mem_used_total),
    returns: giveBack.reason === undefined,
  };
}
