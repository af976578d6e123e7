// What a thread has kept of a value is good as long as nobody has set or deleted it since: of each
// value one word of shared memory, which it shares with others, counts how often that was done.
//
// Who sets a value counts after it, and who keeps one has looked before reading it: so what is kept
// may be refused though it is good, but never the other way round.

/** Words of the table: with so many, a value that is kept is lost to another's write seldom. */
const VERSIONS = 4096;
export const VERSIONS_BYTES = VERSIONS * 4;

export class Versions {
  readonly #words: Int32Array;
  readonly #at: number;

  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#at = at;
  }

  of(hash: number): number {
    return Atomics.load(this.#words, this.#at + (hash & (VERSIONS - 1)));
  }

  changed(hash: number): void {
    Atomics.add(this.#words, this.#at + (hash & (VERSIONS - 1)), 1);
  }

  allChanged(): void {
    for (let nth = 0; nth < VERSIONS; nth++) Atomics.add(this.#words, this.#at + nth, 1);
  }
}
