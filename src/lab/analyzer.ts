// The analyzer measures what pages would cost with every codec and pool.
//
// It works on one window of raw pages at a time. For each codec, the window's pages are compressed
// into a staging log and decompressed again; then the lane (pool_lane.ts) fills each pool from the
// log, reads it back and empties it. So each page is compressed once per codec, and still stored in
// every combination: what a pool returns is compared with the log, and what the log decompresses to
// is compared with the raw page.
//
// There are two staging logs: while the lane works on one, the next codec or window fills the
// other.
//
// Loops over pages are functions of numbers that allocate nothing. The generators around them yield
// after each chunk.
import type { Address } from "../base/brand.ts";
import { type Clock, platformClock } from "../base/clock.ts";
import { ZcacheError } from "../base/errors.ts";
import { GIB, MIB } from "../base/units.ts";
import type { Codec, CodecMemory } from "../codec/contract.ts";
import { ARENA_BYTES_MAX, Arena } from "../memory/arena.ts";
import type { Analysis } from "./analysis.ts";
import { BLOCK_PAGES, PageWindow } from "./page_window.ts";
import {
  COMPRESSED,
  chunkPages,
  INCOMPRESSIBLE,
  layoutPageTable,
  mismatch,
  PAGE_TABLE_BYTES,
  type PageTable,
  type PoolChoice,
  type PoolLane,
  PoolRunner,
  SAME_FILLED,
  type Work,
} from "./pool_lane.ts";
import { Staging } from "./staging.ts";
import { CodecTally } from "./tally.ts";

export const WINDOW_BYTES_DEFAULT = 256 * MIB;
/** Four and a half times this fits into one arena of 4 GiB. */
export const WINDOW_BYTES_MAX = (3 * GIB) / 4;
/** Staging logs and page tables. */
const SLOTS = 2;

export interface CodecChoice {
  readonly name: string;
  create(memory: CodecMemory): Codec;
}

/** The memory of a lane; a lane in another thread attaches to both. */
export interface LaneMemory {
  readonly arena: Arena;
  /** One page table for each slot. */
  readonly tables: readonly SharedArrayBuffer[];
  readonly windowPages: number;
}

export interface AnalyzerOptions {
  readonly codecs: readonly CodecChoice[];
  readonly pools: readonly PoolChoice[];
  readonly pageSize: number;
  /** Raw bytes of one window, at most WINDOW_BYTES_MAX (default WINDOW_BYTES_DEFAULT). */
  readonly windowBytes?: number;
  readonly clock?: Clock;
  /** Creates the lane that fills pools (default: one in this thread). */
  readonly lane?: (memory: LaneMemory) => PoolLane;
}

/**
 * Bytes of an arena that is enough for any window: the raw pages; two staging logs; a pool in which
 * every object takes a page frame and 64 bytes of metadata; a partly filled unit of up to 16 frames
 * for each of 256 size classes; 8 MiB of scratch for codecs; 16 bytes per frame of all that.
 */
function arenaBytes(windowPages: number, pageSize: number): number {
  const staging = SLOTS * Staging.bytesMax(windowPages, pageSize);
  const pool = windowPages * (pageSize + 64) + 256 * 16 * pageSize;
  const bytes = windowPages * pageSize + staging + pool + 8 * MIB;
  return bytes + (bytes / pageSize) * 20;
}

interface CodecRun {
  readonly codec: Codec;
  readonly tally: CodecTally;
}

export class Analyzer {
  readonly window: PageWindow;
  /** The arena's bytes: input is written at `window.nextAddress()`. */
  readonly bytes: Uint8Array;
  /** The current step, for a progress bar. */
  step = "";
  /** The completed part of the current window's work, 0 … 1. */
  stepShare = 0;

  readonly #arena: Arena;
  readonly #clock: Clock;
  readonly #runs: readonly CodecRun[];
  readonly #lane: PoolLane;
  readonly #staging: readonly Staging[];
  readonly #tables: readonly PageTable[];
  /** By page: SAME_FILLED, or COMPRESSED before a codec has been tried. */
  readonly #kind: Uint8Array;
  /** BLOCK_PAGES pages into which codecs decompress. */
  readonly #scratch: Address;
  #slot = 0;
  #pagesBefore = 0;
  #windows = 0;
  #zeroPages = 0;
  #sameFilledPages = 0;

  /** @throws ZcacheError ERR_OPTION for an invalid page size, and what the codecs throw */
  constructor(options: AnalyzerOptions) {
    const { pageSize, windowBytes = WINDOW_BYTES_DEFAULT } = options;
    if (!(windowBytes > 0 && windowBytes <= WINDOW_BYTES_MAX)) {
      throw new ZcacheError(
        "ERR_OPTION",
        `a window of ${windowBytes} bytes: at least 1, at most ${WINDOW_BYTES_MAX} bytes`,
      );
    }
    const pages = Math.ceil(windowBytes / pageSize / BLOCK_PAGES) * BLOCK_PAGES;
    const sizeBytes = Math.min(arenaBytes(pages, pageSize), ARENA_BYTES_MAX);
    const arena = Arena.create({ sizeBytes, pageSize });
    this.#arena = arena;
    this.#clock = options.clock ?? platformClock;
    this.bytes = arena.bytes;
    this.window = new PageWindow(arena, pages);
    this.#scratch = arena.reserve(BLOCK_PAGES * pageSize);
    this.#kind = new Uint8Array(pages);
    this.#staging = Array.from({ length: SLOTS }, () => new Staging(arena));
    const tables = this.#staging.map(() => new SharedArrayBuffer(pages * PAGE_TABLE_BYTES));
    this.#tables = tables.map((memory) => layoutPageTable(memory, pages));
    this.#runs = options.codecs.map((choice) => ({
      codec: choice.create(arena),
      tally: new CodecTally(pageSize),
    }));
    this.#lane =
      options.lane?.({ arena, tables, windowPages: pages }) ??
      new PoolRunner(arena, this.#clock, options.pools, this.#tables);
  }

  /** Pages measured, without those in the current window. */
  get pagesDone(): number {
    return this.#pagesBefore;
  }

  /**
   * Measures the pages of the window and empties it; without pages, does nothing. The lane may
   * still be working on the last codec.
   * @throws ZcacheError ERR_MISMATCH if a page is not returned as it was stored
   */
  *flush(): Work {
    const pages = this.window.pages;
    if (pages === 0) return;
    this.#windows++;
    this.#findSameFilled(pages);
    for (const [index, run] of this.#runs.entries()) {
      this.step = run.codec.name;
      const table = this.#tables[this.#slot]!;
      const staging = this.#staging[this.#slot]!;
      staging.clear();
      table.kind.set(this.#kind);
      yield* this.#runCodec(run, table, staging, pages, index);
      yield* this.#lane.start({
        codec: index,
        table: this.#slot,
        pages,
        firstPage: this.#pagesBefore,
      });
      // The lane has completed the preceding job, so the other slot is free.
      this.#slot = (this.#slot + 1) % SLOTS;
    }
    this.#pagesBefore += pages;
    this.stepShare = 0;
    this.window.clear();
  }

  /** Measures the rest of the window, and waits for the lane. */
  *finish(): Work {
    yield* this.flush();
    this.step = "pools";
    yield* this.#lane.drain();
  }

  /** The result over all windows. After `finish`. */
  async result(): Promise<Analysis> {
    const pageSize = this.window.pageSize;
    const pages = this.#pagesBefore;
    const totals = { pageSize, pages, sameFilledPages: this.#sameFilledPages };
    const names = this.#runs.map(({ codec }) => codec.name);
    return {
      page_size: pageSize,
      pages,
      original_bytes: pages * pageSize,
      zero_pages: this.#zeroPages,
      same_filled_pages: this.#sameFilledPages,
      windows: this.#windows,
      memory: {
        window_bytes: this.window.pagesMax * pageSize,
        bound_bytes: this.#arena.sizeBytes,
        peak_bytes: this.#arena.frames.framesPeak * pageSize,
      },
      codec_seconds: this.#runs.reduce((sum, run) => sum + run.tally.seconds, 0),
      codecs: this.#runs.map(({ codec, tally }) => tally.result(codec.name, codec.implementation)),
      results: await this.#lane.results(names, totals),
    };
  }

  /** Frees the arena and the lane. */
  close(): void {
    this.#lane.close();
    this.#arena.close();
  }

  #findSameFilled(pages: number): void {
    const { kernels, words } = this.#arena;
    for (let page = 0; page < pages; page++) {
      const at = this.window.addressOf(page);
      if (kernels.sameFilled(at, this.window.pageSize) === 0) {
        this.#kind[page] = COMPRESSED;
        continue;
      }
      this.#kind[page] = SAME_FILLED;
      this.#sameFilledPages++;
      if (words[at / 4] === 0 && words[at / 4 + 1] === 0) this.#zeroPages++;
    }
  }

  *#runCodec(
    run: CodecRun,
    table: PageTable,
    staging: Staging,
    pages: number,
    index: number,
  ): Work {
    const step = chunkPages(this.window.pageSize);
    for (let from = 0; from < pages; from += step) {
      this.#compress(run, table, staging, from, Math.min(pages, from + step));
      this.stepShare = (index + (from / pages) * 0.7) / this.#runs.length;
      yield;
    }
    for (let from = 0; from < pages; from += step) {
      const to = Math.min(pages, from + step);
      for (let batch = from; batch < to; batch += BLOCK_PAGES) {
        const end = Math.min(to, batch + BLOCK_PAGES);
        this.#restoreBatch(run, table, batch, end);
        this.#compareBatch(run, table, batch, end);
      }
      this.stepShare = (index + 0.7 + (from / pages) * 0.3) / this.#runs.length;
      yield;
    }
  }

  #compress(
    { codec, tally }: CodecRun,
    table: PageTable,
    staging: Staging,
    from: number,
    to: number,
  ): void {
    const pageSize = this.window.pageSize;
    let before = this.#clock.nowNs();
    for (let page = from; page < to; page++) {
      if (table.kind[page] === SAME_FILLED) continue;
      const raw = this.window.addressOf(page);
      const place = staging.place();
      let size = codec.compress(raw, pageSize, place, pageSize - 1);
      const now = this.#clock.nowNs();
      const spent = now - before;
      before = now;
      if (size === 0) {
        // A copy, because the window is refilled while the lane still reads this.
        this.#arena.kernels.copy(place, raw, pageSize);
        table.kind[page] = INCOMPRESSIBLE;
        size = pageSize;
        before = this.#clock.nowNs();
      }
      staging.keep(size);
      table.sizes[page] = size;
      table.objectAt[page] = place;
      table.compressNs[page] = spent;
      tally.sizes[size]!++;
      tally.compressNs.record(spent);
    }
  }

  /**
   * Decompresses up to BLOCK_PAGES pages; they are compared later, outside of the measured time.
   */
  #restoreBatch({ codec, tally }: CodecRun, table: PageTable, from: number, to: number): void {
    const pageSize = this.window.pageSize;
    let before = this.#clock.nowNs();
    for (let page = from; page < to; page++) {
      table.decompressNs[page] = 0;
      if (table.kind[page] !== COMPRESSED) continue;
      const target = (this.#scratch + (page - from) * pageSize) as Address;
      this.#restore(codec, table, page, target);
      const now = this.#clock.nowNs();
      table.decompressNs[page] = now - before;
      tally.decompressNs.record(now - before);
      before = now;
    }
  }

  #restore(codec: Codec, table: PageTable, page: number, target: Address): void {
    try {
      const from = table.objectAt[page] as Address;
      codec.decompress(from, table.sizes[page]!, target, this.window.pageSize);
    } catch (cause) {
      const what = `codec ${codec.name} can't restore what it has compressed`;
      throw mismatch(this.#pagesBefore + page, what, cause);
    }
  }

  #compareBatch({ codec }: CodecRun, table: PageTable, from: number, to: number): void {
    const pageSize = this.window.pageSize;
    for (let page = from; page < to; page++) {
      if (table.kind[page] !== COMPRESSED) continue;
      const restored = this.#scratch + (page - from) * pageSize;
      if (this.#arena.kernels.equal(restored, this.window.addressOf(page), pageSize) === 0) {
        const what = `codec ${codec.name} restored other bytes than it was given`;
        throw mismatch(this.#pagesBefore + page, what);
      }
    }
  }
}
