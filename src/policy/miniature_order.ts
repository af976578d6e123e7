// The order of the pages in one miniature, by the rules of its expert. It links slots of the table
// of miniatures (miniatures.layout.ts).
import { assert } from "../base/errors.ts";
import { EXPERTS, ExpertOrder, USES_MAX } from "./expert_order.ts";
import * as Mini from "./miniatures.layout.ts";

/** Access to the table of miniatures. */
export interface MiniatureTable {
  /** One of the words before the slots. */
  get(nth: number): number;
  set(nth: number, value: number): void;
  /** A word of a slot. */
  word(slot: number, word: number): number;
  setWord(slot: number, word: number, value: number): void;
  sizeOf(slot: number): number;
  worthOf(slot: number): number;
}

/** The order of one expert's miniature. */
export class MiniatureOrder extends ExpertOrder {
  readonly #minis: MiniatureTable;
  readonly #nth: number;

  constructor(minis: MiniatureTable, nth: number) {
    super();
    this.#minis = minis;
    this.#nth = nth;
  }

  #own(word: number): number {
    return Mini.EXPERTS_AT + this.#nth * Mini.EXPERT_WORDS + word;
  }

  format(): void {
    for (let word = 0; word < Mini.EXPERT_WORDS; word++) this.#minis.set(this.#own(word), 0);
    this.#minis.set(this.#own(Mini.HAND), Mini.MAIN);
    for (const head of [Mini.WINDOW, Mini.MAIN]) {
      this.#minis.setWord(head, Mini.LINKS + this.#nth, head | (head << 16));
    }
  }

  get units(): number {
    return this.#minis.get(this.#own(Mini.UNITS));
  }

  get pages(): number {
    return this.windowCount + this.mainCount;
  }

  get gain(): number {
    return this.#minis.get(this.#own(Mini.GAIN));
  }

  set gain(hits: number) {
    this.#minis.set(this.#own(Mini.GAIN), hits);
  }

  get different(): number {
    return this.#minis.get(this.#own(Mini.DIFFERENT));
  }

  set different(requests: number) {
    this.#minis.set(this.#own(Mini.DIFFERENT), requests);
  }

  holds(slot: number): boolean {
    return (this.#stateOf(slot) & (Mini.IN_WINDOW | Mini.IN_MAIN)) !== 0;
  }

  recordHit(slot: number): void {
    const uses = this.usesOf(slot);
    if (uses < USES_MAX) this.setUses(slot, uses + 1);
  }

  add(slot: number, inMain: boolean): void {
    this.#setState(slot, inMain ? Mini.IN_MAIN : Mini.IN_WINDOW);
    this.#link(slot, inMain ? Mini.MAIN : Mini.WINDOW);
    this.#count(inMain ? Mini.MAIN_COUNT : Mini.WINDOW_COUNT, 1);
    this.#count(Mini.UNITS, this.#minis.sizeOf(slot));
  }

  remove(slot: number): void {
    const inMain = (this.#stateOf(slot) & Mini.IN_MAIN) !== 0;
    if (this.#minis.get(this.#own(Mini.HAND)) === slot) {
      this.#minis.set(this.#own(Mini.HAND), this.#prev(slot));
    }
    this.#unlink(slot);
    this.#setState(slot, 0);
    this.#count(inMain ? Mini.MAIN_COUNT : Mini.WINDOW_COUNT, -1);
    this.#count(Mini.UNITS, -this.#minis.sizeOf(slot));
  }

  /** Accounts for a page whose size changes by so many units. */
  resize(units: number): void {
    this.#count(Mini.UNITS, units);
  }

  /** The page to evict, or NIL. */
  victim(): number {
    return this.choose(EXPERTS[this.#nth]!, this.pages, 1);
  }

  protected override get windowCount(): number {
    return this.#minis.get(this.#own(Mini.WINDOW_COUNT));
  }

  protected override get mainCount(): number {
    return this.#minis.get(this.#own(Mini.MAIN_COUNT));
  }

  protected override windowOldest(): number {
    return this.#prev(Mini.WINDOW);
  }

  protected override renewInWindow(slot: number): void {
    this.#unlink(slot);
    this.#link(slot, Mini.WINDOW);
  }

  protected override promote(slot: number): void {
    this.#unlink(slot);
    this.#link(slot, this.#minis.get(this.#own(Mini.HAND)));
    this.#setState(slot, Mini.IN_MAIN);
    this.#count(Mini.WINDOW_COUNT, -1);
    this.#count(Mini.MAIN_COUNT, 1);
  }

  protected override usesOf(slot: number): number {
    return this.#stateOf(slot) & Mini.USES_MASK;
  }

  protected override setUses(slot: number, uses: number): void {
    this.#setState(slot, (this.#stateOf(slot) & ~Mini.USES_MASK) | uses);
  }

  protected override atHand(): number {
    const hand = this.#minis.get(this.#own(Mini.HAND));
    return hand === Mini.MAIN ? this.#prev(hand) : hand;
  }

  protected override setHand(slot: number): void {
    this.#minis.set(this.#own(Mini.HAND), slot);
  }

  protected override afterInMain(slot: number): number {
    const newer = this.#prev(slot);
    return newer === Mini.MAIN ? this.#prev(newer) : newer;
  }

  protected override worthOf(slot: number, _limit: number): number {
    return this.#minis.worthOf(slot);
  }

  #stateOf(slot: number): number {
    const shift = this.#nth * Mini.STATE_BITS;
    return (this.#minis.word(slot, Mini.STATES) >>> shift) & Mini.STATE_MASK;
  }

  #setState(slot: number, state: number): void {
    const shift = this.#nth * Mini.STATE_BITS;
    const others = this.#minis.word(slot, Mini.STATES) & ~(Mini.STATE_MASK << shift);
    this.#minis.setWord(slot, Mini.STATES, others | (state << shift));
  }

  #count(word: number, delta: number): void {
    this.#minis.set(this.#own(word), this.#minis.get(this.#own(word)) + delta);
  }

  #next(slot: number): number {
    return this.#minis.word(slot, Mini.LINKS + this.#nth) & 0xffff;
  }

  #prev(slot: number): number {
    return this.#minis.word(slot, Mini.LINKS + this.#nth) >>> 16;
  }

  #setNext(slot: number, next: number): void {
    this.#minis.setWord(slot, Mini.LINKS + this.#nth, (this.#prev(slot) << 16) | next);
  }

  #setPrev(slot: number, prev: number): void {
    this.#minis.setWord(slot, Mini.LINKS + this.#nth, (prev << 16) | this.#next(slot));
  }

  /** Inserts a slot behind another one or a head: `next` leads to older pages. */
  #link(slot: number, at: number): void {
    const next = this.#next(at);
    this.#minis.setWord(slot, Mini.LINKS + this.#nth, (at << 16) | next);
    this.#setPrev(next, slot);
    this.#setNext(at, slot);
  }

  #unlink(slot: number): void {
    this.#setNext(this.#prev(slot), this.#next(slot));
    this.#setPrev(this.#next(slot), this.#prev(slot));
  }

  /** Checks the queues. */
  verify(): void {
    for (const [head, count] of [
      [Mini.WINDOW, this.windowCount],
      [Mini.MAIN, this.mainCount],
    ] as const) {
      let counted = 0;
      for (let slot = this.#next(head); slot !== head; slot = this.#next(slot)) {
        assert(this.#prev(this.#next(slot)) === slot, "links of a miniature agree");
        assert(this.holds(slot), "a miniature holds what it lists");
        assert(++counted <= count, "a queue of a miniature is counted");
      }
      assert(counted === count, "a queue of a miniature is counted");
    }
  }
}
