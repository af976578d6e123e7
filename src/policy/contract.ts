// The contract of eviction policies. A policy keeps page entries in an order and names the next
// victim.
//
//   contract.ts     what every policy offers and costs
//   registry.ts     the policies by name
//   fifo.ts, sieve.ts, s3_fifo.ts, tinylfu.ts   the policies; lru is in fifo.ts
//   adaptive.ts                                 the policy that follows the traffic, with
//   expert_order.ts                             its experts, and
//   miniatures.ts, miniature_order.ts           what chooses among them
//   queue.ts, links.ts                          a queue of entries, which all policies are made of
//   frame_table.ts, ghosts.ts, sketch.ts        what is kept of pages that are not stored
//   policy.layout.ts                            words and bits of a policy
//   window.as.ts                                tinylfu and adaptive for the kernel of sets
//   admission.ts, watermarks.ts                 which page may enter; when to reclaim
//
// An entry is a few words in the arena that the index owns. A policy has two of these words for its
// link, and some bits of a third. PolicySpace says where they are, so that policies and index need
// not know each other. A policy has no other data per stored page.
//
// Concurrency: methods are called under the lock of the owner of the entries, except where one says
// that it needs no lock. All words are written through the journal (memory/journal.ts), so that a
// transaction that is rolled back leaves the order as it was. The costs below count such logged
// words.
import type { Nil, WordIndex } from "../base/brand.ts";

/** Words that a policy needs besides those in the entries; its owner provides them. */
export const POLICY_WORDS = 16;

/** Adjacent bits that a policy needs in a word of each entry. */
export const POLICY_BITS = 3;

/**
 * The number of recently used pages that one call of `victim` spares; it then takes the next page,
 * used or not. This bounds the time under the lock and the journal: each spared page costs s3-fifo
 * 11 words, 704 in all of the log's 4095. Between 16 and 4096 only a looping access pattern changes
 * the hit rate by more than 0.3 points (docs/decisions/0009-eviction-policy.md).
 */
export const SECOND_CHANCES = 64;

/** Where a policy finds its words in an entry, and what it may allocate. */
export interface PolicySpace {
  /** Offset, in an entry, of the link: two words that only the policy uses. */
  readonly links: number;
  /** Offset, in an entry, of the word that holds the policy's bits beside others. */
  readonly meta: number;
  /**
   * The lowest of the policy's POLICY_BITS bits in that word, 0 … 29. While an entry is listed,
   * only the policy writes these bits; other writers of the word keep them.
   */
  readonly bit: number;
  /** The owner's number under which the policy allocates page frames, if it needs any. */
  readonly owner: number;
  /**
   * The hash of a listed entry's page, the same as `push` was given; for one of several pages of a
   * value, that of its first page, by which requests for the value are counted. The `victim` of
   * tinylfu and adaptive calls it under the lock: for at most eight entries of the main queue, and
   * for those that are compared with one of them.
   */
  hashOf(entry: WordIndex): number;
  /**
   * Bytes that a listed entry's page occupies, at least 1; for one of several pages of a value,
   * about those of all. Called as `hashOf`, and by `push`.
   */
  sizeOf(entry: WordIndex): number;
  /** Bytes that the pages of all listed entries occupy; adaptive calls it under the lock. */
  heldBytes(): number;
  /** Pages of the value that an entry's page belongs to; without one of them, it is lost. */
  partsOf(entry: WordIndex): number;
  /** Whether the value of an entry has several pages, and a thread is about to store others. */
  isArriving(entry: WordIndex): boolean;
  /**
   * The number of absent pages to remember: as many as pages are expected to be stored at once.
   * s3-fifo uses 4 bytes for each, in whole frames, and one frame more as their directory; with
   * half as many it loses up to a point of hit rate, with none it can be worse than fifo. tinylfu
   * uses 8 bytes for each to count requests, adaptive 3 more, with 44 KiB at least. Others
   * allocate nothing.
   */
  readonly ghosts: number;
}

/** A space whose entries are independent of each other. */
export const WHOLE_PAGES: Pick<PolicySpace, "partsOf" | "isArriving"> = {
  partsOf: () => 1,
  isArriving: () => false,
};

export interface EvictionPolicy {
  /** The name in the registry. */
  readonly name: string;

  /** Whether `recordRequest` has an effect. If not, callers need not compute the hash. */
  readonly tracksRequests: boolean;

  /** Entries listed. */
  readonly count: number;

  /** Page frames that the policy has allocated. */
  readonly framesHeld: number;

  /**
   * Initializes the policy as an empty order; its creator calls it once, before others use it.
   * @throws ZcacheError ERR_ARENA_FULL if there are not enough free frames; ERR_OPTION for more
   *   ghosts than the policy can hold
   */
  format(): void;

  /** Frees the policy's frames; no other method may be called afterwards. */
  destroy(): void;

  /**
   * Counts a request for a page, stored or not. Needs no lock and logs nothing: the count is an
   * estimate that may miss some requests. About 20 ns.
   * @param meta META of the page's entry, or 0 if the page is not stored
   */
  recordRequest(hash: number, meta: number): void;

  /**
   * Adds an unlisted entry: a new page, or one whose old page was taken out by `remove`. Its link
   * and bits may hold anything. At most 7 words; adaptive also records the page for its
   * miniatures, and updates them if much is recorded, unlogged.
   * @param hash 32 well-mixed bits of the page's key, always the same for the same key
   */
  push(entry: WordIndex, hash: number): void;

  /**
   * Records a hit. fifo does nothing; sieve and s3-fifo test a bit and write at most one word; lru
   * writes 6 words, or none if the entry is the most recent already. The order does not change for
   * an entry that is not listed.
   */
  recordHit(entry: WordIndex): void;

  /**
   * Whether `recordHit` would change anything for an entry with this META. Needs no lock, because
   * it reads nothing else.
   */
  wantsHit(meta: number): boolean;

  /**
   * Takes an entry out, because its page is flushed, replaced, or on its way to the backing store.
   * `push` can list it again. Has no effect on an entry that is not listed any more. At most 6
   * words.
   */
  remove(entry: WordIndex): void;

  /**
   * Like `remove`, for a page that leaves as the policy's victim: the policy may remember its hash,
   * to recognize a page that comes back soon. At most 7 words.
   */
  evict(entry: WordIndex, hash: number): void;

  /**
   * Follows an entry, listed or removed, whose words have been copied to another place: links to
   * the old place now lead to the new one. Must be called before either place is written again. At
   * most 3 words.
   */
  relocate(from: WordIndex, to: WordIndex): void;

  /**
   * The entry to evict next, or NIL if none is listed. The entry stays listed: to evict it, the
   * caller calls `evict`, or `remove` if it is not certain yet that the page goes. The next call
   * may name another entry. Looks at no more than SECOND_CHANCES + 8 entries.
   */
  victim(): WordIndex | Nil;

  /**
   * Iterates from about the coldest to about the warmest entry, and visits each listed entry once
   * if the order does not change meanwhile; otherwise the caller bounds the iteration by `count`.
   * Writes nothing.
   * @param entry the current entry, which is listed, or NIL to begin
   * @returns the next entry, or NIL at the end
   */
  next(entry: WordIndex | Nil): WordIndex | Nil;

  /**
   * Checks lists and counts.
   * @param visit called once for each listed entry
   * @throws AssertionError naming what does not hold
   */
  verify(visit?: (entry: WordIndex) => void): void;
}
