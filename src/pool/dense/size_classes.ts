// Chooses the class for an object's size, and decides when a class is split and when two are
// merged.
//
// A class of width w, which takes sizes of w different granules, wastes half of w per object; one
// class more wastes half a page frame, its last. So a large pool needs many classes and a small one
// few: a class is worth splitting in the middle if the lower half of its objects would save more
// than the new class costs:
//
//   objects / 2 × width / 2 × granule  >  page / 2
//
// The division starts coarse, and a class is split as it fills, so that classes fit the sizes that
// occur. Objects stored before a split stay in slots that are too large for them, and a pool that
// grows to fill its arena would pay for that at every doubling. So once the pool has a small share
// of the arena's frames, all classes are split to the width for a full arena.
//
// Objects do not move when their class is split. By the above rule, the waste in their slots is no
// more than the cost of the new class, and it ends when they are replaced.
//
// A shrinking pool has too many classes: a nearly empty class is retired, and the class above takes
// its sizes and drains it: a free there fills the hole with the retired class's last object instead
// of its own, which fits. So merging needs no copy beyond those of frees, and meanwhile both
// classes are full except for their last frames.
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import type { FrameAllocator } from "../../memory/frames.ts";
import { add, put } from "../../memory/journal.ts";
import * as Dense from "./dense.layout.ts";

/** In place of a width: classes are split as they fill. */
export const ADAPTIVE = 0;
/** Granules per class at the start of an adaptive division: 128 bytes at 4 KiB, 32 classes. */
const FIRST_WIDTH = 16;

export class SizeClasses {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #granuleShift: number;
  readonly #width: number;
  readonly #frames: FrameAllocator;

  /**
   * @param own word index of the pool's words
   * @param width granules, or ADAPTIVE
   */
  constructor(arena: Arena, own: number, width: number) {
    this.#words = arena.words;
    this.#own = own;
    this.#granuleShift = arena.frames.pageShift - Dense.GRANULES_ORDER;
    this.#width = width;
    this.#frames = arena.frames;
  }

  /** Creates the first division; called once, by the pool's creator. */
  format(): void {
    const width = this.#width === ADAPTIVE ? FIRST_WIDTH : this.#width;
    for (let index = width - 1; index < Dense.GRANULES; index += width) {
      this.#assign(index, index + 1 - width);
    }
  }

  /** The class of a size of 1 … page size bytes. */
  find(sizeBytes: number): number {
    return this.#words[this.#own + Dense.CLASS_FOR + ((sizeBytes - 1) >>> this.#granuleShift)]!;
  }

  /** Takes note that a class has one object more, and the pool so many pages: may split classes. */
  grown(index: number, pages: number): void {
    if (this.#width !== ADAPTIVE) return;
    // From so many pages on, classes have the width for a full arena.
    const isGrown = this.#words[this.#own + Dense.GROWN] !== 0;
    if (!isGrown && pages >= this.#frames.framesUsable >>> Dense.GROWING_SHIFT) this.#splitAll();
    const at = this.#classAt(index);
    const width = index + 1 - this.#words[at + Dense.FLOOR]!;
    if (width > 1 && this.#words[at + Dense.COUNT]! * width > Dense.SPLIT_ABOVE) this.#split(index);
  }

  /**
   * The class whose last object fills a hole in this one: the class itself, or one that was merged
   * into it and still has objects.
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

  /** Called after an object was removed from a class: may merge it with the class above. */
  shrunk(index: number): void {
    if (this.#width !== ADAPTIVE || index + 1 === Dense.GRANULES) return;
    const words = this.#words;
    const at = this.#classAt(index);
    const above = words[this.#own + Dense.CLASS_FOR + index + 1]!;
    if (words[at + Dense.COUNT]! * (above - index) > Dense.MERGE_BELOW || this.#isRetired(index))
      return;
    const aboveAt = this.#classAt(above);
    const floor = words[at + Dense.FLOOR]!;
    if (above + 1 - floor > FIRST_WIDTH) return;
    // Only one at a time: a class that no other drains would keep its objects forever.
    if (words[aboveAt + Dense.DRAINS] !== 0) return;
    assert(words[at + Dense.DRAINS] === 0, "a class loses its own objects when it drains no other");
    this.#assign(above, floor);
    put(words, aboveAt + Dense.DRAINS, index + 1);
  }

  /**
   * Checks that every size has one class, the smallest in use that it fits, and that a class in use
   * drains each retired class.
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

  /** Splits every class down to the width for a full arena; moves no objects. */
  #splitAll(): void {
    const width = fullWidth(this.#frames.framesUsable);
    put(this.#words, this.#own + Dense.GROWN, 1);
    for (let index = 0; index < Dense.GRANULES; ) {
      const owner = this.#words[this.#own + Dense.CLASS_FOR + index]!;
      const floor = this.#words[this.#classAt(owner) + Dense.FLOOR]!;
      if (owner + 1 - floor > width) this.#split(owner);
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
 * The width at which splitting no longer pays in an arena with an object per frame and uniformly
 * distributed sizes.
 */
function fullWidth(framesUsable: number): number {
  const objectsPerGranule = framesUsable / Dense.GRANULES;
  const width = Math.sqrt(Dense.SPLIT_ABOVE / objectsPerGranule);
  return 2 ** Math.floor(Math.log2(Math.min(FIRST_WIDTH, Math.max(1, width))));
}
