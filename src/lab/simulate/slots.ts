// Values of a simulated cache, for kinds that no store has: numbered slots, which a subclass links
// in lists, newest first.
import { NIL } from "../../base/brand.ts";

const FIRST_SLOTS = 1024;

export class Slots {
  readonly #slotOfKey = new Map<number, number>();
  readonly #free: number[] = [];
  #length = 0;
  keys = new Float64Array(FIRST_SLOTS);
  costs = new Float64Array(FIRST_SLOTS);
  /** For the subclass: the list that a slot is in. */
  tags = new Uint8Array(FIRST_SLOTS);
  /** For the subclass: the worth of a value. */
  worths = new Float64Array(FIRST_SLOTS);
  newer = new Int32Array(FIRST_SLOTS);
  older = new Int32Array(FIRST_SLOTS);

  get count(): number {
    return this.#slotOfKey.size;
  }

  /** The slot of a key, or NIL. */
  find(key: number): number {
    return this.#slotOfKey.get(key) ?? NIL;
  }

  add(key: number, costBytes: number): number {
    const slot = this.#free.pop() ?? this.#length++;
    if (slot >= this.keys.length) this.#grow();
    this.#slotOfKey.set(key, slot);
    this.keys[slot] = key;
    this.costs[slot] = costBytes;
    return slot;
  }

  remove(slot: number): void {
    this.#slotOfKey.delete(this.keys[slot]!);
    this.#free.push(slot);
  }

  #grow(): void {
    const copy = <T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const slots = this.keys.length * 2;
    this.keys = copy(this.keys, new Float64Array(slots));
    this.costs = copy(this.costs, new Float64Array(slots));
    this.worths = copy(this.worths, new Float64Array(slots));
    this.tags = copy(this.tags, new Uint8Array(slots));
    this.newer = copy(this.newer, new Int32Array(slots));
    this.older = copy(this.older, new Int32Array(slots));
  }
}

/** A list of slots, with the sum of their bytes. */
export class SlotList {
  readonly #slots: Slots;
  readonly #tag: number;
  #newest: number = NIL;
  #oldest: number = NIL;
  bytes = 0;

  constructor(slots: Slots, tag: number) {
    this.#slots = slots;
    this.#tag = tag;
  }

  get oldest(): number {
    return this.#oldest;
  }

  addNewest(slot: number): void {
    const slots = this.#slots;
    slots.tags[slot] = this.#tag;
    slots.older[slot] = this.#newest;
    slots.newer[slot] = NIL;
    if (this.#newest === NIL) this.#oldest = slot;
    else slots.newer[this.#newest] = slot;
    this.#newest = slot;
    this.bytes += slots.costs[slot]!;
  }

  remove(slot: number): void {
    const slots = this.#slots;
    const newer = slots.newer[slot]!;
    const older = slots.older[slot]!;
    if (newer === NIL) this.#newest = older;
    else slots.older[newer] = older;
    if (older === NIL) this.#oldest = newer;
    else slots.newer[older] = newer;
    this.bytes -= slots.costs[slot]!;
  }
}
