// How pools copy bytes into objects: as they are, or, where a write is to be undone with its
// transaction, after what stood there has been kept.
import type { Address } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import { keepBytes } from "../memory/journal.ts";

export class ObjectWriter {
  readonly #words: Int32Array;
  readonly #kernels: Arena["kernels"];
  /** Where the next bytes that are overwritten are kept; 0 = nowhere. */
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

  /** From here on what is overwritten is kept, one piece behind the other. */
  beginKeeping(save: Address): void {
    this.#saveAt = save;
  }

  endKeeping(): void {
    this.#saveAt = 0;
  }
}
