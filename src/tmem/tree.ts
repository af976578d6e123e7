// The radix tree of an object's pages, from index to entry. tree.layout.ts draws it.
//
// On its way down, a search reads only references, and not which indexes a node covers: only at the
// leaf it checks that the leaf covers the index. An index is given as two halves of 32 bits.
import { NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { Slab } from "../memory/slab.ts";
import * as Entry from "./entry.layout.ts";
import * as Obj from "./object.layout.ts";
import * as Tree from "./tree.layout.ts";

/** Called after the words of an entry have moved from one word index to another. */
export type EntryMoved = (from: WordIndex, to: WordIndex) => void;

export class PageTree {
  readonly #words: Int32Array;
  readonly #slab: Slab;
  readonly #moved: EntryMoved;
  /** The bits of a word index that are the offset in its frame. */
  readonly #frameMask: number;

  /**
   * @param slabAt word index of the slab head for leaves and nodes of all objects' trees
   * @param owner the owner number for their frames
   */
  constructor(arena: Arena, slabAt: number, owner: number, moved: EntryMoved) {
    this.#words = arena.words;
    this.#slab = new Slab(arena, slabAt, Tree.TREE_WORDS, owner);
    this.#moved = moved;
    this.#frameMask = arena.frames.wordsPerPage - 1;
  }

  format(): void {
    this.#slab.format();
  }

  /** @returns the entry of a page, or NIL */
  find(object: number, low: number, high: number): WordIndex | Nil {
    const words = this.#words;
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) {
      if ((low | high) !== 0 || words[object + Obj.ENTRY + Entry.META] === 0) return NIL;
      return (object + Obj.ENTRY) as WordIndex;
    }
    let ref = words[object + Obj.ROOT]!;
    while (Tree.levelOf(ref) !== 0) {
      const slot = Tree.slotOf(Tree.levelOf(ref), low, high);
      ref = words[Tree.recordOf(ref) + Tree.SLOTS + slot]!;
    }
    if (ref === 0) return NIL;
    const leaf = Tree.recordOf(ref);
    const entry = entryOf(leaf, low & 15);
    // All three words are read before any is used: they may be in different cache lines.
    const meta = words[entry + Entry.META]!;
    const away = (words[leaf + Tree.BASE]! ^ low) & ~15;
    return meta !== 0 && (away | (words[leaf + Tree.BASE + 1]! ^ high)) === 0 ? entry : NIL;
  }

  /**
   * Creates the first entry of an object: in its record if the index is 0, else in a leaf. META is
   * 0, the other words are undefined.
   * @returns the entry, or NIL if no frame is left, and then nothing has changed
   */
  begin(object: number, low: number, high: number): WordIndex | Nil {
    const words = this.#words;
    if ((low | high) === 0) {
      put(words, object + Obj.SHAPE, words[object + Obj.SHAPE]! | Obj.INLINE);
      put(words, object + Obj.ENTRY + Entry.META, 0);
      return (object + Obj.ENTRY) as WordIndex;
    }
    const leaf = this.#makeLeaf(object, low, high);
    if (leaf === NIL) return NIL;
    put(words, object + Obj.ROOT, Tree.refOf(leaf, 0));
    put(words, object + Obj.COUNT, 0);
    return this.#take(object, leaf, low);
  }

  /**
   * Finds or creates an entry of an object that has others; a new entry has META 0.
   * @returns the entry, or NIL if no frame is left, and then nothing has changed
   */
  insert(object: number, low: number, high: number): WordIndex | Nil {
    const words = this.#words;
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) {
      if ((low | high) === 0) return (object + Obj.ENTRY) as WordIndex;
      return this.#insertBesideInline(object, low, high);
    }
    let node = 0;
    let slotAt = object + Obj.ROOT;
    let ref = words[slotAt]!;
    while (ref !== 0 && this.#covers(ref, low, high)) {
      node = Tree.recordOf(ref);
      if (Tree.levelOf(ref) === 0) return this.#take(object, node, low);
      slotAt = node + Tree.SLOTS + Tree.slotOf(Tree.levelOf(ref), low, high);
      ref = words[slotAt]!;
    }
    const leaf = this.#makeLeaf(object, low, high);
    if (leaf === NIL) return NIL;
    if (ref === 0) {
      // The root is never empty, so an empty slot is in a node.
      put(words, slotAt, Tree.refOf(leaf, 0));
      add(words, node + Tree.USED, 1);
    } else if (!this.#join(object, slotAt, ref, leaf)) {
      this.#slab.free(leaf as WordIndex);
      return NIL;
    }
    return this.#take(object, leaf, low);
  }

  /**
   * Removes an entry, its leaf if that is empty, and a node that has one child left.
   * @returns whether the object has other pages
   */
  remove(object: number, entry: WordIndex): boolean {
    const words = this.#words;
    put(words, entry + Entry.META, 0);
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) return false;
    const leaf = this.leafOf(entry);
    const used = words[leaf + Tree.USED]! & ~(1 << this.nthOf(leaf, entry));
    add(words, object + Obj.COUNT, -1);
    if (used !== 0) put(words, leaf + Tree.USED, used);
    else this.#detach(object, leaf);
    return words[object + Obj.ROOT] !== 0;
  }

  /** @returns the entry of the lowest index at or after this one, or NIL */
  next(object: number, low: number, high: number): WordIndex | Nil {
    const words = this.#words;
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) return this.find(object, low, high);
    // The reference whose pages follow those on the way down, in the order of indexes.
    let behind = 0;
    let ref = words[object + Obj.ROOT]!;
    while (ref !== 0) {
      const at = Tree.recordOf(ref);
      const level = Tree.levelOf(ref);
      if (!this.#covers(ref, low, high)) {
        if (this.#isBelow(low, high, at)) behind = ref;
        break;
      }
      if (level === 0) {
        const from = low & 15;
        const left = words[at + Tree.USED]! >>> from;
        if (left !== 0) return entryOf(at, from + lowestBit(left));
        break;
      }
      const slot = Tree.slotOf(level, low, high);
      const sibling = this.#slotFrom(at, slot + 1);
      if (sibling !== 0) behind = sibling;
      ref = words[at + Tree.SLOTS + slot]!;
    }
    return behind === 0 ? NIL : this.#firstBelow(behind);
  }

  /** @returns the entry of the lowest index, which every object has */
  first(object: number): WordIndex {
    const words = this.#words;
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) return (object + Obj.ENTRY) as WordIndex;
    return this.#firstBelow(words[object + Obj.ROOT]!);
  }

  /** Pages of an object. */
  count(object: number): number {
    const words = this.#words;
    return (words[object + Obj.SHAPE]! & Obj.INLINE) !== 0 ? 1 : words[object + Obj.COUNT]!;
  }

  /** The leaf of an entry. */
  leafOf(entry: WordIndex): number {
    const offset = entry & this.#frameMask;
    return entry - (offset % Tree.TREE_WORDS);
  }

  /** The number of an entry in its leaf, 0 … 15. */
  nthOf(leaf: number, entry: WordIndex): number {
    const offset = entry - leaf - Tree.ENTRIES;
    assert(offset >= 0 && offset % Entry.ENTRY_WORDS === 0, "an entry begins where entries begin");
    return offset / Entry.ENTRY_WORDS;
  }

  get framesHeld(): number {
    return this.#slab.framesHeld;
  }

  /**
   * Checks an object's tree.
   * @returns its number of leaves and nodes
   */
  verify(object: number, visit: (entry: WordIndex) => void): number {
    const words = this.#words;
    if ((words[object + Obj.SHAPE]! & Obj.INLINE) !== 0) {
      const entry = (object + Obj.ENTRY) as WordIndex;
      assert(words[entry + Entry.META] !== 0, "an object has a page");
      visit(entry);
      return 0;
    }
    let pages = 0;
    const records = this.#verifyBelow(object, words[object + Obj.ROOT]!, (entry) => {
      pages++;
      visit(entry);
    });
    assert(pages === words[object + Obj.COUNT], "an object counts its pages");
    return records;
  }

  /**
   * Checks the slab.
   * @param records leaves and nodes found by `verify`, of all objects
   */
  verifySlab(records: number): void {
    this.#slab.verify();
    assert(this.#slab.recordsUsed === records, "every leaf and node is in a tree");
  }

  #verifyBelow(object: number, ref: number, visit: (entry: WordIndex) => void): number {
    const words = this.#words;
    const at = Tree.recordOf(ref);
    const level = Tree.levelOf(ref);
    const low = words[at + Tree.BASE]!;
    const high = words[at + Tree.BASE + 1]!;
    assert(ref !== 0 && level <= Tree.LEVEL_MAX, "a reference leads to a leaf or a node");
    assert(this.#slab.contains(at), "a reference leads to a record");
    assert(words[at + Tree.OBJECT] === object, "a record names its object");
    assert(low === Tree.baseLow(level, low), "a base has no bits of what it covers");
    assert(high === Tree.baseHigh(level, high), "a base has no bits of what it covers");
    let used = 0;
    let records = 1;
    if (level === 0) {
      for (let nth = 0; nth < Tree.LEAF_ENTRIES; nth++) {
        if (words[entryOf(at, nth) + Entry.META] === 0) continue;
        used |= 1 << nth;
        visit(entryOf(at, nth));
      }
      assert(used !== 0, "a leaf has a page");
    } else {
      for (let slot = 0; slot < Tree.NODE_SLOTS; slot++) {
        const child = words[at + Tree.SLOTS + slot]!;
        if (child === 0) continue;
        used++;
        const childLow = words[Tree.recordOf(child) + Tree.BASE]!;
        const childHigh = words[Tree.recordOf(child) + Tree.BASE + 1]!;
        assert(Tree.levelOf(child) < level, "levels fall on the way down");
        assert(this.#covers(ref, childLow, childHigh), "a child lies in its parent");
        assert(Tree.slotOf(level, childLow, childHigh) === slot, "a child is in its slot");
        records += this.#verifyBelow(object, child, visit);
      }
      assert(used >= 2, "a node tells two children apart");
    }
    assert(words[at + Tree.USED] === used, "a record knows what is used of it");
    return records;
  }

  /** Moves the entry from the object's record to a leaf, because a second entry is created. */
  #insertBesideInline(object: number, low: number, high: number): WordIndex | Nil {
    const words = this.#words;
    const inline = (object + Obj.ENTRY) as WordIndex;
    assert(words[inline + Entry.META] !== 0, "an entry's words are set before the next insertion");
    const first = this.#makeLeaf(object, 0, 0);
    if (first === NIL) return NIL;
    // The object keeps its inline entry until the tree is complete. Meanwhile, the root is in a
    // word of the leaf's first entry.
    const rootAt = entryOf(first, 0);
    put(words, rootAt, Tree.refOf(first, 0));
    let leaf = first;
    if (!this.#covers(words[rootAt]!, low, high)) {
      const second = this.#makeLeaf(object, low, high);
      if (second === NIL || !this.#join(object, rootAt, words[rootAt]!, second)) {
        if (second !== NIL) this.#slab.free(second as WordIndex);
        this.#slab.free(first as WordIndex);
        return NIL;
      }
      leaf = second;
    }
    const root = words[rootAt]!;
    const to = entryOf(first, 0);
    for (let word = 0; word < Entry.ENTRY_WORDS; word++) {
      put(words, to + word, words[inline + word]!);
    }
    put(words, first + Tree.USED, 1);
    put(words, object + Obj.SHAPE, words[object + Obj.SHAPE]! & ~Obj.INLINE);
    put(words, object + Obj.ROOT, root);
    put(words, object + Obj.COUNT, 1);
    const entry = this.#take(object, leaf, low);
    this.#moved(inline, to);
    return entry;
  }

  /** Finds or creates the entry of an index in its leaf. */
  #take(object: number, leaf: number, low: number): WordIndex {
    const words = this.#words;
    const used = words[leaf + Tree.USED]!;
    const bit = 1 << (low & 15);
    if ((used & bit) === 0) {
      put(words, leaf + Tree.USED, used | bit);
      add(words, object + Obj.COUNT, 1);
    }
    return entryOf(leaf, low & 15);
  }

  #makeLeaf(object: number, low: number, high: number): number | Nil {
    const words = this.#words;
    const leaf = this.#slab.alloc();
    if (leaf === NIL) return NIL;
    put(words, leaf + Tree.OBJECT, object);
    put(words, leaf + Tree.BASE, Tree.baseLow(0, low));
    put(words, leaf + Tree.BASE + 1, high);
    put(words, leaf + Tree.USED, 0);
    for (let nth = 0; nth < Tree.LEAF_ENTRIES; nth++) {
      put(words, entryOf(leaf, nth) + Entry.META, 0);
    }
    return leaf;
  }

  /**
   * Replaces `ref`, the reference at `slotAt`, by a node with two children: the record of `ref`,
   * and a leaf.
   * @returns false if there is no room for the node, and then nothing has changed
   */
  #join(object: number, slotAt: number, ref: number, leaf: number): boolean {
    const words = this.#words;
    const node = this.#slab.alloc();
    if (node === NIL) return false;
    const other = Tree.recordOf(ref);
    const low = words[leaf + Tree.BASE]!;
    const high = words[leaf + Tree.BASE + 1]!;
    const otherLow = words[other + Tree.BASE]!;
    const otherHigh = words[other + Tree.BASE + 1]!;
    const level = Tree.levelJoining(low ^ otherLow, high ^ otherHigh);
    put(words, node + Tree.OBJECT, object);
    put(words, node + Tree.BASE, Tree.baseLow(level, low));
    put(words, node + Tree.BASE + 1, Tree.baseHigh(level, high));
    put(words, node + Tree.USED, 2);
    for (let slot = 0; slot < Tree.NODE_SLOTS; slot++) put(words, node + Tree.SLOTS + slot, 0);
    put(words, node + Tree.SLOTS + Tree.slotOf(level, low, high), Tree.refOf(leaf, 0));
    put(words, node + Tree.SLOTS + Tree.slotOf(level, otherLow, otherHigh), ref);
    put(words, slotAt, Tree.refOf(node, level));
    return true;
  }

  /** Removes an empty leaf, and the node above it if that has one child left. */
  #detach(object: number, leaf: number): void {
    const words = this.#words;
    const low = words[leaf + Tree.BASE]!;
    const high = words[leaf + Tree.BASE + 1]!;
    let node = 0;
    let nodeSlotAt = 0;
    let slotAt = object + Obj.ROOT;
    for (let ref = words[slotAt]!; Tree.recordOf(ref) !== leaf; ref = words[slotAt]!) {
      assert(Tree.levelOf(ref) !== 0, "a leaf is found from its object");
      node = Tree.recordOf(ref);
      nodeSlotAt = slotAt;
      slotAt = node + Tree.SLOTS + Tree.slotOf(Tree.levelOf(ref), low, high);
    }
    put(words, slotAt, 0);
    this.#slab.free(leaf as WordIndex);
    if (node === 0) return;
    if (words[node + Tree.USED]! > 2) {
      add(words, node + Tree.USED, -1);
      return;
    }
    put(words, nodeSlotAt, this.#slotFrom(node, 0));
    this.#slab.free(node as WordIndex);
  }

  /** Whether a record covers an index. */
  #covers(ref: number, low: number, high: number): boolean {
    const level = Tree.levelOf(ref);
    const base = Tree.recordOf(ref) + Tree.BASE;
    return (
      this.#words[base] === Tree.baseLow(level, low) &&
      this.#words[base + 1] === Tree.baseHigh(level, high)
    );
  }

  /** Whether an index is lower than a record's base. */
  #isBelow(low: number, high: number, at: number): boolean {
    const baseHigh = this.#words[at + Tree.BASE + 1]! >>> 0;
    if (high >>> 0 !== baseHigh) return high >>> 0 < baseHigh;
    return low >>> 0 < this.#words[at + Tree.BASE]! >>> 0;
  }

  /** The first reference of a node from this slot on, 0 if there is none. */
  #slotFrom(node: number, slot: number): number {
    const words = this.#words;
    for (let at = node + Tree.SLOTS + slot; at < node + Tree.TREE_WORDS; at++) {
      if (words[at] !== 0) return words[at]!;
    }
    return 0;
  }

  #firstBelow(ref: number): WordIndex {
    let down = ref;
    while (Tree.levelOf(down) !== 0) down = this.#slotFrom(Tree.recordOf(down), 0);
    const leaf = Tree.recordOf(down);
    return entryOf(leaf, lowestBit(this.#words[leaf + Tree.USED]!));
  }
}

function entryOf(leaf: number, nth: number): WordIndex {
  return (leaf + Tree.ENTRIES + nth * Entry.ENTRY_WORDS) as WordIndex;
}

/** The number of the lowest set bit. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}
