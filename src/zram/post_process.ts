// Recompression and write-back of chosen pages on demand, as when the kernel's files `recompress`
// and `writeback` are written to. The idle scan (idle_scan.ts) does the same by itself.
//
// A walk over the pages of a device sorts those that are wanted by their size, in steps of 64
// bytes; the largest are processed first. A page that was changed or used since the walk is looked
// at again, and left alone if it is no longer wanted. Other work of the thread gets a turn after
// each batch of pages.
import { setImmediate as othersTurn, setTimeout as sleep } from "node:timers/promises";
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { stateOfPage, statesOf } from "../shard/sharded_store.ts";
import { isIncompressible, recompressEntry, writeBackEntry } from "../store/idle_scan.ts";
import * as Page from "../store/page.layout.ts";
import type { StoreState } from "../store/state.ts";
import { PERSISTENT } from "../store/store.layout.ts";
import type { Store } from "../store/store.ts";
import { type StoredPage, storedPage } from "../store/stored_page.ts";
import { flushStep } from "../store/write_back.ts";
import { TmemKey } from "../tmem/key.ts";
import type { IdleMark } from "./idle_mark.ts";
import type { Zram } from "./zram.ts";

/** Which pages; all that is named must hold. */
export interface PageFilter {
  /** Marked by `idle`, and not used since. */
  readonly idle?: boolean;
  /** Stored as they are. */
  readonly huge?: boolean;
  readonly incompressible?: boolean;
}

/** Pages of a device, both included. */
export interface PageRange {
  readonly first: number;
  readonly last: number;
}

export const ALL_PAGES: PageRange = { first: 0, last: Number.MAX_SAFE_INTEGER };

export interface RecompressOptions {
  readonly filter: PageFilter;
  /** Bytes as stored: smaller pages are left alone, and a page must become smaller than this. */
  readonly threshold: number;
  /** The most pages to try. */
  readonly pagesMax: number;
}

export interface RecompressResult {
  readonly tried: number;
  readonly recompressed: number;
  /** Stored bytes of the pages that were recompressed. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface WriteBackOptions {
  readonly filter: PageFilter;
  readonly ranges: readonly PageRange[];
  /** Takes one page from the limit. @returns false if too little is left */
  take(): boolean;
  /** Gives it back, because the page was not written. */
  giveBack(): void;
}

export interface WriteBackResult {
  readonly written: number;
  /** Why the run ended before all pages were written. */
  readonly stopped: "limit" | "file" | undefined;
}

const BUCKET_SHIFT = 6;
/** Pages between two turns of other work: looked at, and processed. */
const LOOK_PAGES = 1024;
const BATCH_PAGES = 32;
/** How long to wait for room while the maintainer writes segments to the file, in steps. */
const FILE_STEPS = 500;
const FILE_STEP_MS = 10;

type Wants = (state: StoreState, meta: number) => boolean;

/** A page that a run has come to. */
interface Turn {
  readonly state: StoreState;
  readonly pool: number;
  readonly key: TmemKey;
  readonly page: StoredPage;
}

export class PostProcess {
  readonly #store: Store;
  readonly #mark: IdleMark;
  readonly #key = new TmemKey();
  #isRunning = false;

  constructor(store: Store, mark: IdleMark) {
    this.#store = store;
    this.#mark = mark;
  }

  /** The largest stored size of a page that is not huge. */
  get packedMax(): number {
    return statesOf(this.#store)[0]!.packedMax[PERSISTENT]!;
  }

  /**
   * Recompresses pages that the denser codec has not been tried on.
   * @throws ZcacheError as a rejection: ERR_BUSY while another run goes on; ERR_STORE_CLOSED,
   *   ERR_DEVICE_CLOSED
   */
  async recompress(
    devices: readonly Zram[],
    { filter, threshold, pagesMax }: RecompressOptions,
  ): Promise<RecompressResult> {
    const result = { tried: 0, recompressed: 0, bytesBefore: 0, bytesAfter: 0 };
    const wants: Wants = (state, meta) => {
      const codec = Page.codecOf(meta);
      const isNew = codec === Page.FAST || codec === Page.RAW;
      return isNew && Page.sizeOf(meta) >= threshold && this.#matches(filter, state, meta);
    };
    const recompress = ({ state, pool, key, page }: Turn) => {
      if (result.tried === pagesMax) return false;
      result.tried++;
      const below = threshold === 0 ? undefined : threshold;
      if (!recompressEntry(state, page.entry, page.value, below)) return true;
      const after = storedPage(state, pool, key);
      result.recompressed++;
      result.bytesBefore += Page.sizeOf(page.meta);
      result.bytesAfter += after === undefined ? 0 : Page.sizeOf(after.meta);
      return true;
    };
    await this.#run(devices, [ALL_PAGES], wants, recompress);
    return result;
  }

  /** Writes pages to the write-back file. @throws ZcacheError as `recompress` */
  async writeBack(
    devices: readonly Zram[],
    { filter, ranges, take, giveBack }: WriteBackOptions,
  ): Promise<WriteBackResult> {
    let written = 0;
    let stopped: WriteBackResult["stopped"];
    const wants: Wants = (state, meta) => this.#matches(filter, state, meta);
    await this.#run(devices, ranges, wants, async (turn) => {
      if (!take()) {
        stopped = "limit";
        return false;
      }
      const result = await writeBack(turn, wants);
      if (result === "written") written++;
      else giveBack();
      if (result === "refused") stopped = "file";
      return stopped === undefined;
    });
    return { written, stopped };
  }

  #matches({ idle, huge, incompressible }: PageFilter, state: StoreState, meta: number): boolean {
    if (Page.whereOf(meta) !== Page.MEMORY) return false;
    if (huge === true && Page.codecOf(meta) !== Page.RAW) return false;
    if (incompressible === true && !isIncompressible(meta)) return false;
    return idle !== true || this.#mark.has(state, meta);
  }

  /**
   * Processes the wanted pages of devices, the largest of each device first.
   * @param process returns whether to go on
   */
  async #run(
    devices: readonly Zram[],
    ranges: readonly PageRange[],
    wants: Wants,
    process: (turn: Turn) => boolean | Promise<boolean>,
  ): Promise<void> {
    if (this.#isRunning) {
      throw new ZcacheError(
        "ERR_BUSY",
        "another recompress or writeback command is running; try again when it has ended",
      );
    }
    this.#isRunning = true;
    try {
      this.#store.flushReadBuffer();
      for (const device of devices) {
        const buckets = await this.#sorted(device, ranges, wants);
        if (!(await this.#process(device, buckets, wants, process))) return;
      }
    } finally {
      this.#isRunning = false;
    }
  }

  /** @returns page numbers by size in steps of 64 bytes */
  async #sorted(
    device: Zram,
    ranges: readonly PageRange[],
    wants: Wants,
  ): Promise<readonly number[][]> {
    const buckets: number[][] = [];
    let looked = 0;
    for (const { first, last } of ranges) {
      let page = device.nextStored(first);
      for (; page !== NIL && page <= last; page = device.nextStored(page + 1)) {
        if (++looked % LOOK_PAGES === 0) await othersTurn();
        const turn = this.#turnOf(device, page);
        if (turn === undefined || !wants(turn.state, turn.page.meta)) continue;
        const bucket = Page.sizeOf(turn.page.meta) >>> BUCKET_SHIFT;
        buckets[bucket] ??= [];
        buckets[bucket]!.push(page);
      }
    }
    return buckets;
  }

  /** @returns whether to go on */
  async #process(
    device: Zram,
    buckets: readonly number[][],
    wants: Wants,
    process: (turn: Turn) => boolean | Promise<boolean>,
  ): Promise<boolean> {
    let looked = 0;
    for (let bucket = buckets.length - 1; bucket >= 0; bucket--) {
      for (const page of buckets[bucket] ?? []) {
        if (++looked % BATCH_PAGES === 0) await othersTurn();
        const turn = this.#turnOf(device, page);
        if (turn === undefined || !wants(turn.state, turn.page.meta)) continue;
        if (!(await process(turn))) return false;
      }
    }
    return true;
  }

  #turnOf(device: Zram, number: number): Turn | undefined {
    const { number: object, pool } = device.place;
    const key = this.#key.setObject(object).setIndex(number);
    const state = stateOfPage(this.#store, pool, key);
    const page = storedPage(state, pool, key);
    return page === undefined ? undefined : { state, pool, key, page };
  }
}

/** @returns "refused" if the file takes no page, "left" if the page is not wanted any more */
async function writeBack(
  { state, pool, key, page }: Turn,
  wants: Wants,
): Promise<"written" | "left" | "refused"> {
  let now: StoredPage | undefined = page;
  for (let step = 0; step < FILE_STEPS; step++) {
    if (now === undefined || !wants(state, now.meta)) return "left";
    if (writeBackEntry(state, now.entry, now.value)) return "written";
    // Segments that wait to be written may be in the way: of this thread, or of the maintainer.
    while (flushStep(state));
    if (writeBackEntry(state, now.entry, now.value)) return "written";
    if (state.backing?.isFullLocked !== false) return "refused";
    await sleep(FILE_STEP_MS);
    now = storedPage(state, pool, key);
  }
  return "refused";
}
