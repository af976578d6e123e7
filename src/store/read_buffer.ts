// What readers have to say, kept until there is a good moment: which pages were used, and how often
// something was asked for. A hit that took the lock to move a page in an order would make all
// readers wait for each other; so each thread keeps its notes and tells them some at a time, when
// nobody else has the lock. (Caffeine's read buffer.)
import type { WordIndex } from "../base/brand.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import type { StoreContext } from "./parts.ts";
import * as Store from "./store.layout.ts";

/** Notes after which they are told if the lock is free; and after which in any case. */
const FLUSH_AT = 32;
const CAPACITY = 128;
const USE_WORDS = 3;
/** Gets after which the counters are brought up to date, if no page was to be noted. */
const COUNT_AT = 1024;

export class ReadBuffer {
  readonly #state: StoreContext;
  /** Of each use: the entry, its VALUE, and the version of the store at which both were so. */
  readonly #uses = new Int32Array(CAPACITY * USE_WORDS);
  #count = 0;
  #gets = 0;
  #hits = 0;
  #misses = 0;

  constructor(state: StoreContext) {
    this.#state = state;
  }

  /** A get: a hit, a miss, or neither yet. */
  countGet(isHit: boolean, isMiss: boolean): void {
    this.#gets++;
    if (isHit) this.#hits++;
    if (isMiss) this.#misses++;
    if (this.#gets >= COUNT_AT && this.#count === 0) this.flush();
  }

  /** Corrects what was counted, here or under the lock: by how much there is more of each. */
  adjustCounts(gets: number, hits: number, misses: number): void {
    this.#gets += gets;
    this.#hits += hits;
    this.#misses += misses;
  }

  /** A page was used that was seen at this version of the store: noted if it changes anything. */
  recordHit(entry: WordIndex, value: number, meta: number, version: number): void {
    const { words, root, policies } = this.#state;
    const tick = words[root + Store.TICK]! & (Page.AGES - 1);
    const isMinded = Page.isListed(meta) && policies[Page.kindOf(meta)]!.wantsHit(meta);
    if (isMinded || Page.tickOf(meta) !== tick) this.#record(entry, value, version);
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

  /** Tells all there is. Not under the lock. */
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
        const isThere = this.#uses[at + 2] === version || this.#isThere(entry, this.#uses[at + 1]!);
        if (isThere) recordHitLocked(state, entry);
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

  /** Whether there is an entry yet where there was one, and it stands for the same. */
  #isThere(entry: WordIndex, value: number): boolean {
    const { index, words } = this.#state;
    return index.holds(entry) && words[entry + Entry.VALUE] === value;
  }
}

/** Tells the policy that a page was used, and marks it as used now. */
export function recordHitLocked(state: StoreContext, entry: WordIndex): void {
  const { words } = state;
  const meta = words[entry + Entry.META]!;
  if (Page.isListed(meta)) state.policies[Page.kindOf(meta)]!.recordHit(entry);
  const tick = words[state.root + Store.TICK]! & (Page.AGES - 1);
  if (Page.tickOf(meta) === tick) return;
  // The policy may have set its bits meanwhile.
  put(words, entry + Entry.META, Page.withTick(words[entry + Entry.META]!, tick));
}
