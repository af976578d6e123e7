// What every eviction policy is: an order over page entries that says which of them leaves next.
//
// An entry is a few words in the arena that the index owns. Of these a policy has two for its link
// and some bits of a third; where they stand, the owner says (PolicySpace), so that policy and
// index need not know each other. A policy keeps nothing else per page that is there.
//
// Called under the lock of whoever owns the entries. All words are written through the journal
// (memory/journal.ts), so a transaction that is rolled back leaves the order as it was. "Words" in
// what is said of cost are such logged words.
import type { Nil, WordIndex } from "../base/brand.ts";

/** Words of its own that a policy needs beside the entries; its owner provides them. */
export const POLICY_WORDS = 12;

/** Neighbouring bits that a policy needs in a word of each entry. */
export const POLICY_BITS = 3;

/**
 * How many pages that were used since they were last looked at one call of `victim` spares before
 * it takes the next one, used or not. Bounds the time under the lock and the journal: a page spared
 * costs s3-fifo 11 words, in all 704 of the log's 4095. Between 16 and 4096 only a loop shows a
 * difference of more than 0.3 points in hits (docs/decisions/0009-eviction-policy.md).
 */
export const SECOND_CHANCES = 64;

/** Where a policy finds its words in an entry, and what it may take for itself. */
export interface PolicySpace {
  /** The word of an entry with which its link begins: two words that are the policy's alone. */
  readonly links: number;
  /** The word of an entry that holds the policy's bits beside others. */
  readonly meta: number;
  /**
   * The lowest of the POLICY_BITS neighbouring bits of that word, 0 … 29. While an entry is listed,
   * only the policy writes them: a new value of the word is made from what stands there.
   */
  readonly bit: number;
  /** Frame number under which frames are taken, for policies that need any. */
  readonly owner: number;
  /**
   * The hash of a listed entry's page, as `push` got it. Called by `victim` of tinylfu, nine times
   * at most, under the lock.
   */
  hashOf(entry: WordIndex): number;
  /** Bytes that a listed entry's page takes, 1 or more; called as `hashOf` is. */
  sizeOf(entry: WordIndex): number;
  /**
   * Pages that are not there and of which something is known: as many as are expected at once.
   * s3-fifo remembers so many that left, 4 bytes each, in whole frames, and a frame that lists
   * these; with half as many it loses up to a point of hits, with none it can be worse than fifo.
   * tinylfu counts requests in 8 bytes for each. The other policies take nothing.
   */
  readonly ghosts: number;
}

export interface EvictionPolicy {
  /** The name in the registry. */
  readonly name: string;

  /** Whether `recordRequest` does anything: whoever calls it needs a hash, and may spare that. */
  readonly tracksRequests: boolean;

  /** Entries listed. */
  readonly count: number;

  /** Page frames held under the owner's number. */
  readonly framesHeld: number;

  /**
   * Makes the policy's words an empty order; once, by the maker, before others use it.
   * @throws ZcacheError ERR_ARENA_FULL if the frames that the policy needs are not to be had;
   *   ERR_OPTION for more ghosts than can be
   */
  format(): void;

  /** Gives the policy's frames back; nothing may be called afterwards. */
  destroy(): void;

  /**
   * A page was asked for, whether it is there or not. Needs no lock and logs nothing: an estimate
   * is kept that may miss some. About 20 ns.
   */
  recordRequest(hash: number): void;

  /**
   * Lists an entry that is not listed: a new page, or one whose page was replaced and that was
   * `remove` before. What its link and bits hold does not matter. At most 7 words.
   * @param hash 32 well-mixed bits of the page's key, always the same for the same key
   */
  push(entry: WordIndex, hash: number): void;

  /**
   * The page was asked for. fifo: nothing. sieve, s3-fifo: a test and at most one word. lru: 6
   * words, none if it is the latest already. Nothing happens to the order for an entry that is
   * not listed.
   */
  recordHit(entry: WordIndex): void;

  /**
   * Whether `recordHit` would change anything for an entry with this META. Needs no lock, because
   * it reads nothing else.
   */
  wantsHit(meta: number): boolean;

  /**
   * Takes an entry out: flushed, replaced, or on its way to the backing store. It can be listed
   * again by `push`. Harmless for an entry that was taken out before. At most 6 words.
   */
  remove(entry: WordIndex): void;

  /**
   * Like `remove`, for a page that leaves because the policy said so: one that comes back soon is
   * known by its hash. At most 7 words.
   */
  evict(entry: WordIndex, hash: number): void;

  /**
   * The words of an entry, listed or removed, have been copied to another place: what led to it
   * leads there. To be called before either place is written again. At most 3 words.
   */
  relocate(from: WordIndex, to: WordIndex): void;

  /**
   * Who goes next, or NIL if nobody is listed. The entry stays listed: whoever evicts it calls
   * `evict`, or `remove` when it is not certain yet. Asked again, it may name another. Looks at
   * no more than SECOND_CHANCES + 8 entries.
   */
  victim(): WordIndex | Nil;

  /**
   * A walk from about the coldest to about the warmest entry, each listed one once if nothing
   * changes meanwhile; otherwise the caller bounds it by `count`. Writes nothing.
   * @param entry where the walk stands: an entry that is listed, or NIL to begin
   */
  next(entry: WordIndex | Nil): WordIndex | Nil;

  /**
   * Checks that all lists are whole and the counts right.
   * @param visit is called once for each listed entry
   */
  verify(visit?: (entry: WordIndex) => void): void;
}
