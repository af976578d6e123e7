// Iterates over all entries of an index, in bounded steps between which the index may change
// (scan_cursor.ts says in which order).
import { NIL, type WordIndex } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import type { TmemKey } from "./key.ts";
import * as Obj from "./object.layout.ts";
import type { ObjectTable } from "./objects.ts";
import { POSITIONS, type ScanCursor } from "./scan_cursor.ts";
import type { PageTree } from "./tree.ts";

/**
 * Called with an entry; in removals, before the entry is removed. May call `keyOf`, must not change
 * the index.
 */
export type EntryVisit = (entry: WordIndex) => void;

/** Buckets that a step visits, at most: a tenth of a millisecond if none is cached. */
export const STEP_BUCKETS = 512;

export class EntryScan {
  readonly #words: Int32Array;
  readonly #objects: ObjectTable;
  readonly #tree: PageTree;
  readonly #keyOf: (entry: WordIndex, key: TmemKey) => void;

  constructor(
    arena: Arena,
    objects: ObjectTable,
    tree: PageTree,
    keyOf: (entry: WordIndex, key: TmemKey) => void,
  ) {
    this.#words = arena.words;
    this.#objects = objects;
    this.#tree = tree;
    this.#keyOf = keyOf;
  }

  /** As TmemIndex.scan. */
  step(cursor: ScanCursor, entriesMax: number, visit: EntryVisit): boolean {
    let left = entriesMax;
    if (cursor.isWithin) {
      const object = this.#objects.find(cursor.number, cursor.key);
      cursor.isWithin = false;
      if (object !== Obj.NONE) left -= this.#scanTree(object, cursor, left, visit);
      if (cursor.isWithin) return false;
      cursor.position++;
    }
    for (let buckets = 0; left > 0 && buckets < STEP_BUCKETS; buckets++) {
      if (cursor.position >= POSITIONS || this.#objects.buckets === 0) {
        cursor.position = 0;
        return true;
      }
      left -= this.#scanBucket(cursor, left, visit);
      if (cursor.isWithin) return false;
    }
    return false;
  }

  /** Visits entries of one bucket from the cursor on. @returns how many */
  #scanBucket(cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    const objects = this.#objects;
    const words = this.#words;
    const bucket = objects.bucketAt(cursor.position);
    const end = objects.endOf(bucket);
    for (let visited = 0; visited < entriesMax; ) {
      // Finds the next position. Chains are short, so each search reads the whole chain.
      let next = end;
      let count = 0;
      let object = objects.firstOf(bucket);
      for (; object !== Obj.NONE; object = words[object + Obj.NEXT]!) {
        const position = objects.positionOf(object);
        if (position < cursor.position || position > next) continue;
        count = position === next ? count + 1 : 1;
        next = position;
      }
      cursor.position = next;
      if (count === 0) return visited;
      // A cursor can be within one object only, so several objects at one position are visited in
      // one step, whatever their number of entries.
      const left = count === 1 ? entriesMax - visited : Number.POSITIVE_INFINITY;
      object = objects.firstOf(bucket);
      for (; object !== Obj.NONE; object = words[object + Obj.NEXT]!) {
        if (objects.positionOf(object) !== next) continue;
        visited += this.#scanObject(object, cursor, left, visit);
      }
      if (cursor.isWithin) return visited;
      cursor.position = next + 1;
    }
    return entriesMax;
  }

  /** Visits entries of one object from the first on. @returns how many */
  #scanObject(object: number, cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    const shape = this.#words[object + Obj.SHAPE]!;
    if ((shape & Obj.INLINE) !== 0) {
      visit((object + Obj.ENTRY) as WordIndex);
      return 1;
    }
    cursor.number = shape & Obj.POOL_MASK;
    this.#objects.idOf(object, cursor.key);
    cursor.key.indexLow = cursor.key.indexHigh = 0;
    return this.#scanTree(object, cursor, entriesMax, visit);
  }

  /** Visits entries of one object from the cursor's key on. @returns how many */
  #scanTree(object: number, cursor: ScanCursor, entriesMax: number, visit: EntryVisit): number {
    const { key } = cursor;
    for (let visited = 0; visited < entriesMax; visited++) {
      const entry = this.#tree.next(object, key.indexLow, key.indexHigh);
      if (entry === NIL) return visited;
      visit(entry);
      this.#keyOf(entry, key);
      if (!key.nextIndex()) return visited + 1;
    }
    cursor.isWithin = true;
    return entriesMax;
  }
}
