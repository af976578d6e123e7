// Which class takes an object of which size, when a class is divided, and when two are merged.
//
// A class of width w (it takes sizes of w different granules) wastes half of w in each object; a
// class more wastes half a page frame, its last one. So many classes suit a large pool and few a
// small one: a class is worth splitting in the middle when what the lower half of its objects would
// save is more than what the new class costs:
//
//   objects / 2 × width / 2 × granule  >  page / 2
//
// The division starts coarse, and a class is split as it fills, which fits the classes to the sizes
// that do occur. Objects that came before a split stay in slots that are too large for them, and a
// pool that grows to fill its arena would pay for that at every doubling: so once the pool has
// taken a small share of the arena's frames, all classes are split to the width that suits a full
// arena.
//
// Objects stay where they are when their class is split, in slots that may now be larger than
// needed; by the rule above that costs no more than the new class itself, and ends when they are
// replaced.
//
// A pool that shrinks has too many classes: one that has become nearly empty is retired, and the
// class above takes its sizes and drains it: a free there fills the hole with the retired class's
// last object instead of its own, which fits. So merging takes no copy that a free would not make
// anyway, and both classes are full but for their last frame meanwhile.
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, put } from "../../memory/journal.ts";
import * as Dense from "./dense.layout.ts";

/** Instead of a fixed width: classes are split as they fill. */
export const ADAPTIVE = 0;
/** The classes that an adaptive division starts with: 128 bytes wide at 4 KiB, 32 classes. */
const FIRST_WIDTH = 16;
/**
 * The share of the arena's frames from which on a pool is taken for one that will fill it: 1/512.
 */
const GROWING_SHIFT = 9;
/**
 * objects × width above which a split pays: see above, in granules, of which a page has GRANULES.
 */
const SPLIT_ABOVE = 2 * Dense.GRANULES;

/**
 * objects of the lower class × width of the upper one below which two classes are merged: a fifth
 * of where it would pay, so that a pool which loses half of its objects and gets them back keeps
 * its classes.
 */
const MERGE_BELOW = SPLIT_ABOVE / 4 / 5;

export class SizeClasses {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #granuleShift: number;
  readonly #width: number;
  readonly #fullWidth: number;
  /** Pages from which on classes have the width that suits a full arena. */
  readonly #growingPages: number;

  /** @param own word index of the pool's own words  @param width granules, or ADAPTIVE */
  constructor(arena: Arena, own: number, width: number) {
    this.#words = arena.words;
    this.#own = own;
    this.#granuleShift = arena.frames.pageShift - Dense.GRANULES_ORDER;
    this.#width = width;
    this.#fullWidth = fullWidth(arena.frames.framesTotal);
    this.#growingPages = arena.frames.framesTotal >>> GROWING_SHIFT;
  }

  /** Makes the first division; once, by the pool's maker. */
  format(): void {
    const width = this.#width === ADAPTIVE ? FIRST_WIDTH : this.#width;
    for (let index = width - 1; index < Dense.GRANULES; index += width) {
      this.#assign(index, index + 1 - width);
    }
  }

  /** The class for objects of this size, 1 … page size. */
  find(sizeBytes: number): number {
    return this.#words[this.#own + Dense.CLASS_FOR + ((sizeBytes - 1) >>> this.#granuleShift)]!;
  }

  /** Takes note that a class has one object more, and the pool so many pages: may split classes. */
  grown(index: number, pages: number): void {
    if (this.#width !== ADAPTIVE) return;
    if (pages >= this.#growingPages && this.#words[this.#own + Dense.GROWN] === 0) {
      this.#splitAll();
    }
    const at = this.#classAt(index);
    const width = index + 1 - this.#words[at + Dense.FLOOR]!;
    if (width > 1 && this.#words[at + Dense.COUNT]! * width > SPLIT_ABOVE) this.#split(index);
  }

  /**
   * The class whose last object is to fill a hole in this one: the class itself, or one that was
   * merged into it and still has objects.
   */
  donor(index: number): number {
    const drainsAt = this.#classAt(index) + Dense.DRAINS;
    const donor = this.#words[drainsAt]! - 1;
    if (donor < 0) return index;
    if (this.#isRetired(donor) && this.#words[this.#classAt(donor) + Dense.COUNT]! > 0) {
      return donor;
    }
    put(this.#words, drainsAt, 0);
    return index;
  }

  /** Takes note that a class has one object less: may merge it with the class above. */
  shrunk(index: number): void {
    if (this.#width !== ADAPTIVE || index + 1 === Dense.GRANULES) return;
    const words = this.#words;
    const at = this.#classAt(index);
    const above = words[this.#own + Dense.CLASS_FOR + index + 1]!;
    if (words[at + Dense.COUNT]! * (above - index) > MERGE_BELOW || this.#isRetired(index)) return;
    const aboveAt = this.#classAt(above);
    const floor = words[at + Dense.FLOOR]!;
    if (above + 1 - floor > FIRST_WIDTH) return;
    // One at a time: a class that nobody drains any more would keep what it has for ever.
    if (words[aboveAt + Dense.DRAINS] !== 0) return;
    assert(words[at + Dense.DRAINS] === 0, "a class loses its own objects when it drains no other");
    this.#assign(above, floor);
    put(words, aboveAt + Dense.DRAINS, index + 1);
  }

  /**
   * Every size has one class, the smallest of those in use that it fits, and what is left in a
   * retired class is drained by one in use.
   */
  verify(): void {
    const words = this.#words;
    const drained = new Set<number>();
    for (let granule = 0; granule < Dense.GRANULES; granule++) {
      const index = words[this.#own + Dense.CLASS_FOR + granule]!;
      const floor = words[this.#classAt(index) + Dense.FLOOR]!;
      assert(floor <= granule && granule <= index, "a size lies within the range of its class");
      const drains = words[this.#classAt(index) + Dense.DRAINS]! - 1;
      assert(drains < index, "what is drained into a class fits its slots");
      drained.add(drains);
    }
    for (let index = 0; index < Dense.GRANULES; index++) {
      const left = this.#isRetired(index) ? words[this.#classAt(index) + Dense.COUNT]! : 0;
      assert(left === 0 || drained.has(index), "a retired class is drained");
    }
  }

  /** Splits every class down to the width that suits a full arena; moves nothing. */
  #splitAll(): void {
    put(this.#words, this.#own + Dense.GROWN, 1);
    for (let index = 0; index < Dense.GRANULES; ) {
      const owner = this.#words[this.#own + Dense.CLASS_FOR + index]!;
      const floor = this.#words[this.#classAt(owner) + Dense.FLOOR]!;
      if (owner + 1 - floor > this.#fullWidth) this.#split(owner);
      else index = owner + 1;
    }
  }

  /** Whether a class takes no more objects. */
  #isRetired(index: number): boolean {
    return this.#words[this.#own + Dense.CLASS_FOR + index] !== index;
  }

  /** Gives the lower half of a class's sizes to another. */
  #split(index: number): void {
    const at = this.#classAt(index);
    const floor = this.#words[at + Dense.FLOOR]!;
    const middle = floor + ((index + 1 - floor) >>> 1);
    this.#assign(middle - 1, floor);
    put(this.#words, at + Dense.FLOOR, middle);
    add(this.#words, this.#own + Dense.SPLITS, 1);
  }

  /** Gives the sizes of floor + 1 … index + 1 granules to a class. */
  #assign(index: number, floor: number): void {
    put(this.#words, this.#classAt(index) + Dense.FLOOR, floor);
    const map = this.#own + Dense.CLASS_FOR;
    for (let granule = floor; granule <= index; granule++) put(this.#words, map + granule, index);
  }

  #classAt(index: number): number {
    return this.#own + Dense.CLASS_TABLE + index * Dense.CLASS_WORDS;
  }
}

/**
 * The width at which classes are no longer worth splitting in an arena that holds an object for
 * each frame, of sizes spread evenly.
 */
function fullWidth(framesTotal: number): number {
  const objectsPerGranule = framesTotal / Dense.GRANULES;
  const width = Math.sqrt(SPLIT_ABOVE / objectsPerGranule);
  return 2 ** Math.floor(Math.log2(Math.min(FIRST_WIDTH, Math.max(1, width))));
}
