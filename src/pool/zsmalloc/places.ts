// The places of objects in the chains of frames: finds an object's bytes, which may be in two
// frames.
//
// The place of an object is the word index of its start. A place has no more bits than a frame
// number and an object number, and becomes an address without a division or a look-up.
//
// Every method here runs under the pool's lock, except the constructor.
import type { Arena } from "../../memory/arena.ts";
import { LINK as FRAME_LINK, FRAME_WORDS } from "../../memory/frame.layout.ts";
import type { ObjectWriter } from "../object_writer.ts";
import type { SizeClasses } from "./size_classes.ts";
import * as Zspage from "./zspage.layout.ts";

export class Places {
  readonly classes: SizeClasses;
  readonly #arena: Arena;
  readonly #words: Int32Array;
  /** Word index in the frame table of the words that a frame's owner may use, of frame 0. */
  readonly #frameWordsAt: number;
  readonly #wordShift: number;
  readonly #wordMask: number;
  readonly #writer: ObjectWriter;

  constructor(arena: Arena, classes: SizeClasses, writer: ObjectWriter) {
    this.classes = classes;
    this.#writer = writer;
    this.#arena = arena;
    this.#words = arena.words;
    this.#frameWordsAt = arena.frames.tableAt + FRAME_LINK;
    this.#wordShift = Math.log2(arena.frames.wordsPerPage);
    this.#wordMask = arena.frames.wordsPerPage - 1;
  }

  /** Word index of a frame's FRAME_NEXT, FRAME_CLASS and FRAME_ZSPAGE. */
  frameWords(frame: number): number {
    return this.#frameWordsAt + frame * FRAME_WORDS;
  }

  /** The zspage of a place. */
  zspageAt(place: number): number {
    return this.#words[this.frameWords(place >>> this.#wordShift) + Zspage.FRAME_ZSPAGE]!;
  }

  /** The class of the object at a place. */
  classAt(place: number): number {
    const at = this.frameWords(place >>> this.#wordShift);
    return Zspage.classOfFrame(this.#words[at + Zspage.FRAME_CLASS]!);
  }

  /** The place of the first object of a zspage. */
  first(zspage: number): number {
    return this.#words[zspage + Zspage.FIRST_FRAME]! << this.#wordShift;
  }

  /** The place of the next object; an arbitrary number after the last object. */
  next(place: number, sizeBytes: number): number {
    const offset = (place & this.#wordMask) + (sizeBytes >>> 2);
    const frame = place >>> this.#wordShift;
    if (offset <= this.#wordMask) return place + (sizeBytes >>> 2);
    const next = this.#words[this.frameWords(frame) + Zspage.FRAME_NEXT]!;
    return (next << this.#wordShift) + (offset & this.#wordMask);
  }

  /** The address of the byte at offset `skipBytes` of the object at a place. */
  addressAt(place: number, skipBytes: number): number {
    const offset = (place & this.#wordMask) * 4 + skipBytes;
    if (offset < this.#arena.pageSize) return place * 4 + skipBytes;
    const next = this.#words[this.frameWords(place >>> this.#wordShift) + Zspage.FRAME_NEXT]!;
    return next * this.#arena.pageSize + offset - this.#arena.pageSize;
  }

  /** Whether the content of the object at a place, all its room, is in two frames. */
  spans(place: number, cls: number): boolean {
    const start = (place & this.#wordMask) * 4 + this.classes.ownerBytes[cls]!;
    const { pageSize } = this.#arena;
    return start < pageSize && start + this.classes.roomBytes[cls]! > pageSize;
  }

  /** Copies `sizeBytes` bytes from the object at a place, starting at offset `skipBytes`. */
  copyOut(place: number, skipBytes: number, target: number, sizeBytes: number): void {
    const { kernels, pageSize } = this.#arena;
    const inFirst = pageSize - (place & this.#wordMask) * 4 - skipBytes;
    if (sizeBytes <= inFirst) {
      kernels.copy(target, place * 4 + skipBytes, sizeBytes);
    } else if (inFirst <= 0) {
      kernels.copy(target, this.addressAt(place, skipBytes), sizeBytes);
    } else {
      kernels.copy(target, place * 4 + skipBytes, inFirst);
      const second = this.addressAt(place, skipBytes + inFirst);
      kernels.copy(target + inFirst, second, sizeBytes - inFirst);
    }
  }

  /** Copies `sizeBytes` bytes to the object at a place, starting at offset `skipBytes`. */
  copyIn(place: number, skipBytes: number, source: number, sizeBytes: number): void {
    const { pageSize } = this.#arena;
    const inFirst = pageSize - (place & this.#wordMask) * 4 - skipBytes;
    if (sizeBytes <= inFirst) {
      this.#writer.copy(place * 4 + skipBytes, source, sizeBytes);
    } else if (inFirst <= 0) {
      this.#writer.copy(this.addressAt(place, skipBytes), source, sizeBytes);
    } else {
      this.#writer.copy(place * 4 + skipBytes, source, inFirst);
      const second = this.addressAt(place, skipBytes + inFirst);
      this.#writer.copy(second, source + inFirst, sizeBytes - inFirst);
    }
  }

  /**
   * Copies `sizeBytes` bytes from offset `skipBytes` of one object to the same offset of another,
   * in up to three pieces.
   */
  copyObject(from: number, to: number, skipBytes: number, sizeBytes: number): void {
    const start = this.addressAt(from, skipBytes);
    const { pageSize } = this.#arena;
    const inFirst = Math.min(sizeBytes, pageSize - (start & (pageSize - 1)));
    this.copyIn(to, skipBytes, start, inFirst);
    if (inFirst === sizeBytes) return;
    const rest = this.addressAt(from, skipBytes + inFirst);
    this.copyIn(to, skipBytes + inFirst, rest, sizeBytes - inFirst);
  }
}
