// The objects of zspages with indirect handles. A live object names its handle's entry, so that
// compaction and reclaim, which find the object, find its handle.
//
//   live:  ┌────────────────┬────────┬───────────────────────────┐
//          │ LIVE | entry   │ unused │ content                   │
//          └────────────────┴────────┴───────────────────────────┘
//   free:  ┌────────────────┬────────────────────────────────────┐
//          │ next free or 0 │ leftovers                          │
//          └────────────────┴────────────────────────────────────┘
//
// The header has 8 bytes, as in the kernel. A free object begins with the place of the next free
// object. A place is never negative, whereas a word with LIVE always is. A huge object has its
// frame to itself and no header: its owner word is in the zspage's record.
import { NIL } from "../../base/brand.ts";
import { keep, put } from "../../memory/journal.ts";
import { type Handles, LIVE } from "./handles.ts";
import type { Places } from "./places.ts";
import * as Zspage from "./zspage.layout.ts";

export class Objects {
  readonly #words: Int32Array;
  readonly #places: Places;
  readonly #handles: Handles;
  readonly #ownerBytes: Int32Array;
  readonly #sizeBytes: Int32Array;

  constructor(words: Int32Array, places: Places, handles: Handles) {
    this.#words = words;
    this.#places = places;
    this.#handles = handles;
    this.#ownerBytes = places.classes.ownerBytes;
    this.#sizeBytes = places.classes.sizeBytes;
  }

  /** Links all objects of a new zspage, in the order of their places, as free. */
  linkAll(zspage: number, cls: number): void {
    const words = this.#words;
    const sizeBytes = this.#sizeBytes[cls]!;
    let place = this.#places.first(zspage);
    put(words, zspage + Zspage.FREE, place);
    for (let left = this.#places.classes.objects[cls]! - 1; left > 0; left--) {
      const next = this.#places.next(place, sizeBytes);
      put(words, place, next);
      place = next;
    }
    put(words, place, 0);
  }

  /** Allocates the first free object of a zspage for an entry. The zspage must have a free one. */
  take(zspage: number, cls: number, entry: number): void {
    const words = this.#words;
    const place = words[zspage + Zspage.FREE]!;
    keep(words, place);
    put(words, zspage + Zspage.FREE, words[place]!);
    put(words, this.#ownerWord(zspage, cls, place), entry | LIVE);
    this.#handles.setPlace(entry, place);
  }

  /** Frees the object at a place; the caller frees or moves its entry. */
  put(zspage: number, cls: number, place: number): void {
    const words = this.#words;
    put(words, this.#ownerWord(zspage, cls, place), 0);
    put(words, place, words[zspage + Zspage.FREE]!);
    put(words, zspage + Zspage.FREE, place);
  }

  /** Moves a live object to the first free place of another zspage of its class. */
  move(source: number, destination: number, cls: number, place: number): void {
    const entry = this.entryAt(source, cls, place);
    const target = this.#words[destination + Zspage.FREE]!;
    this.take(destination, cls, entry);
    const header = this.#ownerBytes[cls]!;
    this.#places.copyObject(place, target, header, this.#sizeBytes[cls]! - header);
    this.put(source, cls, place);
  }

  /** The entry of the object at a place, or NIL if it is free. */
  entryAt(zspage: number, cls: number, place: number): number {
    const owner = this.#words[this.#ownerWord(zspage, cls, place)]!;
    return owner < 0 ? owner ^ LIVE : NIL;
  }

  #ownerWord(zspage: number, cls: number, place: number): number {
    return this.#ownerBytes[cls] === 0 ? zspage + Zspage.OWN : place;
  }
}
