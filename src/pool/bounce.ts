// Bounce buffers: give a thread a contiguous copy of an object that lies in two frames.
//
// Each thread has two per arena, for any number of pools: one for an object being read, one for an
// object being written. They belong to the thread, so that creating and destroying pools leaves
// nothing behind.
import { type Address, type Handle, NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import type { MapMode } from "./contract.ts";
import * as Pool from "./pool.layout.ts";

const BUFFERS = 2;
const ofArena = new WeakMap<Arena, BounceBuffers>();

export class BounceBuffers {
  readonly #arena: Arena;
  /** The address of each buffer; empty before the first use. */
  readonly #address: Address[] = [];
  // For each mapping: the word index of the pool's descriptor (0 = the buffer is free), the pool's
  // generation, and what `unmap` needs.
  readonly #poolAt = new Int32Array(BUFFERS);
  readonly #generation = new Int32Array(BUFFERS);
  readonly #handle = new Int32Array(BUFFERS);
  readonly #mode = new Int32Array(BUFFERS);
  readonly #sizeBytes = new Int32Array(BUFFERS);
  /** The buffer taken last: of two mappings of one object, the later ends first. */
  #latest = 0;

  private constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** The buffers of the calling thread, whose Arena object this is. */
  static of(arena: Arena): BounceBuffers {
    let buffers = ofArena.get(arena);
    if (buffers === undefined) {
      buffers = new BounceBuffers(arena);
      ofArena.set(arena, buffers);
    }
    return buffers;
  }

  /**
   * Allocates the buffers, if that has not happened.
   * @returns whether they exist
   */
  prepare(): boolean {
    try {
      while (this.#address.length < BUFFERS) {
        this.#address.push(this.#arena.reserve(this.#arena.pageSize));
      }
      return true;
    } catch (error) {
      if (error instanceof ZcacheError && error.code === "ERR_ARENA_FULL") return false;
      throw error;
    }
  }

  /**
   * Takes a buffer for a mapping.
   * @param poolAt word index of the pool's descriptor
   * @returns its number, or NIL if none is left
   */
  take(
    poolAt: number,
    generation: number,
    handle: Handle,
    mode: MapMode,
    sizeBytes: number,
  ): number {
    if (!this.prepare()) return NIL;
    let nth = this.#poolAt.indexOf(0);
    if (nth === -1) {
      this.#giveAllOfDestroyed();
      nth = this.#poolAt.indexOf(0);
    }
    if (nth === -1) return NIL;
    this.#poolAt[nth] = poolAt;
    this.#generation[nth] = generation;
    this.#handle[nth] = handle;
    this.#mode[nth] = mode;
    this.#sizeBytes[nth] = sizeBytes;
    this.#latest = nth;
    return nth;
  }

  /** The buffer of this thread's latest mapping of the object, or NIL. */
  find(generation: number, handle: Handle): number {
    for (let n = 0; n < BUFFERS; n++) {
      const nth = (this.#latest + BUFFERS - n) % BUFFERS;
      if (this.#isOf(nth, generation) && this.#handle[nth] === handle) return nth;
    }
    return NIL;
  }

  give(nth: number): void {
    this.#poolAt[nth] = 0;
  }

  /** Frees the buffers of all mappings of a pool by this thread. */
  giveAllOf(generation: number): void {
    for (let nth = 0; nth < BUFFERS; nth++) if (this.#isOf(nth, generation)) this.give(nth);
  }

  /** Frees the buffers of mappings of pools that other threads have destroyed since. */
  #giveAllOfDestroyed(): void {
    const { words } = this.#arena;
    for (let nth = 0; nth < BUFFERS; nth++) {
      const at = this.#poolAt[nth]!;
      const isAlive =
        words[at + Pool.MAGIC] === Pool.POOL_MAGIC &&
        words[at + Pool.GENERATION] === this.#generation[nth];
      if (!isAlive) this.give(nth);
    }
  }

  #isOf(nth: number, generation: number): boolean {
    return this.#poolAt[nth] !== 0 && this.#generation[nth] === generation;
  }

  address(nth: number): Address {
    return this.#address[nth]!;
  }

  mode(nth: number): MapMode {
    return this.#mode[nth] as MapMode;
  }

  sizeBytes(nth: number): number {
    return this.#sizeBytes[nth]!;
  }
}
