// One limit for all shards of a store: the limits of the shards add up to at most the total, and
// move to the shards that need memory.
//
// The total is a word in the memory of the first shard; what is free of it is the total less the
// limits and the headers of all shards, so a thread that is terminated while it moves a limit loses
// nothing. Limits move under a lock of their own, which is taken before the locks of arenas, never
// after them.
import { assert } from "../base/errors.ts";
import { Mutex } from "../memory/mutex.ts";
import { markFrames } from "../policy/watermarks.ts";
import { reclaimRoundLocked } from "../store/evict.ts";
import { limitError, limitOf, setLimitLocked } from "../store/limit.ts";
import type { RoomSource } from "../store/room.ts";
import type { StoreState } from "../store/state.ts";
import { transaction } from "../store/transaction.ts";

// Words in the memory of the first shard.
const LOCK = 0;
const TOTAL_FRAMES = 1; // frames of all shards that may be in use, headers included
export const QUOTA_BYTES = 64;

/** A limit moves in steps of this fraction of a shard's part, and of at least so many frames. */
const STEP_SHIFT = 6;
const STEP_MIN = 16;
/** After an attempt in vain, so many puts do not ask again. */
const REST_PUTS = 512;
/** A shard that lends keeps this above its watermark, in steps. */
const KEPT_STEPS = 2;
/** What a shard keeps when another one would refuse a put. */
const URGENT_KEPT = 4;
/** A shard needs so much for its tables, whatever the limit. */
const SHARD_FRAMES_MIN = 64;

export class Quota {
  readonly #states: readonly StoreState[];
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #lock: Mutex;

  /** @param at word index of QUOTA_BYTES bytes in the first shard's memory */
  constructor(states: readonly StoreState[], at: number) {
    const { words, kernels, owner, isDead } = states[0]!.arena;
    this.#states = states;
    this.#words = words;
    this.#at = at;
    this.#lock = new Mutex(words, kernels, at + LOCK, owner, isDead);
    for (const [nth, state] of states.entries()) state.room = new ShardRoom(this, state, nth);
  }

  /**
   * Divides a total among new shards.
   * @param bytes of the whole store, headers of arenas included
   */
  format(bytes: number): void {
    const total = this.#framesOf(bytes);
    this.#words[this.#at + LOCK] = 0;
    this.#words[this.#at + TOTAL_FRAMES] = total;
    const part = Math.floor((total - this.#headerFrames()) / this.#states.length);
    for (const state of this.#states) setLimit(state, part);
  }

  /** Frames of all shards that may be in use, headers included. */
  get #totalFrames(): number {
    return this.#words[this.#at + TOTAL_FRAMES]!;
  }

  /** The total that was set, in bytes. */
  get limitBytes(): number {
    return this.#totalFrames * this.#states[0]!.pageSize;
  }

  /**
   * Sets the total; shards that have more in use shrink as they are maintained.
   * @param bytes of the whole store, headers of arenas included
   * @throws ZcacheError ERR_OPTION
   */
  limit(bytes: number): void {
    this.exclusive(() => {
      const total = this.#framesOf(bytes);
      const limits = this.#limitsFor(total, bytes);
      // At every moment the limits are within the total: a thread may be terminated here.
      Atomics.store(this.#words, this.#at + TOTAL_FRAMES, Math.max(this.#totalFrames, total));
      const lower = (nth: number) => limits[nth]! < limitOf(this.#states[nth]!);
      const order = [...limits.keys()].sort((a, b) => Number(lower(b)) - Number(lower(a)));
      for (const nth of order) setLimit(this.#states[nth]!, limits[nth]!);
      Atomics.store(this.#words, this.#at + TOTAL_FRAMES, total);
    });
  }

  /** The limits of shards under a new total, in proportion to those they have. */
  #limitsFor(total: number, bytes: number): number[] {
    const states = this.#states;
    const fewest = this.#headerFrames() + SHARD_FRAMES_MIN * states.length;
    const most = sum(states.map(({ arena }) => arena.frames.framesMax));
    if (total < fewest || total > most) {
      throw limitError(bytes, fewest * states[0]!.pageSize, most * states[0]!.pageSize);
    }
    const before = sum(states.map(limitOf));
    const limits = states.map((state) => {
      const scaled = Math.floor((limitOf(state) / before) * (total - this.#headerFrames()));
      return Math.min(state.arena.frames.usableMax, Math.max(SHARD_FRAMES_MIN, scaled));
    });
    // Headers of arenas that grow, and rounding.
    const over = () =>
      sum(limits.map((limit, nth) => limit + states[nth]!.arena.frames.headerFramesFor(limit))) -
      total;
    for (let frames = over(); frames > 0; frames = over()) {
      const largest = limits.indexOf(Math.max(...limits));
      limits[largest]! -= Math.min(frames, limits[largest]! - SHARD_FRAMES_MIN);
    }
    return limits;
  }

  /**
   * Raises the limit of a shard by a step: by what no shard has, or by what another one does not
   * use.
   * @param isUrgent takes all that others do not use, and evicts their ephemeral pages
   * @returns whether the limit was raised
   */
  raise(nth: number, isUrgent: boolean): boolean {
    return this.exclusive(() => {
      const states = this.#states;
      const state = states[nth]!;
      const { frames } = state.arena;
      const part = Math.max(1, Math.floor(this.#totalFrames / states.length));
      const step = Math.max(STEP_MIN, part >>> STEP_SHIFT);
      const before = limitOf(state);
      const most = Math.min(step, frames.usableMax - before);
      if (most <= 0) return false;
      // The arena may have to grow, and its header with it.
      const header = frames.headerFramesFor(before + most) - frames.headerFrames;
      if (this.#unassigned() < most + header) this.#lower(nth, step + header, isUrgent);
      const more = Math.min(most, this.#unassigned() - header);
      if (more > 0) setLimit(state, before + more);
      return more > 0;
    });
  }

  /** Runs `work` while no other thread moves limits, or creates pools in all shards. */
  exclusive<T>(work: () => T): T {
    this.#lock.lock();
    try {
      return work();
    } finally {
      this.#lock.unlock();
    }
  }

  /** @throws AssertionError */
  verify(): void {
    this.exclusive(() =>
      assert(this.#unassigned() >= 0, "the limits of shards are within the total"),
    );
  }

  /** Lowers the limits of other shards until there is a step to give, as far as possible. */
  #lower(nth: number, step: number, isUrgent: boolean): void {
    const others = this.#states.filter((_, other) => other !== nth);
    others.sort((a, b) => b.framesFree - a.framesFree);
    for (const state of others) {
      const kept = isUrgent ? URGENT_KEPT : keptOf(state) + KEPT_STEPS * step;
      this.#lowerTo(state, kept, step);
      if (this.#unassigned() >= step) return;
    }
    if (!isUrgent) return;
    for (const state of others) {
      while (transaction(state, () => reclaimRoundLocked(state))) {
        this.#lowerTo(state, URGENT_KEPT, step);
        if (this.#unassigned() >= step) return;
      }
    }
  }

  /** Takes from the limit of a shard what it does not use, but for `kept` frames. */
  #lowerTo(state: StoreState, kept: number, step: number): void {
    transaction(state, () => {
      const spare = Math.min(step, Math.floor(state.framesFree - kept));
      if (spare > 0) setLimitLocked(state, limitOf(state) - spare);
    });
  }

  /** Frames that no shard has. */
  #unassigned(): number {
    return this.#totalFrames - this.#headerFrames() - sum(this.#states.map(limitOf));
  }

  #headerFrames(): number {
    return sum(this.#states.map(({ arena }) => arena.frames.headerFrames));
  }

  #framesOf(bytes: number): number {
    return Math.floor(bytes / this.#states[0]!.pageSize);
  }
}

/** Where one shard gets a higher limit from. */
class ShardRoom implements RoomSource {
  readonly #quota: Quota;
  readonly #state: StoreState;
  readonly #nth: number;
  /** Puts that do not ask. */
  #rest = 0;

  constructor(quota: Quota, state: StoreState, nth: number) {
    this.#quota = quota;
    this.#state = state;
    this.#nth = nth;
  }

  beforePut(): void {
    if (this.#rest > 0) {
      this.#rest--;
      return;
    }
    if (this.#state.framesFree >= keptOf(this.#state)) return;
    if (!this.#quota.raise(this.#nth, false)) this.#rest = REST_PUTS;
  }

  raise(): boolean {
    return this.#quota.raise(this.#nth, true);
  }
}

/** Free frames that a shard keeps: a little above the watermark from which on it reclaims. */
function keptOf(state: StoreState): number {
  return markFrames(limitOf(state), state.options.highPercent) + STEP_MIN;
}

function setLimit(state: StoreState, frames: number): void {
  transaction(state, () => setLimitLocked(state, frames));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
