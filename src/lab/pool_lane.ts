// The second half of the analyzer's work: what a codec has made of a window is put into one pool
// after the other, read back and compared. It needs nothing but the staging log and the page
// table, both in shared memory, so it can be a thread of its own: while it works, the next codec
// or the next window is being compressed.
import type { Address, Handle } from "../base/brand.ts";
import type { Clock } from "../base/clock.ts";
import { ENOSPC, type Errno, errnoName } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import type { Arena } from "../memory/arena.ts";
import type { Zpool } from "../pool/contract.ts";
import type { PoolResult } from "./analysis.ts";
import { BLOCK_PAGES } from "./page_window.ts";
import { PoolTally } from "./tally.ts";

/** Bytes of pages between two yields: about 5 ms with zstd. */
const CHUNK_BYTES = MIB;

/** What is known of a page of the window. */
export const SAME_FILLED = 0;
export const COMPRESSED = 1;
export const INCOMPRESSIBLE = 2;
/** Stands for a handle where the pool refused the object for its size. */
const HELD_RAW = 0;

/** Work in steps: after each, its driver may turn to something else, or must wait for a promise. */
export type Work = Generator<Promise<void> | undefined>;

/** Pages between two yields. */
export function chunkPages(pageSize: number): number {
  return Math.max(BLOCK_PAGES, CHUNK_BYTES / pageSize);
}

/** One codec's view of the window: an entry per page in each array. */
export interface PageTable {
  readonly kind: Uint8Array;
  /** Bytes of the page's object: its compressed size, or the page size if incompressible. */
  readonly sizes: Int32Array;
  /** Where the object stands in the staging log. */
  readonly objectAt: Float64Array;
  readonly compressNs: Float64Array;
  readonly decompressNs: Float64Array;
}

/** Bytes of memory that a page table takes for each page. */
export const PAGE_TABLE_BYTES = 3 * 8 + 4 + 1;

/** Lays a page table over memory of `pages` × PAGE_TABLE_BYTES bytes. */
export function layoutPageTable(memory: SharedArrayBuffer, pages: number): PageTable {
  return {
    objectAt: new Float64Array(memory, 0, pages),
    compressNs: new Float64Array(memory, pages * 8, pages),
    decompressNs: new Float64Array(memory, pages * 16, pages),
    sizes: new Int32Array(memory, pages * 24, pages),
    kind: new Uint8Array(memory, pages * 28, pages),
  };
}

export interface PoolChoice {
  readonly name: string;
  create(arena: Arena): Zpool;
}

/** One window of one codec. */
export interface LaneJob {
  /** Which codec it was. */
  readonly codec: number;
  /** Which of the two page tables. */
  readonly table: number;
  readonly pages: number;
  /** Number of the window's first page in the input, for messages. */
  readonly firstPage: number;
}

/** What the results need to know of the whole input. */
export interface Totals {
  readonly pageSize: number;
  readonly pages: number;
  readonly sameFilledPages: number;
}

/** Where the jobs are done: here, or in another thread. */
export interface PoolLane {
  /** Waits until the job before is done, then does this one, or at least begins with it. */
  start(job: LaneJob): Work;
  /** Waits until all jobs are done. */
  drain(): Work;
  /** One entry for each pool, for each codec. After `drain`. */
  results(codecs: readonly string[], totals: Totals): Promise<PoolResult[]>;
  close(): void;
}

/** Does the jobs, in whichever thread; the lane of a single thread. */
export class PoolRunner implements PoolLane {
  readonly #arena: Arena;
  readonly #clock: Clock;
  readonly #pools: readonly PoolChoice[];
  readonly #tables: readonly PageTable[];
  /** By codec × pool. */
  readonly #tallies = new Map<number, PoolTally[]>();
  readonly #handles: Int32Array;
  /** BLOCK_PAGES pages into which pools read. */
  readonly #scratch: Address;
  readonly #pageSize: number;

  constructor(
    arena: Arena,
    clock: Clock,
    pools: readonly PoolChoice[],
    tables: readonly PageTable[],
  ) {
    this.#arena = arena;
    this.#clock = clock;
    this.#pools = pools;
    this.#tables = tables;
    this.#handles = new Int32Array(tables[0]!.kind.length);
    this.#scratch = arena.reserve(BLOCK_PAGES * arena.pageSize);
    this.#pageSize = arena.pageSize;
  }

  /** @throws ZcacheError ERR_MISMATCH if a pool does not return what it was given */
  *start(job: LaneJob): Work {
    const tallies = this.#tallies.get(job.codec) ?? this.#pools.map(() => new PoolTally());
    this.#tallies.set(job.codec, tallies);
    for (const [index, choice] of this.#pools.entries()) {
      yield* this.#runPool(job, choice, tallies[index]!);
    }
  }

  *drain(): Work {}

  async results(codecs: readonly string[], totals: Totals): Promise<PoolResult[]> {
    return codecs.flatMap((codec, codecIndex) =>
      this.#pools.map(({ name }, poolIndex) => {
        const tally = this.#tallies.get(codecIndex)?.[poolIndex] ?? new PoolTally();
        return tally.result({ codec, pool: name }, totals);
      }),
    );
  }

  close(): void {}

  *#runPool(job: LaneJob, choice: PoolChoice, tally: PoolTally): Work {
    const table = this.#tables[job.table]!;
    const step = chunkPages(this.#pageSize);
    const pool = choice.create(this.#arena);
    try {
      for (let from = 0; from < job.pages; from += step) {
        this.#put(pool, table, tally, from, Math.min(job.pages, from + step));
        yield;
      }
      for (let from = 0; from < job.pages; from += step) {
        const to = Math.min(job.pages, from + step);
        for (let batch = from; batch < to; batch += BLOCK_PAGES) {
          const end = Math.min(to, batch + BLOCK_PAGES);
          this.#readBatch(pool, table, tally, batch, end);
          this.#compareBatch(pool, table, job.firstPage, batch, end);
        }
        yield;
      }
      tally.addWindow(pool.stats());
    } finally {
      pool.destroy();
    }
  }

  #put(pool: Zpool, table: PageTable, tally: PoolTally, from: number, to: number): void {
    let before = this.#clock.nowNs();
    for (let page = from; page < to; page++) {
      if (table.kind[page] === SAME_FILLED) continue;
      const size = table.sizes[page]!;
      const handle = pool.malloc(size);
      if (handle > 0) {
        const failed = pool.write(handle as Handle, table.objectAt[page] as Address, size);
        if (failed !== 0) throw this.#refused(pool, "write", failed);
        this.#handles[page] = handle;
        tally.payloadBytes += size;
      } else if (handle === ENOSPC) {
        this.#handles[page] = HELD_RAW;
        tally.heldRawPages++;
      } else {
        throw this.#refused(pool, "malloc", handle as Errno);
      }
      const now = this.#clock.nowNs();
      tally.putNs.record(table.compressNs[page]! + now - before);
      before = now;
    }
  }

  /** Reads up to BLOCK_PAGES objects; they are compared later, which is part of no time. */
  #readBatch(pool: Zpool, table: PageTable, tally: PoolTally, from: number, to: number): void {
    let before = this.#clock.nowNs();
    for (let page = from; page < to; page++) {
      if (table.kind[page] === SAME_FILLED || this.#handles[page] === HELD_RAW) continue;
      const target = (this.#scratch + (page - from) * this.#pageSize) as Address;
      const failed = pool.read(this.#handles[page] as Handle, target, table.sizes[page]!);
      if (failed !== 0) throw this.#refused(pool, "read", failed);
      const now = this.#clock.nowNs();
      tally.getNs.record(table.decompressNs[page]! + now - before);
      before = now;
    }
  }

  #compareBatch(pool: Zpool, table: PageTable, firstPage: number, from: number, to: number): void {
    for (let page = from; page < to; page++) {
      if (table.kind[page] === SAME_FILLED || this.#handles[page] === HELD_RAW) continue;
      const read = this.#scratch + (page - from) * this.#pageSize;
      if (this.#arena.kernels.equal(read, table.objectAt[page]!, table.sizes[page]!) === 0) {
        throw mismatch(
          firstPage + page,
          `pool ${pool.type} returned other bytes than it was given`,
        );
      }
    }
  }

  #refused(pool: Zpool, call: string, errno: Errno): ZcacheError {
    const code = call === "malloc" ? "ERR_ARENA_FULL" : "ERR_MISMATCH";
    return new ZcacheError(code, `pool ${pool.type} refused a ${call}: ${errnoName(errno)}`, {
      context: { framesFree: this.#arena.frames.framesFree },
    });
  }
}

/** The loud failure: a page that did not come back as it went in. */
export function mismatch(page: number, what: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_MISMATCH", `page ${page} of the input came back wrong: ${what}`, {
    context: { page },
    cause,
  });
}
