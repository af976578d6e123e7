// The hand of a clock: a place in a policy's queue that stays valid while entries are removed and
// moved.
import { put } from "../memory/journal.ts";
import { listPrev } from "../memory/list.ts";

export class ClockHand {
  readonly #words: Int32Array;
  readonly #at: number;

  /** @param at word index of the hand, which is the word index of a link of the queue */
  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** The link at which the hand points: an entry's, or the head of the queue. */
  get link(): number {
    return this.#words[this.#at]!;
  }

  /** Writes the hand of a new queue. */
  create(head: number): void {
    put(this.#words, this.#at, head);
  }

  moveTo(link: number): void {
    if (this.#words[this.#at] !== link) put(this.#words, this.#at, link);
  }

  /** Called before an entry leaves the queue: the hand goes on to the next newer one. */
  leave(link: number): void {
    if (this.#words[this.#at] === link) put(this.#words, this.#at, listPrev(this.#words, link));
  }

  /** Called when an entry has moved. */
  relocate(from: number, to: number): void {
    if (this.#words[this.#at] === from) put(this.#words, this.#at, to);
  }
}
