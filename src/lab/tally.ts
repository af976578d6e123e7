// Sums over windows: the results so far of one codec, and of one codec with one pool.
import { Histogram } from "../base/histogram.ts";
import type { PoolStats } from "../pool/contract.ts";
import type { CodecResult, PageTimes, PoolResult } from "./analysis.ts";

/** Bins of the size histogram, without the bin of incompressible pages. */
export const SIZE_BINS = 64;
/** Bytes that a same-filled page costs: its pattern. */
export const SAME_FILLED_BYTES = 8;

function times(histogram: Histogram): PageTimes {
  return {
    median: Math.round(histogram.percentile(0.5)),
    p99: Math.round(histogram.percentile(0.99)),
    mean: Math.round(histogram.mean),
  };
}

export class CodecTally {
  readonly compressNs = new Histogram();
  readonly decompressNs = new Histogram();
  /** Pages by exact compressed size; pages of the page size are incompressible. */
  readonly sizes: Float64Array;

  constructor(pageSize: number) {
    this.sizes = new Float64Array(pageSize + 1);
  }

  get seconds(): number {
    return (this.compressNs.sum + this.decompressNs.sum) / 1e9;
  }

  result(codec: string, implementation: string): CodecResult {
    const pageSize = this.sizes.length - 1;
    const bins = new Array<number>(SIZE_BINS + 1).fill(0);
    let pages = 0;
    let bytes = 0;
    this.sizes.forEach((count, size) => {
      pages += count;
      bytes += count * size;
      const bin = size === pageSize ? SIZE_BINS : Math.floor((size * SIZE_BINS) / pageSize);
      bins[bin]! += count;
    });
    const incompressible = bins[SIZE_BINS]!;
    return {
      codec,
      implementation,
      compressed_bytes: bytes,
      mean_bytes: pages === 0 ? 0 : bytes / pages,
      p50_bytes: this.#percentile(0.5, pages),
      p90_bytes: this.#percentile(0.9, pages),
      incompressible_pages: incompressible,
      incompressible_share: pages === 0 ? 0 : incompressible / pages,
      size_histogram: bins,
      compress_ns: times(this.compressNs),
      decompress_ns: times(this.decompressNs),
    };
  }

  #percentile(share: number, pages: number): number {
    if (pages === 0) return 0;
    const rank = Math.max(1, Math.ceil(share * pages));
    let seen = 0;
    return this.sizes.findIndex((count) => {
      seen += count;
      return seen >= rank;
    });
  }
}

export class PoolTally {
  readonly putNs = new Histogram();
  readonly getNs = new Histogram();
  payloadBytes = 0;
  heldRawPages = 0;
  #pages = 0;
  #metadataBytes = 0;

  /** Adds the state of a pool that holds one whole window. */
  addWindow(stats: PoolStats): void {
    this.#pages += stats.pages;
    this.#metadataBytes += stats.metadataBytes;
  }

  result(
    names: { codec: string; pool: string },
    all: { pageSize: number; pages: number; sameFilledPages: number },
  ): PoolResult {
    const poolBytes = this.#pages * all.pageSize;
    const rawBytes = this.heldRawPages * all.pageSize;
    const held =
      poolBytes + rawBytes + this.#metadataBytes + all.sameFilledPages * SAME_FILLED_BYTES;
    const original = all.pages * all.pageSize;
    return {
      ...names,
      pool_pages: this.#pages,
      pool_bytes: poolBytes,
      metadata_bytes: this.#metadataBytes,
      payload_bytes: this.payloadBytes,
      held_raw_pages: this.heldRawPages,
      utilisation: ratio(this.payloadBytes, poolBytes),
      held_bytes: held,
      effective_ratio: ratio(original, held),
      zram_ratio: ratio(original, poolBytes + rawBytes),
      put_ns: times(this.putNs),
      get_ns: times(this.getNs),
    };
  }
}

/** part ÷ whole; 0 if no page was stored at all. */
function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
