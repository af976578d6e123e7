// W-TinyLFU in its plain form: a window in the order of use, and a main part of two segments,
// probation and protected. A value that leaves the window replaces the oldest in probation if it
// was requested more often, and is evicted if not. The share of the window climbs towards more
// hits.
//
//   new ──► window ──► more often than the oldest in probation? ──no──► gone
//                           │ yes: that one is gone
//                           ▼
//                      probation ──► used ──► protected (80 % of main)
//                           ▲ ─────────────── the oldest, if that is full
//
// After G. Einziger et al., "Adaptive Software Cache Management" (Middleware 2018).
import { NIL } from "../../base/brand.ts";
import { MIB } from "../../base/units.ts";
import { Arena } from "../../memory/arena.ts";
import { FrequencySketch, SKETCH_WORDS } from "../../policy/sketch.ts";
import { type CacheSpace, SimulatedCache } from "./cache.ts";
import { keyHash } from "./request.ts";
import { SlotList, Slots } from "./slots.ts";

const WINDOW = 0;
const PROBATION = 1;
const PROTECTED = 2;

const WINDOW_SHARE = 0.01;
const PROTECTED_SHARE = 0.8;
/**
 * The climb: after so many requests per value, the window changes by this part of the budget, less
 * each time.
 */
const SAMPLE = 10;
const STEP = 0.0625;
const STEP_DECAY = 0.98;
/** A change of the hit rate by this much restarts the climb. */
const RESTART = 0.05;

export class WTinyLfu extends SimulatedCache {
  readonly #slots = new Slots();
  readonly #window = new SlotList(this.#slots, WINDOW);
  readonly #probation = new SlotList(this.#slots, PROBATION);
  readonly #protected = new SlotList(this.#slots, PROTECTED);
  readonly #arena: Arena;
  readonly #sketch: FrequencySketch;
  readonly #adaptive: boolean;
  #windowBytes: number;
  #step: number;
  #sampled = 0;
  #hits = 0;
  #rateBefore = 0;

  constructor(space: CacheSpace, adaptive: boolean) {
    super(space);
    this.#adaptive = adaptive;
    this.#windowBytes = space.budgetBytes * WINDOW_SHARE;
    this.#step = STEP * space.budgetBytes;
    const sizeBytes = Math.ceil((2 * MIB + space.valuesExpected * 16) / MIB) * MIB;
    this.#arena = Arena.create({ sizeBytes });
    const at = this.#arena.reserve(SKETCH_WORDS * 4) / 4;
    this.#sketch = new FrequencySketch(this.#arena, at, 1, space.valuesExpected);
    this.#sketch.format();
  }

  override close(): void {
    this.#arena.close();
  }

  protected override access(key: number, costBytes: number): boolean {
    this.#sketch.count(keyHash(key));
    const slot = this.#slots.find(key);
    if (this.#adaptive) this.#climb(slot !== NIL);
    if (slot !== NIL) {
      this.#used(slot, costBytes);
      this.#settle();
      return true;
    }
    if (costBytes > this.budgetBytes) {
      this.tally.tooLarge++;
      return false;
    }
    this.#window.addNewest(this.#slots.add(key, costBytes));
    this.entered(costBytes);
    this.#settle();
    return false;
  }

  #used(slot: number, costBytes: number): void {
    const list = this.#listOf(slot);
    list.remove(slot);
    this.left(this.#slots.costs[slot]!);
    this.#slots.costs[slot] = costBytes;
    this.entered(costBytes);
    (list === this.#window ? list : this.#protected).addNewest(slot);
  }

  #listOf(slot: number): SlotList {
    const tag = this.#slots.tags[slot]!;
    return tag === WINDOW ? this.#window : tag === PROBATION ? this.#probation : this.#protected;
  }

  /** Moves and evicts values until all parts are within their limits. */
  #settle(): void {
    const mainBytes = this.budgetBytes - this.#windowBytes;
    const protectedBytes = mainBytes * PROTECTED_SHARE;
    while (this.#protected.bytes > protectedBytes) {
      move(this.#protected.oldest, this.#protected, this.#probation);
    }
    while (this.#window.bytes > this.#windowBytes) {
      const candidate = this.#window.oldest;
      move(candidate, this.#window, this.#probation);
      this.#duel(candidate);
    }
    while (this.tally.usedBytes > this.budgetBytes) this.#drop(this.#victim());
  }

  /** Makes room for a value from the window, or evicts it. */
  #duel(candidate: number): void {
    const its = this.#estimate(candidate);
    while (this.tally.usedBytes > this.budgetBytes) {
      const victim = this.#victim();
      if (victim === candidate || this.#estimate(victim) >= its) {
        this.#drop(candidate);
        this.tally.refused++;
        this.tally.evictions--;
        return;
      }
      this.#drop(victim);
    }
  }

  #victim(): number {
    for (const list of [this.#probation, this.#protected]) {
      if (list.oldest !== NIL) return list.oldest;
    }
    return this.#window.oldest;
  }

  #drop(slot: number): void {
    this.#listOf(slot).remove(slot);
    this.left(this.#slots.costs[slot]!);
    this.#slots.remove(slot);
    this.tally.evictions++;
  }

  #estimate(slot: number): number {
    return this.#sketch.estimate(keyHash(this.#slots.keys[slot]!));
  }

  #climb(hit: boolean): void {
    if (hit) this.#hits++;
    if (++this.#sampled < SAMPLE * Math.max(1000, this.#slots.count)) return;
    const rate = this.#hits / this.#sampled;
    const change = rate - this.#rateBefore;
    if (change < 0) this.#step = -this.#step;
    if (Math.abs(change) >= RESTART) {
      this.#step = Math.sign(this.#step) * STEP * this.budgetBytes;
    } else this.#step *= STEP_DECAY;
    this.#rateBefore = rate;
    this.#sampled = this.#hits = 0;
    const most = this.budgetBytes * 0.8;
    const least = this.budgetBytes * WINDOW_SHARE;
    this.#windowBytes = Math.min(most, Math.max(least, this.#windowBytes + this.#step));
    // A growing window takes over values that would leave the main part first.
    const room = this.#windowBytes;
    while (this.#probation.oldest !== NIL && this.#window.bytes < room * 0.95) {
      move(this.#probation.oldest, this.#probation, this.#window);
    }
  }
}

function move(slot: number, from: SlotList, to: SlotList): void {
  from.remove(slot);
  to.addNewest(slot);
}
