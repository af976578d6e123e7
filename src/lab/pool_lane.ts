// The second half of the analyzer's work: stores the compressed pages of a window in one pool after
// the other, reads them back and compares them. The lane needs only the staging log and the page
// table, both in shared memory, so it can run in a thread of its own while the next codec or window
// is being compressed.
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

/** The state of a page of the window. */
export const SAME_FILLED = 0;
export const COMPRESSED = 1;
export const INCOMPRESSIBLE = 2;
/** In place of a handle: the pool refused the object for its size. */
const HELD_RAW = 0;

/**
 * Work in steps. Between two steps, the driver may do something else; if a step yields a promise,
 * it must wait for that.
 */
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
  /** Address of the object in the staging log. */
  readonly objectAt: Float64Array;
  readonly compressNs: Float64Array;
  readonly decompressNs: Float64Array;
}

/** Bytes of memory that a page table takes for each page. */
export const PAGE_TABLE_BYTES = 3 * 8 + 4 + 1;

/** Views memory of `pages` × PAGE_TABLE_BYTES bytes as a page table. */
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
  /** The codec's index. */
  readonly codec: number;
  /** The page table and staging log: 0 or 1. */
  readonly table: number;
  readonly pages: number;
  /** Number of the window's first page in the input, for messages. */
  readonly firstPage: number;
}

/** Facts of the whole input that the results need. */
export interface Totals {
  readonly pageSize: number;
  readonly pages: number;
  readonly sameFilledPages: number;
}

/** Runs jobs, in this thread or in another. */
export interface PoolLane {
  /** Waits for the preceding job, then runs this one, or at least starts it. */
  start(job: LaneJob): Work;
  /** Waits for all jobs. */
  drain(): Work;
  /** By codec, by pool. After `drain`. */
  results(codecs: readonly string[], totals: Totals): Promise<PoolResult[]>;
  close(): void;
}

/** Runs the jobs in the calling thread. */
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

  /** @throws ZcacheError ERR_MISMATCH if a pool does not return an object as it was stored */
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

  /** Reads up to BLOCK_PAGES objects; they are compared later, outside of the measured time. */
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

/** The error for a page that was not returned as it was stored. */
export function mismatch(page: number, what: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_MISMATCH", `page ${page} of the input came back wrong: ${what}`, {
    context: { page },
    cause,
  });
}
