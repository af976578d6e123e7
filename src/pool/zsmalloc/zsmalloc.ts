// zsmalloc as in Linux 6.12: the densest of the kernel's allocators.
//
// Objects of a class fill chains of frames regardless of the frames' borders. A new object goes to
// the fullest zspage with room, so that emptier zspages lose their last objects sooner. Handles
// have indirection, so that compaction can move the remaining objects and free frames. Reclaim is
// that of the kernels in which zsmalloc had an LRU (6.2 to 6.6): the coldest zspage is offered to
// the callback, object by object. Unlike there, a handle stays valid until its object is freed,
// also during reclaim; so there are no deferred handles, which could be mistaken for places of
// objects.
import { type Handle, NIL } from "../../base/brand.ts";
import { EBUSY, EINVAL, ENOMEM, type Errno } from "../../base/errno.ts";
import { assert } from "../../base/errors.ts";
import type { Arena } from "../../memory/arena.ts";
import { journalCommit, journalRollBack, put } from "../../memory/journal.ts";
import type { PoolId } from "../base.ts";
import * as Pool from "../pool.layout.ts";
import { compactStepLocked } from "./compaction.ts";
import { HANDLES_WORDS, Handles } from "./handles.ts";
import { Objects } from "./objects.ts";
import { classOf, sizeClasses } from "./size_classes.ts";
import * as Zspage from "./zspage.layout.ts";
import { ZspagePool } from "./zspage_pool.ts";

/** How long compaction pauses if another thread wants the lock, in milliseconds. */
const STEP_ASIDE_MS = 0.05;

export interface ZsmallocOptions {
  /** Frames in a chain, at most: 4 … 16. */
  readonly chainMax: number;
  /** Size classes per page size: 256 (16 bytes apart at 4 KiB) or 512 (8 bytes). */
  readonly classesPerPage: number;
}

export class ZsmallocPool extends ZspagePool {
  readonly #handles: Handles;
  readonly #objects: Objects;
  protected override readonly pinMask: number;

  constructor(
    arena: Arena,
    type: string,
    typeIndex: number,
    id: PoolId,
    { chainMax, classesPerPage }: ZsmallocOptions,
  ) {
    const classes = sizeClasses(arena.pageSize, chainMax, arena.pageSize / classesPerPage);
    super(arena, { type, typeIndex, canCompact: true, classes, kindWords: HANDLES_WORDS }, id);
    this.#handles = new Handles(arena, this.kindAt, this.ownerOfKind(2));
    this.#objects = new Objects(arena.words, this.places, this.#handles);
    this.pinMask = this.#handles.pinMask;
    if (id === NIL) this.#handles.format();
  }

  protected override mallocLocked(sizeBytes: number): Handle | Errno {
    const entry = this.#handles.alloc();
    if (entry === NIL) return ENOMEM;
    const cls = classOf(this.classes, sizeBytes);
    const zspage = this.findOrBuildLocked(cls);
    if (zspage === NIL) {
      this.#handles.free(entry);
      return ENOMEM;
    }
    this.#objects.take(zspage, cls, entry);
    this.zspages.added(zspage, cls);
    return this.#handles.handleOf(entry);
  }

  protected override freeLocked(handle: Handle): 0 | Errno {
    const entry = this.#handles.find(handle);
    if (entry === NIL) return EINVAL;
    if (this.#handles.pins(entry) !== 0) return EBUSY;
    const place = this.#handles.placeOf(entry);
    const zspage = this.places.zspageAt(place);
    const cls = this.words[zspage + Zspage.CLASS]!;
    this.#objects.put(zspage, cls, place);
    this.#handles.free(entry);
    if (this.zspages.removed(zspage, cls)) this.zspages.release(zspage);
    return 0;
  }

  /**
   * Compacts classes from the largest down, because moving a large object frees the most. One
   * thread compacts at a time; for a second one, the call returns 0 at once.
   */
  override compact(pagesMax: number): number {
    if (!this.#beginCompaction()) return 0;
    let freed = 0;
    try {
      for (let cls = this.classes.count - 1; cls >= 0 && freed < pagesMax; ) {
        const pages = this.#compactStep(cls);
        if (pages === NIL) cls--;
        else freed += pages;
      }
    } finally {
      this.#endCompaction();
    }
    return freed;
  }

  #beginCompaction(): boolean {
    this.lock();
    const compacting = this.words[this.at + Pool.COMPACTING]!;
    const first = compacting === 0 || this.arena.isDead(compacting);
    if (first) put(this.words, this.at + Pool.COMPACTING, this.arena.owner);
    this.unlock();
    return first;
  }

  #endCompaction(): void {
    this.lock();
    put(this.words, this.at + Pool.COMPACTING, 0);
    journalCommit(this.words);
    this.unlock();
  }

  /** @returns page frames freed, or NIL if nothing is to gain in this class */
  #compactStep(cls: number): number {
    this.lock();
    let wanted = false;
    let isDone = false;
    try {
      const emptied = compactStepLocked(this.words, this.zspages, this.#objects, cls);
      wanted = this.isAwaited;
      const pages = emptied <= 0 ? emptied : this.zspages.release(emptied);
      if (emptied > 0) this.count(Pool.PAGES_COMPACTED, pages);
      isDone = true;
      return pages;
    } finally {
      // Commits each step, because all steps together would not fit into a journal. A step that
      // fails halfway is rolled back.
      if (isDone) journalCommit(this.words);
      else journalRollBack(this.words, this.arena.kernels);
      this.unlock();
      // Otherwise this thread would take the lock again before the waiting thread is awake.
      if (wanted) {
        const at = this.at + Pool.COMPACTING;
        Atomics.wait(this.words, at, this.arena.owner, STEP_ASIDE_MS);
      }
    }
  }

  protected override placeLocked(handle: Handle): number {
    const entry = this.#handles.find(handle);
    return entry === NIL ? NIL : this.#handles.placeOf(entry);
  }

  protected override pinWordLocked(handle: Handle): number {
    return this.#handles.pinWord(this.#handles.find(handle));
  }

  protected override formatLocked(zspage: number, cls: number): boolean {
    this.#objects.linkAll(zspage, cls);
    return true;
  }

  protected override handlesOfLocked(zspage: number, handles: Handle[]): void {
    const cls = this.words[zspage + Zspage.CLASS]!;
    let place = this.places.first(zspage);
    for (let left = this.classes.objects[cls]!; left > 0; left--) {
      const entry = this.#objects.entryAt(zspage, cls, place);
      if (entry !== NIL) handles.push(this.#handles.handleOf(entry));
      place = this.places.next(place, this.classes.sizeBytes[cls]!);
    }
  }

  protected override releaseLocked(zspage: number): number {
    const live: Handle[] = [];
    // A zspage that still has objects is released only when its pool is destroyed.
    if (this.words[zspage + Zspage.IN_USE] !== 0) this.handlesOfLocked(zspage, live);
    for (const handle of live) this.#handles.free(this.#handles.find(handle));
    return this.zspages.release(zspage);
  }

  protected override metadataFramesLocked(): number {
    return this.zspages.recordFrames + this.#handles.frames;
  }

  protected override verifyLocked(): { objects: number; pages: number } {
    this.#handles.verify();
    const found = super.verifyLocked();
    assert(this.#handles.used === found.objects, "there is one handle for each object");
    return found;
  }

  protected override verifyObjectsLocked(zspage: number): { live: number; pins: number } {
    const cls = this.words[zspage + Zspage.CLASS]!;
    const objects = this.classes.objects[cls]!;
    const free = new Set<number>();
    for (let place = this.words[zspage + Zspage.FREE]!; place !== 0; place = this.words[place]!) {
      assert(this.places.zspageAt(place) === zspage, "free objects are linked within the zspage");
      assert(!free.has(place), "the free objects form no loop");
      free.add(place);
    }
    let live = 0;
    let pins = 0;
    let place = this.places.first(zspage);
    for (let nth = 0; nth < objects; nth++) {
      const entry = this.#objects.entryAt(zspage, cls, place);
      assert((entry === NIL) === free.has(place), "an object is either live or in the free list");
      if (entry !== NIL) {
        const handle = this.#handles.handleOf(entry);
        assert(this.placeLocked(handle) === place, "an object is found by its handle");
        pins += this.#handles.pins(entry);
        live++;
      }
      place = this.places.next(place, this.classes.sizeBytes[cls]!);
    }
    assert(live + free.size === objects, "live + free = objects of a zspage");
    return { live, pins };
  }
}
