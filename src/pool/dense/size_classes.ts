// Which class takes an object of which size, and when a class is divided in two.
//
// A class of width w (it takes sizes of w different granules) wastes half of w in each object; a
// class more wastes half a page frame, its last one. So many classes suit a large pool and few a
// small one: a class is worth splitting in the middle when what the lower half of its objects would
// save is more than what the new class costs:
//
//   objects / 2 × width / 2 × granule  >  page / 2
//
// The first division is the one that this rule would lead to in a full arena whose objects have
// half a page on average and sizes spread evenly; from there classes are split as they fill, which
// fits them to the sizes that do occur.
//
// Objects stay where they are when their class is split, in slots that may now be larger than
// needed; by the rule above that costs no more than the new class itself, and ends when they are
// replaced.
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import * as Dense from "./dense.layout.ts";

/** Instead of a fixed width: classes are split as they fill. */
export const ADAPTIVE = 0;
/** The widest class that an adaptive division starts with: 128 bytes at 4 KiB, 32 classes. */
const FIRST_WIDTH_MAX = 16;
/**
 * objects × width above which a split pays: see above, in granules, of which a page has GRANULES.
 */
const SPLIT_ABOVE = 2 * Dense.GRANULES;

export class SizeClasses {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #granuleShift: number;
  readonly #width: number;
  readonly #firstWidth: number;

  /** @param own word index of the pool's own words  @param width granules, or ADAPTIVE */
  constructor(arena: Arena, own: number, width: number) {
    this.#words = arena.words;
    this.#own = own;
    this.#granuleShift = arena.frames.pageShift - Dense.GRANULES_ORDER;
    this.#width = width;
    this.#firstWidth = width === ADAPTIVE ? firstWidth(arena.frames.framesTotal) : width;
  }

  /** Makes the first division; once, by the pool's maker. */
  format(): void {
    const width = this.#firstWidth;
    for (let index = width - 1; index < Dense.GRANULES; index += width) {
      this.#assign(index, index + 1 - width);
    }
  }

  /** The class for objects of this size, 1 … page size. */
  find(sizeBytes: number): number {
    return this.#words[this.#own + Dense.CLASS_FOR + ((sizeBytes - 1) >>> this.#granuleShift)]!;
  }

  /** Takes note that a class has one object more: it may be time to split it. */
  grown(index: number): void {
    if (this.#width !== ADAPTIVE) return;
    const at = this.#classAt(index);
    const floor = this.#words[at + Dense.FLOOR]!;
    const width = index + 1 - floor;
    if (width === 1 || this.#words[at + Dense.COUNT]! * width <= SPLIT_ABOVE) return;
    const middle = floor + (width >>> 1);
    this.#assign(middle - 1, floor);
    this.#words[at + Dense.FLOOR] = middle;
    this.#words[this.#own + Dense.SPLITS]!++;
  }

  /** Every size has one class, the smallest of those in use that it fits. */
  verify(): void {
    for (let granule = 0; granule < Dense.GRANULES; granule++) {
      const index = this.#words[this.#own + Dense.CLASS_FOR + granule]!;
      const floor = this.#words[this.#classAt(index) + Dense.FLOOR]!;
      assert(floor <= granule && granule <= index, "a size lies within the range of its class");
    }
  }

  /** Gives the sizes of floor + 1 … index + 1 granules to a class. */
  #assign(index: number, floor: number): void {
    this.#words[this.#classAt(index) + Dense.FLOOR] = floor;
    const map = this.#own + Dense.CLASS_FOR;
    for (let granule = floor; granule <= index; granule++) this.#words[map + granule] = index;
  }

  #classAt(index: number): number {
    return this.#own + Dense.CLASS_TABLE + index * Dense.CLASS_WORDS;
  }
}

/** The width at which classes of a full arena would no longer be worth splitting. */
function firstWidth(framesTotal: number): number {
  const objectsPerGranule = (2 * framesTotal) / Dense.GRANULES;
  const width = Math.sqrt(SPLIT_ABOVE / objectsPerGranule);
  return 2 ** Math.floor(Math.log2(Math.min(FIRST_WIDTH_MAX, Math.max(1, width))));
}
