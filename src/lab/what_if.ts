// Estimates what a sample of a store's content would take with other codecs and pools. For pages,
// the figures are those of the analyzer. It also takes values, of any length and with an
// uncompressed prefix, as a store of values has them.
//
// No object is written to a pool, because what a pool takes depends on sizes alone. Every codec
// decompresses what it has compressed, and the result is compared.
import type { Address } from "../base/brand.ts";
import { type Clock, platformClock } from "../base/clock.ts";
import { ENOSPC, type Errno, errnoName } from "../base/errno.ts";
import { ZcacheError } from "../base/errors.ts";
import { Histogram } from "../base/histogram.ts";
import { MIB } from "../base/units.ts";
import type { Codec } from "../codec/contract.ts";
import { ARENA_BYTES_MAX, Arena } from "../memory/arena.ts";
import type { CodecChoice } from "./analyzer.ts";
import type { PoolChoice } from "./pool_lane.ts";
import { SAME_FILLED_BYTES } from "./tally.ts";

/** Pages or values, concatenated. */
export interface SampledContent {
  readonly pageSizeBytes: number;
  readonly holds: "pages" | "values";
  readonly bytes: Uint8Array;
  /** By page or value: its length in `bytes`, and the length of its uncompressed prefix. */
  readonly sizes: Uint32Array;
  readonly prefixes: Uint16Array;
  /** Same-filled pages, which are not in `bytes`. */
  readonly sameFilled: number;
}

export interface WhatIfResult {
  readonly codec: string;
  readonly pool: string;
  readonly compressedBytes: number;
  readonly poolBytes: number;
  readonly metadataBytes: number;
  readonly heldBytes: number;
  readonly ratio: number;
  readonly compressNs: number;
  readonly decompressNs: number;
}

interface Compressed {
  /** Bytes of each as stored, the prefix included. */
  readonly sizes: Uint32Array;
  readonly compressNs: number;
  readonly decompressNs: number;
}

/**
 * Measures every codec with every pool.
 * @throws ZcacheError ERR_MISMATCH, ERR_ARENA_FULL
 */
export function whatIf(
  content: SampledContent,
  codecs: readonly CodecChoice[],
  pools: readonly PoolChoice[],
  clock: Clock = platformClock,
): WhatIfResult[] {
  const arena = Arena.create({ sizeBytes: arenaBytes(content), pageSize: content.pageSizeBytes });
  try {
    const bench = new Bench(arena, content, clock);
    return codecs.flatMap((choice) => {
      const compressed = bench.compress(choice.create(arena));
      return pools.map((pool) => bench.pack(choice.name, compressed, pool));
    });
  } finally {
    arena.close();
  }
}

/**
 * Bytes of the arena: a frame per object and 64 bytes of metadata, a partly filled unit of up to 16
 * frames for each of 256 classes, 16 MiB for codecs. The system commits only what is used.
 */
function arenaBytes({ sizes, pageSizeBytes }: SampledContent): number {
  const pool = sizes.length * (pageSizeBytes + 64) + 256 * 16 * pageSizeBytes;
  const bytes = pool + 8 * pageSizeBytes + 16 * MIB;
  return Math.min(ARENA_BYTES_MAX, bytes + (bytes / pageSizeBytes) * 20);
}

class Bench {
  readonly #arena: Arena;
  readonly #content: SampledContent;
  readonly #clock: Clock;
  readonly #plain: Address;
  readonly #packed: Address;
  readonly #restored: Address;

  constructor(arena: Arena, content: SampledContent, clock: Clock) {
    this.#arena = arena;
    this.#content = content;
    this.#clock = clock;
    this.#plain = arena.reserve(content.pageSizeBytes);
    this.#packed = arena.reserve(content.pageSizeBytes);
    this.#restored = arena.reserve(content.pageSizeBytes);
  }

  compress(codec: Codec): Compressed {
    const { bytes, sizes, prefixes, holds } = this.#content;
    const stored = new Uint32Array(sizes.length);
    const [compressNs, decompressNs] = [new Histogram(), new Histogram()];
    for (let nth = 0, at = 0; nth < sizes.length; nth++) {
      const size = sizes[nth]!;
      this.#arena.bytes.set(bytes.subarray(at, at + size), this.#plain);
      at += size;
      // As the analyzer does for pages, and a store of values for values.
      const limit = holds === "pages" ? size - 1 : size - (size >>> 6) - 1;
      const begun = this.#clock.nowNs();
      const packed = limit > 0 ? codec.compress(this.#plain, size, this.#packed, limit) : 0;
      compressNs.record(this.#clock.nowNs() - begun);
      stored[nth] = prefixes[nth]! + (packed === 0 ? size : packed);
      if (packed !== 0) decompressNs.record(this.#restore(codec, packed, size));
    }
    return {
      sizes: stored,
      compressNs: Math.round(compressNs.percentile(0.5)),
      decompressNs: Math.round(decompressNs.percentile(0.5)),
    };
  }

  pack(codec: string, { sizes, compressNs, decompressNs }: Compressed, choice: PoolChoice) {
    const { pageSizeBytes, sameFilled } = this.#content;
    const pool = choice.create(this.#arena);
    let compressedBytes = 0;
    let rawPages = 0;
    for (const size of sizes) {
      compressedBytes += size;
      const handle = pool.malloc(size);
      if (handle === ENOSPC) rawPages++;
      else if (handle < 0) throw refused(pool.type, handle as Errno);
    }
    const { pages, metadataBytes } = pool.stats();
    pool.destroy();
    const poolBytes = (pages + rawPages) * pageSizeBytes;
    const heldBytes = poolBytes + metadataBytes + sameFilled * SAME_FILLED_BYTES;
    const ratio = heldBytes === 0 ? 0 : this.originalBytes / heldBytes;
    const names = { codec, pool: choice.name };
    const bytes = { compressedBytes, poolBytes, metadataBytes, heldBytes };
    return { ...names, ...bytes, ratio, compressNs, decompressNs };
  }

  get originalBytes(): number {
    const { bytes, sameFilled, pageSizeBytes } = this.#content;
    return bytes.length + sameFilled * pageSizeBytes;
  }

  /**
   * Decompresses and compares.
   * @returns the time it took, in ns
   */
  #restore(codec: Codec, packed: number, size: number): number {
    const begun = this.#clock.nowNs();
    codec.decompress(this.#packed, packed, this.#restored, size);
    const spent = this.#clock.nowNs() - begun;
    if (this.#arena.kernels.equal(this.#plain, this.#restored, size) === 0) {
      const message = `codec ${codec.name} restored other bytes than it was given`;
      throw new ZcacheError("ERR_MISMATCH", message);
    }
    return spent;
  }
}

function refused(pool: string, errno: Errno): ZcacheError {
  const message = `pool ${pool} refused an object of the sample: ${errnoName(errno)}`;
  return new ZcacheError("ERR_ARENA_FULL", message);
}
