// Handles with indirection: a handle names an entry, and the entry holds the place of the object,
// so that the object can move.
//
//  handle:   30 ………………… indexBits    indexBits − 1 ……… 0
//           ┌──────────────────────┬────────────────────────┐
//           │ generation           │ entry's word index / 2 │
//           └──────────────────────┴────────────────────────┘
//  entry:   word 0   live: LIVE | place; free: the next free entry of its slab, never LIVE
//           word 1   generation, and in the low indexBits the object's mappings
//
// An entry is found by its word index, so there is no directory of entries. indexBits is as small
// as the arena allows: the generation has 2 bits in an arena of 4 GiB, and 8 bits in one of 64 MiB.
// The generation is incremented with each use of an entry, so that a new handle differs from the
// one freed last.
import { type Handle, NIL, type Nil, type WordIndex } from "../../base/brand.ts";
import type { Arena } from "../../memory/arena.ts";
import type { FrameAllocator } from "../../memory/frames.ts";
import { put } from "../../memory/journal.ts";
import { SLAB_HEAD_WORDS } from "../../memory/slab.layout.ts";
import { Slab } from "../../memory/slab.ts";

/** Words of the pool's descriptor for the table. */
export const HANDLES_WORDS = SLAB_HEAD_WORDS;
/** Set in a word that holds a live object's place or entry, so that the word is negative. */
export const LIVE = 0x8000_0000 | 0;

const ENTRY_WORDS = 2;
const PLACE = 0;
const MARK = 1;
const PLACE_MASK = 0x3fff_ffff;

export class Handles {
  /** The bits of `pinWord` that count mappings. */
  readonly pinMask: number;
  readonly #words: Int32Array;
  readonly #frames: FrameAllocator;
  readonly #slab: Slab;
  readonly #owner: number;
  readonly #indexBits: number;
  readonly #wordShift: number;

  /** @param owner the owner number of the entries' frames, and of no others */
  constructor(arena: Arena, headAt: number, owner: number) {
    this.#words = arena.words;
    this.#frames = arena.frames;
    this.#slab = new Slab(arena, headAt, ENTRY_WORDS, owner);
    this.#owner = owner;
    this.#indexBits = Math.ceil(Math.log2(arena.words.length / ENTRY_WORDS));
    this.#wordShift = Math.log2(arena.frames.wordsPerPage);
    this.pinMask = (1 << this.#indexBits) - 1;
  }

  format(): void {
    this.#slab.format();
  }

  /** Allocates an entry and increments its generation. The entry is live from `setPlace` on. */
  alloc(): WordIndex | Nil {
    const entry = this.#slab.alloc();
    if (entry === NIL) return NIL;
    const generation = (this.#words[entry + MARK]! >>> this.#indexBits) + 1;
    put(this.#words, entry + MARK, (generation << this.#indexBits) & 0x7fff_ffff);
    return entry;
  }

  free(entry: number): void {
    // Nothing marks the entry as free here: if the slab keeps the frame, it overwrites PLACE with
    // the next free entry; if it frees the frame, `find` sees that the frame has another owner.
    this.#slab.free(entry as WordIndex);
  }

  /** The live entry of a handle, or NIL. */
  find(handle: Handle): number {
    if ((handle | 0) !== handle || handle <= 0) return NIL;
    const entry = (handle & this.pinMask) * ENTRY_WORDS;
    if (!this.#frames.isHeadOf(entry >>> this.#wordShift, this.#owner)) return NIL;
    if (this.#words[entry + PLACE]! >= 0) return NIL;
    return (this.#words[entry + MARK]! ^ handle) >>> this.#indexBits === 0 ? entry : NIL;
  }

  handleOf(entry: number): Handle {
    return ((this.#words[entry + MARK]! & ~this.pinMask) | (entry >>> 1)) as Handle;
  }

  placeOf(entry: number): number {
    return this.#words[entry + PLACE]! & PLACE_MASK;
  }

  setPlace(entry: number, place: number): void {
    put(this.#words, entry + PLACE, place | LIVE);
  }

  pinWord(entry: number): number {
    return entry + MARK;
  }

  pins(entry: number): number {
    return this.#words[entry + MARK]! & this.pinMask;
  }

  /** Live entries. */
  get used(): number {
    return this.#slab.recordsUsed;
  }

  /** Page frames of entries. */
  get frames(): number {
    return this.#slab.framesHeld;
  }

  verify(): void {
    this.#slab.verify();
  }
}
