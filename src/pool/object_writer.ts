// Copies bytes into objects: directly, or, if a rollback must restore the old bytes, after saving
// those.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import { keepBytes } from "../memory/journal.ts";

export class ObjectWriter {
  readonly #words: Int32Array;
  readonly #kernels: Arena["kernels"];
  /** Where to save the next overwritten bytes; 0 = nowhere. */
  #saveAt = 0;

  constructor(arena: Arena) {
    this.#words = arena.words;
    this.#kernels = arena.kernels;
  }

  copy(target: number, source: number, sizeBytes: number): void {
    if (this.#saveAt !== 0) {
      keepBytes(this.#words, this.#kernels, target, sizeBytes, this.#saveAt);
      this.#saveAt += sizeBytes;
    }
    this.#kernels.copy(target, source, sizeBytes);
  }

  /** From here on, saves overwritten bytes, one piece after the other. */
  beginKeeping(save: Address): void {
    this.#saveAt = save;
  }

  endKeeping(): void {
    this.#saveAt = 0;
  }
}
