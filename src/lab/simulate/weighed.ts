// Simulated caches that evict the value of least worth. No store has them; they show how much could
// be gained.
//
// gdsf: worth is (requests since the value entered) ÷ bytes, plus the worth of the value evicted
// last, so that old values lose weight. After L. Cherkasova, "Improving WWW Proxies Performance
// with Greedy-Dual-Size-Frequency Caching Policy" (HP Labs 1998).
// belady: evicts the value whose next request is last. It knows the future: optimal for values of
// one size, and close to that for others.
import { NIL } from "../../base/brand.ts";
import { SimulatedCache } from "./cache.ts";
import { SlotHeap } from "./heap.ts";
import { Slots } from "./slots.ts";

abstract class WeighedCache extends SimulatedCache {
  protected readonly slots = new Slots();
  readonly #heap = new SlotHeap((slot) => this.slots.worths[slot]!);

  protected override access(key: number, costBytes: number): boolean {
    this.arrives();
    const slot = this.slots.find(key);
    if (slot !== NIL) {
      this.#resize(slot, costBytes);
      this.slots.worths[slot] = this.worthAgain(slot);
      this.#heap.changed(slot);
      while (this.tally.usedBytes > this.budgetBytes) this.#drop(this.#heap.least);
      return true;
    }
    if (costBytes > this.budgetBytes) {
      this.tally.tooLarge++;
      return false;
    }
    const added = this.slots.add(key, costBytes);
    this.entered(costBytes);
    this.slots.worths[added] = this.worthNew(added);
    this.#heap.add(added);
    while (this.tally.usedBytes > this.budgetBytes) {
      const least = this.#heap.least;
      this.#drop(least);
      if (least !== added) continue;
      this.tally.refused++;
      this.tally.evictions--;
      break;
    }
    return false;
  }

  /** Called when a request begins. */
  protected arrives(): void {}
  protected abstract worthNew(slot: number): number;
  protected abstract worthAgain(slot: number): number;
  protected dropped(_worth: number): void {}

  #resize(slot: number, costBytes: number): void {
    this.left(this.slots.costs[slot]!);
    this.slots.costs[slot] = costBytes;
    this.entered(costBytes);
  }

  #drop(slot: number): void {
    this.#heap.remove(slot);
    this.left(this.slots.costs[slot]!);
    this.slots.remove(slot);
    this.dropped(this.slots.worths[slot]!);
    this.tally.evictions++;
  }
}

export class Gdsf extends WeighedCache {
  #age = 0;
  readonly #uses: number[] = [];

  protected override worthNew(slot: number): number {
    this.#uses[slot] = 0;
    return this.worthAgain(slot);
  }

  protected override worthAgain(slot: number): number {
    const uses = (this.#uses[slot] ?? 0) + 1;
    this.#uses[slot] = uses;
    return this.#age + uses / Math.max(1, this.slots.costs[slot]!);
  }

  protected override dropped(worth: number): void {
    this.#age = worth;
  }
}

export class Belady extends WeighedCache {
  #nextUse: ArrayLike<number> = [];
  #nth = -1;

  /** @param nextUse by request: the number of the next request for its key, or infinity */
  foresee(nextUse: ArrayLike<number>): void {
    this.#nextUse = nextUse;
  }

  protected override arrives(): void {
    this.#nth++;
  }

  protected override worthNew(): number {
    return -this.#nextUse[this.#nth]!;
  }

  protected override worthAgain(): number {
    return -this.#nextUse[this.#nth]!;
  }
}

/** For each request of a trace, the number of the next request for its key. */
export function nextUses(keys: ArrayLike<number>): Float64Array {
  const next = new Float64Array(keys.length);
  const lastSeen = new Map<number, number>();
  for (let nth = keys.length - 1; nth >= 0; nth--) {
    const key = keys[nth]!;
    next[nth] = lastSeen.get(key) ?? Number.POSITIVE_INFINITY;
    lastSeen.set(key, nth);
  }
  return next;
}
