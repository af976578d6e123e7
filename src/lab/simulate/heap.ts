// A min-heap of slots by worth, in which the worth of any slot may change.
import { NIL } from "../../base/brand.ts";

export class SlotHeap {
  readonly #heap: number[] = [];
  readonly #placeOf: number[] = [];
  readonly #worth: (slot: number) => number;

  constructor(worth: (slot: number) => number) {
    this.#worth = worth;
  }

  /** The slot of least worth, or NIL. */
  get least(): number {
    return this.#heap[0] ?? NIL;
  }

  add(slot: number): void {
    this.#heap.push(slot);
    this.#placeOf[slot] = this.#heap.length - 1;
    this.#up(this.#heap.length - 1);
  }

  remove(slot: number): void {
    const place = this.#placeOf[slot]!;
    const last = this.#heap.pop()!;
    if (last === slot) return;
    this.#set(place, last);
    this.changed(last);
  }

  /** Must be called when the worth of a slot has changed. */
  changed(slot: number): void {
    this.#up(this.#placeOf[slot]!);
    this.#down(this.#placeOf[slot]!);
  }

  #set(place: number, slot: number): void {
    this.#heap[place] = slot;
    this.#placeOf[slot] = place;
  }

  #up(from: number): void {
    let place = from;
    const slot = this.#heap[place]!;
    const worth = this.#worth(slot);
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (this.#worth(this.#heap[parent]!) <= worth) break;
      this.#set(place, this.#heap[parent]!);
      place = parent;
    }
    this.#set(place, slot);
  }

  #down(from: number): void {
    let place = from;
    const heap = this.#heap;
    const slot = heap[place]!;
    const worth = this.#worth(slot);
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#worth(heap[child + 1]!) < this.#worth(heap[child]!)) {
        child++;
      }
      if (this.#worth(heap[child]!) >= worth) break;
      this.#set(place, heap[child]!);
      place = child;
    }
    this.#set(place, slot);
  }
}
