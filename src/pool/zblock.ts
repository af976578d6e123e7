// zblock: blocks of a few page frames, each divided into slots of one size; an object takes one
// slot.
//
// After A. Badmaev's posting of 2022 (v6) and V. Wool's of 2025. Objects never move and are always
// in one piece, so that every operation is a few steps and a mapping is an address; the price is
// that a block is freed only when all its objects are gone. Two forms are for use; three place
// objects exactly as the originals do, for comparison (zblock_tables.ts has the differences).
//
// Blocks with room are in one list per type (zblock_room.ts). Reclaim takes the block to which an
// object was added longest ago, of any type, if none of its objects is mapped.
import { type Address, type Handle, NIL, type PageFrame, type WordIndex } from "../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../base/errno.ts";
import { assert } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import { orderOf } from "../memory/frame.layout.ts";
import { add, put } from "../memory/journal.ts";
import {
  LINK_WORDS,
  listAdd,
  listCheck,
  listDel,
  listEmpty,
  listFirst,
  listInit,
  listLast,
  listNext,
  listPrev,
} from "../memory/list.ts";
import { SLAB_HEAD_WORDS } from "../memory/slab.layout.ts";
import { Slab } from "../memory/slab.ts";
import { BasePool, type PoolId } from "./base.ts";
import { type ClassStats, describedFrame, type MapMode } from "./contract.ts";
import type { PoolDriver } from "./driver.ts";
import { frameOf, type HandleBits, handleBits, makeHandle, slotOf } from "./handle_bits.ts";
import * as Pool from "./pool.layout.ts";
import * as Block from "./zblock_block.layout.ts";
import { roomWords, ZblockRoom } from "./zblock_room.ts";
import * as Tables from "./zblock_tables.ts";

/** A record has a word per slot; four record sizes waste little, at one page frame each. */
const RECORD_SLOTS = [1, 16, 32, Block.SLOTS_MAX] as const;

// The pool's own words: the LRU, the slabs' heads, then the blocks with room.
const LRU = 0;
const SLABS = LRU + LINK_WORDS;
const ROOM = SLABS + RECORD_SLOTS.length * SLAB_HEAD_WORDS;

export class ZblockPool extends BasePool {
  readonly #setting: Tables.ZblockSetting;
  readonly #types: Tables.ZblockTypes;
  readonly #bits: HandleBits;
  readonly #slabs: readonly Slab[];
  readonly #room: ZblockRoom;

  constructor(
    arena: Arena,
    type: string,
    setting: Tables.ZblockSetting,
    typeIndex: number,
    id: PoolId,
  ) {
    const types = new Tables.ZblockTypes(setting, arena.pageSize);
    const { maxSizeBytes, slotsMax } = types;
    const ownWords = ROOM + roomWords(setting);
    super(arena, { type, typeIndex, ownWords, maxSizeBytes, canCompact: false }, id);
    this.#setting = setting;
    this.#types = types;
    this.#bits = handleBits(arena.frames.framesMax, slotsMax);
    this.#slabs = RECORD_SLOTS.map((slots, i) => {
      const headAt = this.own + SLABS + i * SLAB_HEAD_WORDS;
      return new Slab(arena, headAt, Block.SLOTS + slots, this.id);
    });
    this.#room = new ZblockRoom(arena, this.own + ROOM, setting);
    if (id !== NIL) return;
    listInit(this.words, this.own + LRU);
    for (const slab of this.#slabs) slab.format();
    this.#room.format();
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const words = this.words;
    const type = this.#types.typeOf(sizeBytes);
    let block = this.#room.find(type);
    if (block === NIL) block = this.#growLocked(type);
    if (block === NIL && this.#setting.repaired) block = this.#fallBackLocked(type);
    if (block === NIL) return ENOMEM;
    const slot = this.#takeSlotLocked(block);
    const generation = words[this.at + Pool.SERIAL]!++ & this.#generationMask();
    put(words, block + Block.SLOTS + slot, generation);
    const lru = this.own + LRU;
    if (listFirst(words, lru) !== block + Block.LRU) {
      listDel(words, block + Block.LRU);
      listAdd(words, block + Block.LRU, lru);
    }
    return makeHandle(this.#bits, words[block + Block.FRAME]!, slot, generation);
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const block = this.#findLocked(handle);
    if (block === NIL) return EINVAL;
    const slot = slotOf(this.#bits, handle);
    if (words[block + Block.SLOTS + slot]! >>> Block.MAPS_SHIFT !== 0) return EBUSY;
    const mapAt = block + Block.FREE + (slot >>> 5);
    put(words, mapAt, words[mapAt]! | (1 << (slot & 31)));
    const free = add(words, block + Block.FREE_COUNT, 1) + 1;
    if (words[block + Block.UNDER_RECLAIM] !== 0) return 0;
    if (free === this.#types.slots[words[block + Block.TYPE]!]) this.#freeBlockLocked(block);
    else if (free === 1 || this.#setting.cached) this.#room.add(block, this.#setting.repaired);
    return 0;
  }

  protected override readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locateLocked(this.#findLocked(handle), handle, sizeBytes);
    if (at === NIL) return EINVAL;
    this.arena.kernels.copy(target, at, sizeBytes);
    return 0;
  }

  protected override writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    const at = this.#locateLocked(this.#findLocked(handle), handle, sizeBytes);
    if (at === NIL) return EINVAL;
    this.writer.copy(at, source, sizeBytes);
    return 0;
  }

  protected override mapLocked(handle: Handle, _mode: MapMode, sizeBytes: number): Address | Errno {
    const words = this.words;
    const block = this.#findLocked(handle);
    const at = this.#locateLocked(block, handle, sizeBytes);
    if (at === NIL) return EINVAL;
    const slotAt = block + Block.SLOTS + slotOf(this.#bits, handle);
    if (words[slotAt]! >>> Block.MAPS_SHIFT === Block.MAPS_MAX) return EBUSY;
    add(words, slotAt, 1 << Block.MAPS_SHIFT);
    add(words, block + Block.MAPS, 1);
    return at as Address;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const block = this.#findLocked(handle);
    if (block === NIL) return EINVAL;
    const slotAt = block + Block.SLOTS + slotOf(this.#bits, handle);
    if (words[slotAt]! >>> Block.MAPS_SHIFT === 0) return EINVAL;
    add(words, slotAt, -(1 << Block.MAPS_SHIFT));
    add(words, block + Block.MAPS, -1);
    return 0;
  }

  protected override beginReclaimLocked(pass: number, handles: Handle[]): number {
    const words = this.words;
    const lru = this.own + LRU;
    for (let link = listLast(words, lru); link !== lru; link = listPrev(words, link)) {
      const block = link - Block.LRU;
      if (words[block + Block.UNDER_RECLAIM] !== 0) continue;
      if (words[block + Block.PASS] === pass + 1) continue;
      put(words, block + Block.PASS, pass + 1);
      if (words[block + Block.MAPS] !== 0) continue;
      put(words, block + Block.UNDER_RECLAIM, 1);
      this.#room.remove(block);
      this.#handlesOfLocked(block, handles);
      return block;
    }
    return NIL;
  }

  protected override endReclaimLocked(block: number): number {
    const words = this.words;
    const type = words[block + Block.TYPE]!;
    put(words, block + Block.UNDER_RECLAIM, 0);
    if (words[block + Block.FREE_COUNT] === this.#types.slots[type]) {
      this.#freeBlockLocked(block);
      return 1 << this.#types.orders[type]!;
    }
    if (words[block + Block.FREE_COUNT] !== 0) this.#room.add(block, false);
    return 0;
  }

  protected override metadataFramesLocked(): number {
    return this.#slabs.reduce((frames, slab) => frames + slab.framesHeld, 0);
  }

  protected override classStatsLocked(): ClassStats[] {
    const words = this.words;
    const { count, slots, orders } = this.#types;
    const blocks = new Array<number>(count).fill(0);
    const free = new Array<number>(count).fill(0);
    const lru = this.own + LRU;
    for (let link = listFirst(words, lru); link !== lru; link = listNext(words, link)) {
      const block = link - Block.LRU;
      blocks[words[block + Block.TYPE]!]!++;
      free[words[block + Block.TYPE]!]! += words[block + Block.FREE_COUNT]!;
    }
    const classes: ClassStats[] = [];
    for (let type = 0; type < count; type++) {
      if (blocks[type] === 0) continue;
      const pages = 1 << orders[type]!;
      const capacity = blocks[type]! * slots[type]!;
      classes.push({
        name: `${slots[type]} slots in ${pages} pages`,
        sizeBytes: this.#types.largestOf(type),
        objects: capacity - free[type]!,
        capacity,
        pages: blocks[type]! * pages,
      });
    }
    return classes;
  }

  override describeFrame(frame: PageFrame): number {
    this.assertAlive();
    const { frames } = this.arena;
    // A block begins at a multiple of its size; only its first frame names its record.
    const order = orderOf(frames.state(frame));
    const head = ((frame >>> order) << order) as PageFrame;
    const block = ~this.words[frames.privateOf(head)]!;
    if (block < 0) return NIL;
    const type = this.words[block + Block.TYPE]!;
    const slots = this.#types.slots[type]!;
    const used = slots - this.words[block + Block.FREE_COUNT]!;
    return describedFrame(this.#types.slotBytes[type]!, used / slots);
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    const words = this.words;
    const lru = this.own + LRU;
    const blocks = listCheck(words, lru, this.arena.frames.framesTotal);
    assert(blocks >= 0, "the list of all blocks is whole");
    let objects = 0;
    let pages = 0;
    let withRoom = 0;
    for (let link = listFirst(words, lru); link !== lru; link = listNext(words, link)) {
      const block = link - Block.LRU;
      objects += this.#verifyBlockLocked(block);
      pages += 1 << this.#types.orders[words[block + Block.TYPE]!]!;
      const listable = words[block + Block.UNDER_RECLAIM] === 0;
      if (listable && words[block + Block.FREE_COUNT] !== 0) withRoom++;
    }
    this.#room.verify(withRoom);
    for (const slab of this.#slabs) slab.verify();
    const records = this.#slabs.reduce((sum, slab) => sum + slab.recordsUsed, 0);
    assert(records === blocks, "every record is a block's");
    return { objects, pages };
  }

  protected override destroyLocked(): void {
    const lru = this.own + LRU;
    while (!listEmpty(this.words, lru)) {
      this.#freeBlockLocked(listFirst(this.words, lru) - Block.LRU);
    }
  }

  /** A new block of this type, among the blocks with room, or NIL if there are no frames for it. */
  #growLocked(type: number): number {
    const words = this.words;
    const frames = this.arena.frames;
    const slab = this.#slabOf(type);
    const block = slab.alloc();
    if (block === NIL) return NIL;
    const frame = frames.alloc(this.#types.orders[type]!, this.id);
    if (frame === NIL) {
      slab.free(block);
      return NIL;
    }
    const slots = this.#types.slots[type]!;
    put(words, frames.privateOf(frame), ~block);
    listInit(words, block + Block.LINK);
    listInit(words, block + Block.LRU);
    put(words, block + Block.FRAME, frame);
    put(words, block + Block.TYPE, type);
    put(words, block + Block.FREE_COUNT, slots);
    put(words, block + Block.FREE, lowBits(Math.min(slots, 32)));
    put(words, block + Block.FREE + 1, lowBits(Math.max(slots - 32, 0)));
    put(words, block + Block.MAPS, 0);
    put(words, block + Block.UNDER_RECLAIM, 0);
    put(words, block + Block.PASS, 0);
    this.#room.add(block, true);
    this.count(Pool.PAGES, 1 << this.#types.orders[type]!);
    return block;
  }

  /**
   * If no block of the type is available: room in a larger type, or a block of a larger type that
   * needs fewer contiguous frames. The last type needs one frame, so an object is refused only if
   * that is missing, or a frame for the record.
   */
  #fallBackLocked(wanted: number): number {
    const orders = this.#types.orders;
    let refused = orders[wanted]!;
    for (let type = wanted + 1; type < this.#types.count; type++) {
      const block = this.#room.find(type);
      if (block !== NIL) return block;
      if (orders[type]! >= refused) continue;
      const grown = this.#growLocked(type);
      if (grown !== NIL) return grown;
      refused = orders[type]!;
    }
    return NIL;
  }

  /** Takes the lowest free slot of a block that has one; a full block leaves its list. */
  #takeSlotLocked(block: number): number {
    const words = this.words;
    const mapAt = block + Block.FREE + (words[block + Block.FREE] === 0 ? 1 : 0);
    const lowest = words[mapAt]! & -words[mapAt]!;
    assert(lowest !== 0, "a block with room has a free slot");
    put(words, mapAt, words[mapAt]! ^ lowest);
    if (add(words, block + Block.FREE_COUNT, -1) === 1) this.#room.removeFull(block);
    return 31 - Math.clz32(lowest) + (mapAt - block - Block.FREE) * 32;
  }

  #freeBlockLocked(block: number): void {
    const words = this.words;
    const type = words[block + Block.TYPE]!;
    this.#room.remove(block);
    listDel(words, block + Block.LRU);
    this.arena.frames.free(words[block + Block.FRAME]! as PageFrame);
    this.#slabOf(type).free(block as WordIndex);
    this.count(Pool.PAGES, -(1 << this.#types.orders[type]!));
  }

  /** The record of a live handle's block, or NIL if the handle is foreign, stale or invented. */
  #findLocked(handle: Handle): number {
    const words = this.words;
    const frames = this.arena.frames;
    const frame = frameOf(this.#bits, handle);
    if (!frames.isHeadOf(frame, this.id)) return NIL;
    // Of the pool's frames only a block's has a negative word here: ~ of a slab's count is
    // negative.
    const block = ~words[frames.privateOf(frame as PageFrame)]!;
    if (block < 0) return NIL;
    const slot = slotOf(this.#bits, handle);
    if (slot >= this.#types.slots[words[block + Block.TYPE]!]!) return NIL;
    if (this.#isFree(block, slot)) return NIL;
    const generation = words[block + Block.SLOTS + slot]! & Block.GENERATION_MASK;
    return makeHandle(this.#bits, frame, slot, generation) === handle ? block : NIL;
  }

  /** The address of a live object with room for `sizeBytes`, else NIL; `block` may be NIL. */
  #locateLocked(block: number, handle: Handle, sizeBytes: number): number {
    if (block === NIL) return NIL;
    const words = this.words;
    const slotBytes = this.#types.slotBytes[words[block + Block.TYPE]!]!;
    if (!(sizeBytes >= 0 && sizeBytes <= slotBytes)) return NIL;
    const start = words[block + Block.FRAME]! * this.arena.pageSize + this.#setting.headerBytes;
    return start + slotOf(this.#bits, handle) * slotBytes;
  }

  #handlesOfLocked(block: number, handles: Handle[]): void {
    const words = this.words;
    const slots = this.#types.slots[words[block + Block.TYPE]!]!;
    for (let slot = 0; slot < slots; slot++) {
      if (this.#isFree(block, slot)) continue;
      const generation = words[block + Block.SLOTS + slot]! & Block.GENERATION_MASK;
      handles.push(makeHandle(this.#bits, words[block + Block.FRAME]!, slot, generation));
    }
  }

  #isFree(block: number, slot: number): boolean {
    return ((this.words[block + Block.FREE + (slot >>> 5)]! >>> (slot & 31)) & 1) !== 0;
  }

  #generationMask(): number {
    return this.#bits.generationMask & Block.GENERATION_MASK;
  }

  #slabOf(type: number): Slab {
    const slots = this.#types.slots[type]!;
    let index = 0;
    while (slots > RECORD_SLOTS[index]!) index++;
    return this.#slabs[index]!;
  }

  /** @returns the objects in the block */
  #verifyBlockLocked(block: number): number {
    const words = this.words;
    const frames = this.arena.frames;
    const frame = words[block + Block.FRAME]! as PageFrame;
    const type = words[block + Block.TYPE]!;
    assert(type >= 0 && type < this.#types.count, "a block has a type");
    assert(frames.isHeadOf(frame, this.id), "the pool owns its blocks");
    assert(orderOf(frames.state(frame)) === this.#types.orders[type], "a block is as its type");
    assert(words[frames.privateOf(frame)] === ~block, "a block's frame leads to its record");
    const slots = this.#types.slots[type]!;
    let free = 0;
    let maps = 0;
    for (let slot = 0; slot < Block.SLOTS_MAX; slot++) {
      if (slot >= slots) {
        assert(!this.#isFree(block, slot), "what is no slot is not free");
        continue;
      }
      const slotMaps = words[block + Block.SLOTS + slot]! >>> Block.MAPS_SHIFT;
      if (this.#isFree(block, slot)) free++;
      else maps += slotMaps;
    }
    assert(free === words[block + Block.FREE_COUNT], "the free slots are as many as counted");
    assert(maps === words[block + Block.MAPS], "the mappings are as many as counted");
    const reclaimed = words[block + Block.UNDER_RECLAIM] !== 0;
    assert(free < slots || reclaimed, "a block holds something");
    return slots - free;
  }
}

/** A word with its `count` (0 … 32) lowest bits set. */
function lowBits(count: number): number {
  return count === 0 ? 0 : -1 >>> (32 - count);
}

function driver(
  type: string,
  setting: Tables.ZblockSetting,
  summary: string,
  variant: boolean,
): PoolDriver {
  return {
    type,
    summary,
    variant,
    open: (arena, index, id) => new ZblockPool(arena, type, setting, index, id),
  };
}

export const ZBLOCK_DRIVERS: readonly PoolDriver[] = [
  driver("zblock", Tables.REPAIRED_2022, "slots in blocks of 1 to 8 pages, types of 2022", false),
  driver(
    "zblock-2025",
    Tables.REPAIRED_2025,
    "slots in blocks of 1 to 8 pages, types of 2025",
    false,
  ),
  driver("zblock-v6-2022", Tables.V6_2022, "zblock as posted in 2022, page for page", true),
  driver("zblock-2025-first", Tables.FIRST_2025, "the first zblock of 2025, page for page", true),
  driver("zblock-2025-final", Tables.FINAL_2025, "the last zblock of 2025, page for page", true),
];
