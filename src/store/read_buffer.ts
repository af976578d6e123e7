// A thread's read buffer: hits and counts that the store does not know yet. If each hit took the
// lock to move a page in the policy's order, readers would wait for each other; instead, a thread
// buffers its hits and applies many at once when the lock is free, as in Caffeine.
import type { WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreContext } from "./parts.ts";
import * as Store from "./store.layout.ts";

/**
 * Hits after which the buffer is flushed if the lock is free; after CAPACITY, it is flushed in any
 * case.
 */
const FLUSH_AT = 32;
const CAPACITY = 128;
const USE_WORDS = 3;
/** Gets after which the counters are flushed, if no hit is buffered. */
const COUNT_AT = 1024;

export class ReadBuffer {
  readonly #state: StoreContext;
  /** For each hit: the entry, its VALUE, and the version of the store at which the entry had it. */
  readonly #uses = new Int32Array(CAPACITY * USE_WORDS);
  #count = 0;
  #gets = 0;
  #hits = 0;
  #misses = 0;

  constructor(state: StoreContext) {
    this.#state = state;
  }

  /** Counts a get: a hit, a miss, or, while the page is read from the file, neither yet. */
  countGet(isHit: boolean, isMiss: boolean): void {
    this.#gets++;
    if (isHit) this.#hits++;
    if (isMiss) this.#misses++;
    if (this.#gets >= COUNT_AT && this.#count === 0) this.flush();
  }

  /** Adds to the counts, or subtracts from them, to correct what was counted before. */
  adjustCounts(gets: number, hits: number, misses: number): void {
    this.#gets += gets;
    this.#hits += hits;
    this.#misses += misses;
  }

  /**
   * Buffers a hit on a page that was found at this version of the store, if it changes the policy's
   * order or the page's age.
   */
  recordHit(entry: WordIndex, value: number, meta: number, version: number): void {
    const { words, root, policies } = this.#state;
    const tick = words[root + Store.TICK]! & (Page.AGES - 1);
    const isWanted = Page.isListed(meta) && policies[Page.kindOf(meta)]!.wantsHit(meta);
    if (isWanted || Page.tickOf(meta) !== tick) this.#record(entry, value, version);
  }

  #record(entry: WordIndex, value: number, version: number): void {
    const at = this.#count++ * USE_WORDS;
    this.#uses[at] = entry;
    this.#uses[at + 1] = value;
    this.#uses[at + 2] = version;
    if (this.#count < FLUSH_AT) return;
    const { lock } = this.#state.arena;
    if (this.#count === CAPACITY) this.flush();
    else if (this.#count % FLUSH_AT === 0 && lock.tryLockBeside()) this.#flushLocked();
  }

  /** Applies all buffered hits and counts. The caller does not hold the lock. */
  flush(): void {
    if ((this.#count | this.#gets | this.#hits | this.#misses) === 0) return;
    this.#state.arena.lock.lockBeside();
    this.#flushLocked();
  }

  #flushLocked(): void {
    const state = this.#state;
    const { lock } = state.arena;
    try {
      const { version } = lock;
      for (let nth = 0; nth < this.#count; nth++) {
        const at = nth * USE_WORDS;
        const entry = this.#uses[at]! as WordIndex;
        const isUnchanged =
          this.#uses[at + 2] === version || this.#isUnchanged(entry, this.#uses[at + 1]!);
        if (isUnchanged) recordHitLocked(state, entry);
      }
      lock.commitBeside();
      state.count("gets", this.#gets);
      state.count("hits", this.#hits);
      state.count("misses", this.#misses);
    } finally {
      this.#count = this.#gets = this.#hits = this.#misses = 0;
      lock.unlock();
    }
  }

  /** Whether the entry still exists and stands for the same page. */
  #isUnchanged(entry: WordIndex, value: number): boolean {
    const { index, words } = this.#state;
    return index.holds(entry) && words[entry + Entry.VALUE] === value;
  }
}

/** Records a hit with the policy, and sets the page's age to now. */
export function recordHitLocked(state: StoreContext, entry: WordIndex): void {
  const { words } = state;
  const meta = words[entry + Entry.META]!;
  if (Page.isListed(meta)) state.policies[Page.kindOf(meta)]!.recordHit(entry);
  const tick = words[state.root + Store.TICK]! & (Page.AGES - 1);
  if (Page.tickOf(meta) === tick) return;
  // Reads META again, because the policy may have changed its bits in it.
  put(words, entry + Entry.META, Page.withTick(words[entry + Entry.META]!, tick));
}
