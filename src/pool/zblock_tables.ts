// The block types of zblock: how many slots in how many page frames, and the resulting sizes for a
// page size. The numbers are those of the three postings; the repaired forms differ in header,
// comparison and last type.
//
// A type with n slots in 2^order pages holds objects of up to (pages − header) / n bytes, rounded
// down to 8. The tables were made for pages of 4 KiB; with larger pages the same numbers give
// proportionally larger slots. (The last posting has a second table for other page sizes, which
// refuses all objects above 80 % of a page; it is not used here.)
import { assert } from "../base/errors.ts";

/** [slots per block, order], by increasing slot size. */
export type BlockType = readonly [slots: number, order: number];

export interface ZblockSetting {
  readonly types: readonly BlockType[];
  /** Bytes of each block that no slot may use. */
  readonly headerBytes: number;
  /** Whether an object may fill its slot completely. The 2025 postings require one byte more. */
  readonly exactFit: boolean;
  /** Whether only 32 blocks of each type are recorded as having room, as in 2022. */
  readonly cached: boolean;
  /**
   * Not in the originals: a block that has room again is filled first, not last (2 to 5 % fewer
   * pages after churn), and if no block of a type is available, a larger type is used.
   */
  readonly repaired: boolean;
}

// biome-ignore format: rows by order are easier to compare with the postings.
const TYPES_2022: readonly BlockType[] = [
  [32, 0], [22, 0], [17, 0], [13, 0], [11, 0], [9, 0], [8, 0],
  [14, 1], [12, 1], [11, 1], [10, 1], [9, 1], [8, 1],
  [15, 2], [14, 2], [13, 2], [12, 2], [11, 2], [10, 2], [9, 2], [8, 2],
  [15, 3], [14, 3], [13, 3], [12, 3], [11, 3], [10, 3], [9, 3], [7, 3],
];

// biome-ignore format: rows by order are easier to compare with the postings.
const TYPES_2025: readonly BlockType[] = [
  [63, 0], [32, 0], [21, 0], [15, 0], [12, 0], [10, 0], [9, 0], [8, 0],
  [29, 2], [13, 1], [6, 0], [11, 1], [5, 0], [9, 1], [8, 1], [29, 3],
  [13, 2], [12, 2], [11, 2], [10, 2], [9, 2], [17, 3], [8, 2],
  [15, 3], [14, 3], [13, 3], [6, 2], [11, 3], [10, 3], [9, 3], [4, 2],
];

/**
 * In the repaired forms, a whole page replaces the last type of each posting, 7 slots in 8 pages or
 * 4 in 4.
 */
function withWholePages(types: readonly BlockType[]): readonly BlockType[] {
  return [...types.slice(0, -1), [1, 0]];
}

export const V6_2022: ZblockSetting = {
  types: TYPES_2022,
  headerBytes: 64,
  exactFit: true,
  cached: true,
  repaired: false,
};
export const FIRST_2025: ZblockSetting = {
  types: TYPES_2022,
  headerBytes: 32,
  exactFit: false,
  cached: false,
  repaired: false,
};
export const FINAL_2025: ZblockSetting = {
  types: TYPES_2025,
  headerBytes: 40,
  exactFit: false,
  cached: false,
  repaired: false,
};
export const REPAIRED_2022: ZblockSetting = {
  types: withWholePages(TYPES_2022),
  headerBytes: 0,
  exactFit: true,
  cached: false,
  repaired: true,
};
export const REPAIRED_2025: ZblockSetting = { ...REPAIRED_2022, types: withWholePages(TYPES_2025) };

/** Slots begin and end at multiples of this: the originals' `sizeof(long)`. */
const SLOT_ALIGN_SHIFT = 3;

/** The types of one setting for one page size, in columns, as hot paths need them. */
export class ZblockTypes {
  readonly count: number;
  readonly slots: Uint8Array;
  readonly orders: Uint8Array;
  readonly slotBytes: Int32Array;
  readonly slotsMax: number;
  /** The largest object of any type. */
  readonly maxSizeBytes: number;
  /** The type of a size is typeOf[(size + round) >>> 3]: slots are multiples of 8 bytes. */
  readonly #typeOf: Uint8Array;
  readonly #round: number;
  readonly #unused: number;

  constructor(setting: ZblockSetting, pageSize: number) {
    const { types, headerBytes } = setting;
    this.count = types.length;
    this.slots = Uint8Array.from(types, ([slots]) => slots);
    this.orders = Uint8Array.from(types, ([, order]) => order);
    this.slotsMax = Math.max(...this.slots);
    this.slotBytes = Int32Array.from(types, ([slots, order]) => {
      const eights = Math.floor(((pageSize << order) - headerBytes) / slots / 8);
      return eights * 8;
    });
    this.#unused = setting.exactFit ? 0 : 1;
    this.#round = setting.exactFit ? 7 : 8;
    this.maxSizeBytes = Math.min(pageSize, this.slotBytes[this.count - 1]! - this.#unused);
    this.#typeOf = new Uint8Array((this.maxSizeBytes >>> SLOT_ALIGN_SHIFT) + 2);
    for (let type = 0, eights = 0; eights < this.#typeOf.length; eights++) {
      while (eights * 8 > this.slotBytes[type]! && type < this.count - 1) type++;
      this.#typeOf[eights] = type;
    }
    for (let type = 1; type < this.count; type++) {
      assert(this.slotBytes[type]! > this.slotBytes[type - 1]!, "slots grow from type to type");
    }
  }

  /** The type with the smallest slots that hold an object of 1 … maxSizeBytes bytes. */
  typeOf(sizeBytes: number): number {
    return this.#typeOf[(sizeBytes + this.#round) >>> SLOT_ALIGN_SHIFT]!;
  }

  /** The largest object of this type. */
  largestOf(type: number): number {
    return Math.min(this.maxSizeBytes, this.slotBytes[type]! - this.#unused);
  }
}
