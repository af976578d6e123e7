// The common part of zsmalloc of 2012 and of Linux 6.12: everything except how a handle leads to an
// object.
import { type Address, type Handle, NIL, type PageFrame } from "../../base/brand.ts";
import { EBUSY, EINVAL, type Errno } from "../../base/errno.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { add, put } from "../../memory/journal.ts";
import { BasePool, type PoolId } from "../base.ts";
import { BounceBuffers } from "../bounce.ts";
import { type ClassStats, describedFrame, MAP_RO, MAP_WO, type MapMode } from "../contract.ts";
import { Places } from "./places.ts";
import { hugeSizeBytes, type SizeClasses } from "./size_classes.ts";
import * as Zspage from "./zspage.layout.ts";
import { Zspages, zspagesWords } from "./zspages.ts";

export interface ZspagePoolSpec {
  readonly type: string;
  readonly typeIndex: number;
  readonly canCompact: boolean;
  readonly classes: SizeClasses;
  /** Words of the descriptor for the subclass, from `kindAt` on. */
  readonly kindWords: number;
}

export abstract class ZspagePool extends BasePool {
  protected readonly zspages: Zspages;
  protected readonly places: Places;
  protected readonly classes: SizeClasses;
  protected readonly kindAt: number;
  readonly #bounce: BounceBuffers;

  protected constructor(arena: Arena, spec: ZspagePoolSpec, id: PoolId) {
    const { type, typeIndex, canCompact, classes, kindWords } = spec;
    const ownWords = kindWords + zspagesWords(classes);
    const maxSizeBytes = arena.pageSize;
    const sizes = { maxSizeBytes, hugeSizeBytes: hugeSizeBytes(classes) };
    super(arena, { type, typeIndex, canCompact, ownWords, ...sizes }, id);
    this.classes = classes;
    this.kindAt = this.own;
    this.places = new Places(arena, classes, this.writer);
    this.zspages = new Zspages(arena, {
      places: this.places,
      poolId: this.id,
      ownAt: this.own + kindWords,
      recordsOwner: this.ownerOfKind(1),
    });
    // Objects in two frames are mapped through buffers. The buffers are allocated now, while there
    // is memory; if there is none, `map` tries again.
    this.#bounce = BounceBuffers.of(arena);
    this.#bounce.prepare();
    if (id === NIL) this.zspages.format();
  }

  /** The place of a live object, or NIL if the handle is foreign, stale or invented. */
  protected abstract placeLocked(handle: Handle): number;
  /** The word of a live object whose bits `pinMask` count its mappings. */
  protected abstract pinWordLocked(handle: Handle): number;
  protected abstract readonly pinMask: number;
  /** Adds the handles of a zspage's objects. */
  protected abstract handlesOfLocked(zspage: number, handles: Handle[]): void;
  /**
   * Frees a zspage, with the subclass's data for it.
   * @returns page frames freed
   */
  protected abstract releaseLocked(zspage: number): number;
  /** Links the free objects of a new zspage. @returns whether there was memory for it */
  protected abstract formatLocked(zspage: number, cls: number): boolean;
  /** Checks every object of a zspage. @returns how many are live, and their mappings */
  protected abstract verifyObjectsLocked(zspage: number): { live: number; pins: number };

  /** The owner number of the n-th kind of metadata: no frame has this number, so no pool does. */
  protected ownerOfKind(nth: number): number {
    return this.id + nth * this.arena.frames.framesMax;
  }

  /** The fullest zspage of a class that has room, or a new one, or NIL. */
  protected findOrBuildLocked(cls: number): number {
    const zspage = this.zspages.fullest(cls);
    return zspage === NIL ? this.#buildLocked(cls) : zspage;
  }

  #buildLocked(cls: number): number {
    const zspage = this.zspages.build(cls);
    if (zspage === NIL) return NIL;
    if (!this.formatLocked(zspage, cls)) {
      this.zspages.release(zspage);
      return NIL;
    }
    return zspage;
  }

  protected override readLocked(handle: Handle, target: Address, sizeBytes: number): 0 | Errno {
    const place = this.placeLocked(handle);
    if (place === NIL) return EINVAL;
    const cls = this.places.classAt(place);
    if (!(sizeBytes >= 0 && sizeBytes <= this.classes.roomBytes[cls]!)) return EINVAL;
    this.places.copyOut(place, this.classes.ownerBytes[cls]!, target, sizeBytes);
    return 0;
  }

  protected override writeLocked(handle: Handle, source: Address, sizeBytes: number): 0 | Errno {
    const place = this.placeLocked(handle);
    if (place === NIL) return EINVAL;
    const cls = this.places.classAt(place);
    if (!(sizeBytes >= 0 && sizeBytes <= this.classes.roomBytes[cls]!)) return EINVAL;
    this.places.copyIn(place, this.classes.ownerBytes[cls]!, source, sizeBytes);
    return 0;
  }

  protected override mapLocked(handle: Handle, mode: MapMode, sizeBytes: number): Address | Errno {
    const place = this.placeLocked(handle);
    if (place === NIL) return EINVAL;
    const cls = this.places.classAt(place);
    if (!(sizeBytes >= 0 && sizeBytes <= this.classes.roomBytes[cls]!)) return EINVAL;
    const pinWord = this.pinWordLocked(handle);
    if ((this.words[pinWord]! & this.pinMask) === this.pinMask) return EBUSY;
    const skip = this.classes.ownerBytes[cls]!;
    let address = 0;
    // By the object's room and not by `sizeBytes`, so that an object is always mapped the same way,
    // and `unmap` knows which of two nested mappings has a buffer.
    if (this.places.spans(place, cls)) {
      const nth = this.#bounce.take(this.at, this.generation, handle, mode, sizeBytes);
      if (nth === NIL) return EBUSY;
      address = this.#bounce.address(nth);
      if (mode !== MAP_WO) this.places.copyOut(place, skip, address, sizeBytes);
    } else {
      address = this.places.addressAt(place, skip);
    }
    add(this.words, pinWord, 1);
    add(this.words, this.places.zspageAt(place) + Zspage.PINS, 1);
    return address as Address;
  }

  protected override unmapLocked(handle: Handle): 0 | Errno {
    const place = this.placeLocked(handle);
    if (place === NIL) return EINVAL;
    const pinWord = this.pinWordLocked(handle);
    if ((this.words[pinWord]! & this.pinMask) === 0) return EINVAL;
    const cls = this.places.classAt(place);
    if (this.places.spans(place, cls)) {
      const nth = this.#bounce.find(this.generation, handle);
      if (nth === NIL) return EINVAL;
      const skip = this.classes.ownerBytes[cls]!;
      const address = this.#bounce.address(nth);
      const sizeBytes = this.#bounce.sizeBytes(nth);
      if (this.#bounce.mode(nth) !== MAP_RO) this.places.copyIn(place, skip, address, sizeBytes);
      this.#bounce.give(nth);
    }
    add(this.words, pinWord, -1);
    add(this.words, this.places.zspageAt(place) + Zspage.PINS, -1);
    return 0;
  }

  protected override beginReclaimLocked(pass: number, handles: Handle[]): number {
    const { words, zspages } = this;
    for (let zspage = zspages.coldest(); zspage !== NIL; zspage = zspages.warmer(zspage)) {
      if (words[zspage + Zspage.UNDER_RECLAIM] !== 0) continue;
      if (words[zspage + Zspage.PASS] === pass + 1) continue;
      put(words, zspage + Zspage.PASS, pass + 1);
      if (words[zspage + Zspage.PINS] !== 0) continue;
      put(words, zspage + Zspage.UNDER_RECLAIM, 1);
      zspages.unlist(zspage);
      this.handlesOfLocked(zspage, handles);
      return zspage;
    }
    return NIL;
  }

  protected override endReclaimLocked(zspage: number): number {
    put(this.words, zspage + Zspage.UNDER_RECLAIM, 0);
    if (this.words[zspage + Zspage.IN_USE] === 0) return this.releaseLocked(zspage);
    // The zspage has kept its place in the LRU.
    this.zspages.list(zspage);
    return 0;
  }

  protected override classStatsLocked(): ClassStats[] {
    const stats: ClassStats[] = [];
    for (let cls = 0; cls < this.classes.count; cls++) {
      const zspages = this.zspages.zspagesOf(cls);
      if (zspages === 0) continue;
      stats.push({
        name: `size ${this.classes.sizeBytes[cls]}`,
        sizeBytes: this.classes.roomBytes[cls]!,
        objects: this.zspages.objectsOf(cls),
        capacity: zspages * this.classes.objects[cls]!,
        pages: zspages * this.classes.pages[cls]!,
      });
    }
    return stats;
  }

  /** All frames of a chain count as full as the chain is. */
  override describeFrame(frame: PageFrame): number {
    this.assertAlive();
    const zspage = this.words[this.places.frameWords(frame) + Zspage.FRAME_ZSPAGE]!;
    const cls = this.words[zspage + Zspage.CLASS]!;
    const share = this.words[zspage + Zspage.IN_USE]! / this.classes.objects[cls]!;
    return describedFrame(this.classes.sizeBytes[cls]!, share);
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    const { words, zspages } = this;
    zspages.verify();
    let objects = 0;
    let pages = 0;
    for (let zspage = zspages.coldest(); zspage !== NIL; zspage = zspages.warmer(zspage)) {
      const { live, pins } = this.verifyObjectsLocked(zspage);
      assert(live === words[zspage + Zspage.IN_USE], "a zspage counts its objects");
      assert(pins === words[zspage + Zspage.PINS], "a zspage counts its mappings");
      objects += live;
      pages += this.classes.pages[words[zspage + Zspage.CLASS]!]!;
    }
    return { objects, pages };
  }

  protected override destroyLocked(): void {
    this.#bounce.giveAllOf(this.generation);
    for (let zspage = this.zspages.coldest(); zspage !== NIL; zspage = this.zspages.coldest()) {
      this.releaseLocked(zspage);
    }
  }
}
