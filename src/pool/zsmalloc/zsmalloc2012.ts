// zsmalloc as it was first proposed (2012): chains of up to four frames, direct handles.
//
// A handle is the object's place, so nothing can move or be compacted. Each class has two lists of
// partial zspages, and the fuller is used first. Page counts are those of the original, row for
// row, which preserves defect S2 (chains chosen by whole percentages). Repaired are S1 (a handle is
// never 0, because frame 0 is never allocated), S3 (full zspages are in a list and in the LRU, so
// that everything is freed with the pool) and S5 (copies are as long as the caller asks, and two
// mappings nest).
import { type Handle, NIL, type PageFrame, type WordIndex } from "../../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../../base/errno.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { keep, put } from "../../memory/journal.ts";
import { SLAB_HEAD_WORDS } from "../../memory/slab.layout.ts";
import { Slab } from "../../memory/slab.ts";
import type { PoolId } from "../base.ts";
import {
  frameOf,
  generationOf,
  type HandleBits,
  handleBits,
  makeHandle,
  slotOf,
} from "../handle_bits.ts";
import * as Pool from "../pool.layout.ts";
import * as State from "./object_state.layout.ts";
import { classOf, sizeClasses2012 } from "./size_classes.ts";
import * as Zspage from "./zspage.layout.ts";
import { ZspagePool } from "./zspage_pool.ts";

/** The smallest class has 32 bytes. */
const SLOT_BYTES_MIN = 32;

export class Zsmalloc2012Pool extends ZspagePool {
  protected override readonly pinMask = 0x7fff_ffff;
  readonly #bits: HandleBits;
  readonly #pageShift: number;
  /** Slabs of state tables, for 1, 2, 4 … objects. */
  readonly #tables: readonly Slab[];
  /** The slab of each class's tables. */
  readonly #tableOf: Uint8Array;

  constructor(arena: Arena, type: string, typeIndex: number, id: PoolId) {
    const classes = sizeClasses2012(arena.pageSize);
    const tableOf = Uint8Array.from(classes.objects, (objects) => Math.ceil(Math.log2(objects)));
    const tables = Math.max(...tableOf) + 1;
    const kindWords = tables * SLAB_HEAD_WORDS;
    super(arena, { type, typeIndex, canCompact: false, classes, kindWords }, id);
    this.#bits = handleBits(arena.frames.framesMax, arena.pageSize / SLOT_BYTES_MIN);
    this.#pageShift = arena.frames.pageShift;
    this.#tableOf = tableOf;
    this.#tables = Array.from({ length: tables }, (_, k) => {
      const headAt = this.kindAt + k * SLAB_HEAD_WORDS;
      return new Slab(arena, headAt, State.STATE_WORDS << k, this.ownerOfKind(2 + k));
    });
    if (id === NIL) for (const table of this.#tables) table.format();
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const words = this.words;
    const cls = classOf(this.classes, sizeBytes);
    const zspage = this.findOrBuildLocked(cls);
    if (zspage === NIL) return ENOMEM;
    const object = words[zspage + Zspage.FREE]!;
    const frame = this.#frameOfObject(zspage, cls, object);
    const place = this.#placeOf(frame, cls, object);
    keep(words, place);
    put(words, zspage + Zspage.FREE, words[place]!);
    const frameClass = words[this.places.frameWords(frame) + Zspage.FRAME_CLASS]!;
    const first = Zspage.firstObjectOfFrame(frameClass);
    const state = words[zspage + Zspage.OWN]! + object * State.STATE_WORDS;
    const generation = ~words[state + State.HANDLE]! + 1;
    const handle = makeHandle(this.#bits, frame, object - first, generation);
    put(words, state + State.HANDLE, handle);
    this.zspages.added(zspage, cls);
    return handle;
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const words = this.words;
    const state = this.#stateOf(handle);
    if (state === NIL) return EINVAL;
    if (words[state + State.PINS] !== 0) return EBUSY;
    const frame = frameOf(this.#bits, handle);
    const zspage = words[this.places.frameWords(frame) + Zspage.FRAME_ZSPAGE]!;
    const cls = words[zspage + Zspage.CLASS]!;
    const object = (state - words[zspage + Zspage.OWN]!) / State.STATE_WORDS;
    put(words, state + State.HANDLE, ~generationOf(this.#bits, handle));
    put(words, this.#placeOf(frame, cls, object), words[zspage + Zspage.FREE]!);
    put(words, zspage + Zspage.FREE, object);
    if (this.zspages.removed(zspage, cls)) this.releaseLocked(zspage);
    return 0;
  }

  protected override placeLocked(handle: Handle): number {
    const state = this.#stateOf(handle);
    if (state === NIL) return NIL;
    const frame = frameOf(this.#bits, handle);
    const zspage = this.words[this.places.frameWords(frame) + Zspage.FRAME_ZSPAGE]!;
    const object = (state - this.words[zspage + Zspage.OWN]!) / State.STATE_WORDS;
    return this.#placeOf(frame, this.words[zspage + Zspage.CLASS]!, object);
  }

  protected override pinWordLocked(handle: Handle): number {
    return this.#stateOf(handle) + State.PINS;
  }

  protected override formatLocked(zspage: number, cls: number): boolean {
    const words = this.words;
    const states = this.#tables[this.#tableOf[cls]!]!.alloc();
    if (states === NIL) return false;
    put(words, zspage + Zspage.OWN, states);
    put(words, zspage + Zspage.FREE, 0);
    // If a new zspage is in an old one's frames, its first handles must differ from the old ones.
    const generation = words[this.at + Pool.SERIAL]!++ & this.#bits.generationMask;
    const objects = this.classes.objects[cls]!;
    let place = this.places.first(zspage);
    for (let object = 0; object < objects; object++) {
      put(words, states + object * State.STATE_WORDS + State.HANDLE, ~generation);
      put(words, states + object * State.STATE_WORDS + State.PINS, 0);
      put(words, place, object === objects - 1 ? NIL : object + 1);
      place = this.places.next(place, this.classes.sizeBytes[cls]!);
    }
    return true;
  }

  protected override handlesOfLocked(zspage: number, handles: Handle[]): void {
    const states = this.words[zspage + Zspage.OWN]!;
    const objects = this.classes.objects[this.words[zspage + Zspage.CLASS]!]!;
    for (let object = 0; object < objects; object++) {
      const handle = this.words[states + object * State.STATE_WORDS + State.HANDLE]!;
      if (handle > 0) handles.push(handle as Handle);
    }
  }

  protected override releaseLocked(zspage: number): number {
    const table = this.#tables[this.#tableOf[this.words[zspage + Zspage.CLASS]!]!]!;
    table.free(this.words[zspage + Zspage.OWN]! as WordIndex);
    return this.zspages.release(zspage);
  }

  protected override metadataFramesLocked(): number {
    return this.#tables.reduce((sum, table) => sum + table.framesHeld, this.zspages.recordFrames);
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    for (const table of this.#tables) table.verify();
    const found = super.verifyLocked();
    let zspages = 0;
    for (let cls = 0; cls < this.classes.count; cls++) zspages += this.zspages.zspagesOf(cls);
    const tables = this.#tables.reduce((sum, table) => sum + table.recordsUsed, 0);
    assert(tables === zspages, "every zspage has one table of states");
    return found;
  }

  protected override verifyObjectsLocked(zspage: number): { live: number; pins: number } {
    const words = this.words;
    const cls = words[zspage + Zspage.CLASS]!;
    const objects = this.classes.objects[cls]!;
    const free = new Set<number>();
    for (let object = words[zspage + Zspage.FREE]!; object !== NIL; ) {
      assert(object >= 0 && object < objects, "free objects are linked within the zspage");
      assert(!free.has(object), "the free objects form no loop");
      free.add(object);
      object = words[this.#placeOf(this.#frameOfObject(zspage, cls, object), cls, object)]!;
    }
    let live = 0;
    let pins = 0;
    for (let object = 0; object < objects; object++) {
      const state = words[zspage + Zspage.OWN]! + object * State.STATE_WORDS;
      const handle = words[state + State.HANDLE]!;
      assert(handle > 0 !== free.has(object), "an object is either live or in the free list");
      pins += words[state + State.PINS]!;
      if (handle < 0) continue;
      assert(this.#stateOf(handle as Handle) === state, "an object is found by its handle");
      live++;
    }
    assert(live + free.size === objects, "live + free = objects of a zspage");
    return { live, pins };
  }

  /** The state of a live object, or NIL if the handle is foreign, stale or invented. */
  #stateOf(handle: Handle): number {
    const words = this.words;
    const frame = frameOf(this.#bits, handle);
    if (!this.arena.frames.isHeadOf(frame, this.id)) return NIL;
    const frameWords = this.places.frameWords(frame);
    const zspage = words[frameWords + Zspage.FRAME_ZSPAGE]!;
    const frameClass = words[frameWords + Zspage.FRAME_CLASS]!;
    const object = Zspage.firstObjectOfFrame(frameClass) + slotOf(this.#bits, handle);
    if (object >= this.classes.objects[Zspage.classOfFrame(frameClass)]!) return NIL;
    const state = words[zspage + Zspage.OWN]! + object * State.STATE_WORDS;
    return words[state + State.HANDLE] === handle ? state : NIL;
  }

  /** The frame in which the n-th object of a zspage begins. */
  #frameOfObject(zspage: number, cls: number, object: number): PageFrame {
    let frame = this.words[zspage + Zspage.FIRST_FRAME]!;
    const nth = Math.imul(object, this.classes.sizeBytes[cls]!) >>> this.#pageShift;
    for (let n = 0; n < nth; n++) {
      frame = this.words[this.places.frameWords(frame) + Zspage.FRAME_NEXT]!;
    }
    return frame as PageFrame;
  }

  /** The place of the n-th object of a zspage, given the frame in which it begins. */
  #placeOf(frame: number, cls: number, object: number): number {
    const bytes = Math.imul(object, this.classes.sizeBytes[cls]!) & (this.arena.pageSize - 1);
    return this.arena.frames.frameToWord(frame as PageFrame) + (bytes >>> 2);
  }
}
