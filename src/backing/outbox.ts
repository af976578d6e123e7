// The outbox: pages on their way to the remote tier, records to be removed from it, and reads that
// other threads ask for. All of it is in the arena, of fixed size, made with the store, so it
// counts against the limit. Any thread puts in; the thread that owns the remote tier takes out.
//
// A page in transit stays readable in its slot until the cluster has acknowledged it. What no page
// has any more is removed in the cluster; if the ring of removals is full, or an answer was lost,
// the record may become an orphan, which a sweep finds.
//
// Methods that end in `Locked` are called under the arena's lock.
import { type Address, NIL, type Nil, type WordIndex } from "../base/brand.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { add, put } from "../memory/journal.ts";
import { Blocks } from "./blocks.ts";
import type { RecordKey } from "./contract.ts";
import { Fetches } from "./fetches.ts";
import * as Box from "./outbox.layout.ts";
import { nameAt, type RecordName, type RecordVersion, writeName } from "./record_name.ts";

/** Slots: one for this part of the memory, as a shift, within bounds. */
const SLOTS_SHIFT = 6;
const SLOTS_MIN = 8;
const SLOTS_MAX = 512;
const REMOVALS_PER_SLOT = 8;
const FETCHES_MIN = 4;
const FETCHES_MAX = 64;
/** Versions have 48 bits: enough for 400 years at 20,000 pages a second. */
const VERSION_HIGH_MAX = 0xffff;

export class Outbox {
  /** The version and the slot that `appendLocked` has used last. */
  versionLow = 0;
  versionHigh = 0;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  readonly #at: number;
  #slotHeads: Blocks;
  #slotPages: Blocks;
  #removals: Blocks;
  #fetchHeads: Blocks;
  #fetchPages: Blocks;
  #fetches: Fetches | undefined;

  /** @param at word index of OUTBOX_WORDS words */
  constructor(arena: Arena, at: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#at = at;
    [this.#slotHeads, this.#slotPages, this.#removals, this.#fetchHeads, this.#fetchPages] =
      this.#layOut();
  }

  /**
   * Initializes an empty outbox; called once, before others see the words.
   * @param memoryBytes of the arena  @param enabled kinds that may go out, as bits
   * @param allocate returns zeroed memory of at most BLOCK_FRAMES frames, or NIL
   * @throws ZcacheError ERR_ARENA_FULL
   */
  format(
    memoryBytes: number,
    enabled: number,
    allocate: (sizeBytes: number) => WordIndex | Nil,
  ): void {
    const words = this.#words;
    words[this.#at + Box.ENABLED] = enabled;
    const wanted = Math.floor(memoryBytes / this.#arena.pageSize) >>> SLOTS_SHIFT;
    const slots = Math.max(SLOTS_MIN, Math.min(SLOTS_MAX, wanted));
    words[this.#at + Box.SLOTS] = slots;
    words[this.#at + Box.REMOVALS] = 2 ** Math.ceil(Math.log2(slots * REMOVALS_PER_SLOT));
    words[this.#at + Box.FETCHES] = Math.max(FETCHES_MIN, Math.min(FETCHES_MAX, slots >>> 2));
    const parts = this.#layOut();
    [this.#slotHeads, this.#slotPages, this.#removals, this.#fetchHeads, this.#fetchPages] = parts;
    for (const part of parts) {
      if (part.allocate(allocate)) continue;
      throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for pages in transit");
    }
    for (let slot = slots - 1; slot >= 0; slot--) this.#freeLocked(slot);
    words[this.#at + Box.IN_TRANSIT] = 0;
  }

  /** Word index of a word of outbox.layout.ts. */
  wordAt(word: number): number {
    return this.#at + word;
  }

  get(word: number): number {
    return this.#words[this.#at + word]!;
  }

  /** The fencing epoch in new keys; 0: no pages go out. */
  get epoch(): number {
    return this.get(Box.EPOCH);
  }

  setLocked(word: number, value: number): void {
    put(this.#words, this.#at + word, value);
  }

  /** Whether the settings let pages of a kind out. */
  isEnabled(kind: number): boolean {
    return (this.get(Box.ENABLED) & (1 << kind)) !== 0;
  }

  /** Whether pages of a kind may be sent now. */
  accepts(kind: number): boolean {
    if (this.get(Box.EPOCH) === 0 || !this.isEnabled(kind)) return false;
    return this.get(Box.REFUSED) === 0;
  }

  /**
   * Copies a page to a slot, to be sent. Sets `versionLow` and `versionHigh`.
   * @param meta META of the page, which has the size of the data at `source`
   * @returns the slot, or NIL if all are in use: then nothing has changed
   */
  appendLocked(pool: number, key: RecordKey, meta: number, source: Address): number | Nil {
    const words = this.#words;
    const slot = this.get(Box.FREE_FIRST) - 1;
    if (slot < 0) return NIL;
    this.#nextVersionLocked();
    const at = this.#slotHeads.at(slot);
    // Not logged: nothing refers to the content of a free slot.
    writeName(words, at, pool, key, meta);
    words[at + Box.RECORD_LOW] = this.versionLow;
    words[at + Box.RECORD_HIGH] = this.versionHigh;
    words[at + Box.RECORD_EPOCH] = this.get(Box.EPOCH);
    this.#arena.kernels.copy(this.#slotPages.at(slot) * 4, source, meta & SIZE_MASK);
    this.setLocked(Box.FREE_FIRST, words[at + Box.LINK]!);
    put(words, at + Box.STATE, Box.READY);
    this.#queueLocked(slot);
    add(words, this.#at + Box.IN_TRANSIT, 1);
    return slot;
  }

  /** Copies the page in a slot: under the lock, or as a reader. */
  readSlot(slot: number, sizeBytes: number, target: Address): void {
    this.#arena.kernels.copy(target, this.#slotPages.at(slot) * 4, sizeBytes);
  }

  /** The page in a slot: stays until the slot is free. */
  dataOf(slot: number): Uint8Array {
    const start = this.#slotPages.at(slot) * 4;
    const sizeBytes = this.#words[this.#slotHeads.at(slot) + Box.META]! & SIZE_MASK;
    return this.#arena.bytes.subarray(start, start + sizeBytes);
  }

  addressOf(slot: number): Address {
    return (this.#slotPages.at(slot) * 4) as Address;
  }

  /** Records that no page has the record in a slot any more. */
  cancelLocked(slot: number): void {
    const at = this.#slotHeads.at(slot) + Box.STATE;
    const state = this.#words[at]!;
    assert((state & Box.CANCELLED) === 0, "a page in transit is cancelled once");
    if ((state & Box.STATE_MASK) !== Box.STORED) put(this.#words, at, state | Box.CANCELLED);
    else {
      this.#removeRecordOf(slot);
      this.#freeLocked(slot);
    }
  }

  /**
   * Takes the next page to send.
   * @returns its slot, which is SENDING now; NIL if there is none
   */
  beginLocked(): number | Nil {
    const words = this.#words;
    for (;;) {
      const slot = this.get(Box.READY_FIRST) - 1;
      if (slot < 0) return NIL;
      const at = this.#slotHeads.at(slot);
      const state = words[at + Box.STATE]!;
      this.setLocked(Box.READY_FIRST, words[at + Box.LINK]!);
      if (words[at + Box.LINK] === 0) this.setLocked(Box.READY_LAST, 0);
      if ((state & Box.CANCELLED) === 0) {
        put(words, at + Box.STATE, Box.SENDING | (state & Box.SENT));
        return slot;
      }
      if ((state & Box.SENT) !== 0) this.#removeRecordOf(slot);
      this.#freeLocked(slot);
      this.#arena.lock.commit();
    }
  }

  /** Whether a page that was sent has been replaced or removed since. */
  isCancelled(slot: number): boolean {
    return (this.#words[this.#slotHeads.at(slot) + Box.STATE]! & Box.CANCELLED) !== 0;
  }

  /** Whether an earlier attempt may have stored the record. */
  wasSent(slot: number): boolean {
    return (this.#words[this.#slotHeads.at(slot) + Box.STATE]! & Box.SENT) !== 0;
  }

  /** Frees the slot of a page that has left it. @param removes also removes its record */
  endLocked(slot: number, removes: boolean): void {
    if (removes) this.#removeRecordOf(slot);
    this.#freeLocked(slot);
  }

  /** Keeps a slot whose page is about to be removed with its pool. */
  keepStoredLocked(slot: number): void {
    put(this.#words, this.#slotHeads.at(slot) + Box.STATE, Box.STORED | Box.SENT);
  }

  /** Queues a page again. @param maySent whether its record may be in the cluster */
  retryLocked(slot: number, maySent: boolean): void {
    const at = this.#slotHeads.at(slot) + Box.STATE;
    const flags = this.#words[at]! & (Box.SENT | Box.CANCELLED);
    put(this.#words, at, Box.READY | flags | (maySent ? Box.SENT : 0));
    this.#queueLocked(slot);
  }

  /** Queues all pages that a thread was sending which does not serve any more. */
  takeBackLocked(): void {
    for (let slot = 0; slot < this.get(Box.SLOTS); slot++) {
      const state = this.#words[this.#slotHeads.at(slot) + Box.STATE]!;
      if ((state & Box.STATE_MASK) === Box.SENDING) this.retryLocked(slot, true);
    }
  }

  /** What is in a slot. */
  nameOf(slot: number): RecordName {
    return nameAt(this.#words, this.#slotHeads.at(slot));
  }

  /** Asks for the removal of a record; if the ring is full, the record becomes an orphan. */
  removeLocked(pool: number, key: RecordKey, record: RecordVersion): void {
    const words = this.#words;
    const tail = this.get(Box.REMOVE_TAIL);
    if (this.removalsWaiting >= this.get(Box.REMOVALS)) {
      add(words, this.#at + Box.ORPHANS, 1);
      return;
    }
    const at = this.#removals.at(tail & (this.get(Box.REMOVALS) - 1));
    // Not logged: the removal is not in the ring yet.
    writeName(words, at, pool, key, 0);
    words[at + Box.RECORD_LOW] = record.versionLow;
    words[at + Box.RECORD_HIGH] = record.versionHigh;
    words[at + Box.RECORD_EPOCH] = record.epoch;
    this.setLocked(Box.REMOVE_TAIL, (tail + 1) | 0);
  }

  /** Takes removals from the ring, oldest first. */
  takeRemovalsLocked(max: number): RecordName[] {
    const head = this.get(Box.REMOVE_HEAD);
    const count = Math.min(max, this.removalsWaiting);
    const names: RecordName[] = [];
    for (let nth = 0; nth < count; nth++) {
      const slot = (head + nth) & (this.get(Box.REMOVALS) - 1);
      names.push(nameAt(this.#words, this.#removals.at(slot)));
    }
    if (count > 0) this.setLocked(Box.REMOVE_HEAD, (head + count) | 0);
    return names;
  }

  get removalsWaiting(): number {
    return (this.get(Box.REMOVE_TAIL) - this.get(Box.REMOVE_HEAD)) | 0;
  }

  /** Records that so many records may be orphans. */
  suspectLocked(records: number): void {
    add(this.#words, this.#at + Box.ORPHANS, records);
  }

  /** Wakes the thread that serves: there is work for it. */
  call(): void {
    Atomics.add(this.#words, this.#at + Box.CALLS, 1);
    Atomics.notify(this.#words, this.#at + Box.CALLS);
  }

  /** Wakes the threads that wait for room (`RoomSigns`). */
  slotEnded(): void {
    Atomics.add(this.#words, this.#at + Box.ENDED, 1);
    Atomics.notify(this.#words, this.#at + Box.ENDED);
  }

  /** The reads that threads ask for. */
  get fetches(): Fetches {
    this.#fetches ??= new Fetches(this.#arena, {
      count: this.get(Box.FETCHES),
      heads: this.#fetchHeads,
      pages: this.#fetchPages,
    });
    return this.#fetches;
  }

  /** Page frames of all parts. */
  get memoryFrames(): number {
    const parts = [this.#slotHeads, this.#slotPages, this.#removals];
    return [...parts, this.#fetchHeads, this.#fetchPages].reduce((sum, p) => sum + p.frames, 0);
  }

  /**
   * Checks slots against the pages in transit.
   * @param live slot and version (low) of each page in transit
   * @throws AssertionError
   */
  verify(live: ReadonlyMap<number, number>): void {
    let inUse = 0;
    for (let slot = 0; slot < this.get(Box.SLOTS); slot++) {
      const at = this.#slotHeads.at(slot);
      const state = this.#words[at + Box.STATE]!;
      if ((state & Box.STATE_MASK) !== Box.FREE) inUse++;
      const isLive = (state & Box.STATE_MASK) !== Box.FREE && (state & Box.CANCELLED) === 0;
      assert(isLive === live.has(slot), "a slot has the page of one entry");
      const version = this.#words[at + Box.RECORD_LOW]!;
      assert(!isLive || live.get(slot) === version, "a slot has the version of its entry");
    }
    assert(inUse === this.get(Box.IN_TRANSIT), "slots in use are counted");
    let free = 0;
    for (let next = this.get(Box.FREE_FIRST); next !== 0; free++) {
      assert(free < this.get(Box.SLOTS), "the list of free slots ends");
      next = this.#words[this.#slotHeads.at(next - 1) + Box.LINK]!;
    }
    assert(free + inUse === this.get(Box.SLOTS), "each slot is free or in use");
  }

  #removeRecordOf(slot: number): void {
    const name = this.nameOf(slot);
    this.removeLocked(name.pool, name.key, name);
  }

  #freeLocked(slot: number): void {
    const at = this.#slotHeads.at(slot);
    put(this.#words, at + Box.STATE, Box.FREE);
    put(this.#words, at + Box.LINK, this.get(Box.FREE_FIRST));
    this.setLocked(Box.FREE_FIRST, slot + 1);
    add(this.#words, this.#at + Box.IN_TRANSIT, -1);
  }

  #queueLocked(slot: number): void {
    const last = this.get(Box.READY_LAST);
    put(this.#words, this.#slotHeads.at(slot) + Box.LINK, 0);
    if (last === 0) this.setLocked(Box.READY_FIRST, slot + 1);
    else put(this.#words, this.#slotHeads.at(last - 1) + Box.LINK, slot + 1);
    this.setLocked(Box.READY_LAST, slot + 1);
  }

  #nextVersionLocked(): void {
    this.versionLow = (this.get(Box.VERSION_LOW) + 1) | 0;
    this.versionHigh = this.get(Box.VERSION_HIGH) + (this.versionLow === 0 ? 1 : 0);
    assert(this.versionHigh <= VERSION_HIGH_MAX, "versions do not run out");
    this.setLocked(Box.VERSION_LOW, this.versionLow);
    if (this.versionLow === 0) this.setLocked(Box.VERSION_HIGH, this.versionHigh);
  }

  /** The five parts, one after the other in BLOCKS. */
  #layOut(): [Blocks, Blocks, Blocks, Blocks, Blocks] {
    const { pageSize } = this.#arena;
    let next = this.#at + Box.BLOCKS;
    const part = (records: number, words: number) => {
      const blocks = new Blocks(this.#words, next, records, words, pageSize);
      next += blocks.count;
      return blocks;
    };
    const slots = this.get(Box.SLOTS);
    const fetches = this.get(Box.FETCHES);
    const parts: [Blocks, Blocks, Blocks, Blocks, Blocks] = [
      part(slots, Box.SLOT_WORDS),
      part(slots, pageSize / 4),
      part(this.get(Box.REMOVALS), Box.REMOVAL_WORDS),
      part(fetches, Box.FETCH_WORDS),
      part(fetches, pageSize / 4),
    ];
    assert(next <= this.#at + Box.OUTBOX_WORDS, "the outbox has a word for each block");
    return parts;
  }
}

/** The bits of META that are the size of the data in bytes, the same as in the store's META. */
const SIZE_MASK = 0x1ffff;
