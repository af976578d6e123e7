// The rules by which the experts of the adaptive policy order entries. An expert is a set of rules
// for one structure: a window, a queue in the order of arrival, and a main queue, a clock. Because
// all experts use the same structure, the policy follows another expert from one call to the next.
//
//   new ──► window ──► used often? ──yes──────────────────────────► main
//             ▲  │ used once: again      │ no
//             └──┘                       ▼
//                      worth more than main's victim? ──yes──► main, and main's victim is gone
//                                        │ no
//                                        ▼
//                                       gone
//
// The hand of the main queue passes entries that were used, and lowers or clears their uses. Of the
// next entries, as many as the expert samples, the one of least worth is the victim. New entries
// come in behind the hand, so that it reaches them last. The worth of an entry is the number of its
// recent requests divided by its size.
//
// A value of several pages has an entry for each, all of about the same worth. While they are being
// stored, the window grows by them at the cost of the main queue. Afterwards they are compared like
// others, and if one loses, the value is gone as a whole; the main queue grows again by entries
// that are worth more than its victim.
//
// The rules have two implementations of their storage: the entries of the policy (adaptive.ts) and
// the slots of miniature caches (miniatures.ts).
import { NIL } from "../base/brand.ts";
import { SECOND_CHANCES } from "./contract.ts";

export interface Expert {
  /** The share of all entries that the window holds. */
  readonly window: number;
  /** Uses in the window after which an entry moves to the main queue without a comparison. */
  readonly usesToStay: number;
  /** Whether the hand clears the uses of an entry that it passes; otherwise it subtracts one. */
  readonly clears: boolean;
  /**
   * Entries of the main queue that are compared for one victim. With one, the hand waits at the
   * entry until a more worthy one comes: entries that are requested in a loop are not exchanged
   * for each other.
   */
  readonly samples: number;
}

/**
 * The experts. The first is for loops and for skewed requests to entries of one size, the second
 * for skewed requests to entries of different sizes, the third for a mixture of frequency and
 * recency, the last for recency.
 */
export const EXPERTS: readonly Expert[] = [
  { window: 0.01, usesToStay: 2, clears: false, samples: 1 },
  { window: 0.05, usesToStay: 2, clears: false, samples: 8 },
  { window: 0.2, usesToStay: 2, clears: false, samples: 1 },
  { window: 0.4, usesToStay: 1, clears: true, samples: 1 },
];

/** The experts to begin with, for entries of one size and, only for these, of different sizes. */
export const FIRST_EXPERT = 0;
export const FIRST_EXPERT_SIZES = 1;

/** Entries that a search may pass before it samples; with the samples, fewer than `victim` may. */
const CHANCES = SECOND_CHANCES - 4;

/** The window may grow to so many times the entries of the main queue by a value of many pages. */
const GROWTH_MAX = 16;

/** Hits that are counted for an entry, at most. */
export const USES_MAX = 3;

export abstract class ExpertOrder {
  /** Entries that the current search may still pass. */
  #chances = 0;
  /** Where the hand goes on after the last `#mainVictim`, and the worth of that victim. */
  #next = 0;
  #least = 0;

  protected abstract readonly windowCount: number;
  protected abstract readonly mainCount: number;
  protected abstract windowOldest(): number;
  protected abstract renewInWindow(entry: number): void;
  /** Moves an entry from the window to the main queue, behind the hand, with no uses. */
  protected abstract promote(entry: number): void;
  protected abstract usesOf(entry: number): number;
  protected abstract setUses(entry: number, uses: number): void;
  /** The entry of the main queue, which is not empty, at which the hand stands. */
  protected abstract atHand(): number;
  protected abstract setHand(entry: number): void;
  /** The entry of the main queue that the hand reaches after this one. */
  protected abstract afterInMain(entry: number): number;
  /** The worth of an entry, or, if that is not below `limit`, any number that is not either. */
  protected abstract worthOf(entry: number, limit: number): number;

  /** As `PolicySpace.partsOf`. */
  protected partsOf(_entry: number): number {
    return 1;
  }

  /** Whether the window keeps its only entry: a page is evicted after it is stored, not before. */
  protected get keepsLast(): boolean {
    return false;
  }

  /** As `PolicySpace.isArriving`. */
  protected isArriving(_entry: number): boolean {
    return false;
  }

  /**
   * Chooses the entry to evict, which stays listed.
   * @param capacity entries listed when a round of evictions begins
   * @param round entries that a round evicts; the window holds as many at least
   */
  protected choose(expert: Expert, capacity: number, round: number): number {
    const window = Math.max(1, round, Math.floor(capacity * expert.window));
    const target = capacity - window;
    // Values of different sizes make the number of entries vary from round to round. Without a
    // tolerance, each variation would promote entries that are worth less than those evicted.
    const tolerance = expert.samples > 1 ? window >>> 1 : 0;
    this.#chances = CHANCES;
    // An order whose expert wants a smaller window than the last one.
    while (this.#chances > 0 && this.mainCount < target - tolerance && this.windowCount > 1) {
      const oldest = this.windowOldest();
      if (this.partsOf(oldest) > 1) break;
      this.promote(oldest);
      this.#chances--;
    }
    let victim = NIL as number;
    while (this.windowCount > 0 && this.mainCount <= target + tolerance) {
      const oldest = this.windowOldest();
      const uses = this.#chances > 0 ? this.usesOf(oldest) : 0;
      if (uses > 0 && uses < expert.usesToStay) {
        this.setUses(oldest, 0);
        this.renewInWindow(oldest);
        this.#chances--;
        continue;
      }
      if (this.mainCount === 0) return oldest;
      if (victim === NIL) victim = this.#mainVictim(expert);
      if (this.#mayStay(oldest, window)) break;
      if (uses === 0 && this.worthOf(oldest, Number.POSITIVE_INFINITY) <= this.#least) {
        if (expert.samples > 1) this.setHand(this.#next);
        return oldest;
      }
      this.promote(oldest);
      // Otherwise the main queue has lost entries to a value of many pages.
      if (this.#chances-- <= 0 || this.mainCount > target - tolerance) break;
    }
    if (victim !== NIL) {
      this.setHand(this.#next);
      return victim;
    }
    if (this.mainCount === 0) return this.windowCount === 0 ? NIL : this.windowOldest();
    victim = this.#mainVictim(expert);
    this.setHand(this.#next);
    return victim;
  }

  /**
   * Whether the oldest entry of the window is not compared yet: the entry that was stored last; or
   * one of several pages of a value that is being stored, or that has not been in the window with
   * as many entries as it holds.
   */
  #mayStay(oldest: number, window: number): boolean {
    if (this.windowCount === 1 && this.keepsLast) return true;
    const parts = this.partsOf(oldest);
    if (parts === 1 || this.windowCount >= GROWTH_MAX * this.mainCount) return false;
    return this.windowCount < window + parts || this.isArriving(oldest);
  }

  /** The entry of least worth among the first unused ones; the hand stops at the first of them. */
  #mainVictim(expert: Expert): number {
    let samples = Math.min(expert.samples, this.mainCount);
    let entry = this.atHand();
    let first = NIL as number;
    let victim = entry;
    this.#least = Number.POSITIVE_INFINITY;
    for (;;) {
      const uses = this.#chances > 0 ? this.usesOf(entry) : 0;
      if (uses > 0) {
        this.setUses(entry, expert.clears ? 0 : uses - 1);
        this.#chances--;
      } else {
        if (first === NIL) first = entry;
        const worth = this.worthOf(entry, this.#least);
        if (worth < this.#least) {
          this.#least = worth;
          victim = entry;
        }
        if (--samples === 0) break;
      }
      entry = this.afterInMain(entry);
    }
    this.#next = this.afterInMain(entry);
    this.setHand(first);
    return victim;
  }
}
