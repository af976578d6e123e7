// The codec contract: bytes → bytes, from a region of a shared memory into a given region of it.
//
// Why regions and not buffers: a result that is returned as a fresh buffer costs microseconds and
// garbage, as much as the compression itself. Nothing is allocated per call.
import type { Address } from "../base/brand.ts";
import type { Kernels } from "../wasm/kernels.ts";

/** What a codec needs of the memory it works in; `memory/arena.ts` provides it. */
export interface CodecMemory {
  /** The whole memory, byte by byte; one view for the life of the thread. */
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
  /** Takes `sizeBytes` of scratch that belongs to the calling thread until it detaches. */
  reserve(sizeBytes: number): Address;
}

/** One codec for one thread: instances hold scratch and are not shared between threads. */
export interface Codec {
  /** `lz4`, `zstd`, `deflate`, `lzo`, `none`. */
  readonly name: string;
  /** What does the work and its version, such as `zstd-napi 0.0.13 (native)`. */
  readonly implementation: string;

  /**
   * Compresses `sourceBytes` (1 … 65536) from `source` to `target`.
   * Reads only the source, writes only [target, target + limitBytes). The regions must not overlap.
   * @returns the compressed size in bytes, or 0 if it would exceed `limitBytes` (what stands in the
   *   target is then undefined)
   */
  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number;

  /**
   * Restores exactly `targetBytes` from the `sourceBytes` at `source`.
   * Writes only [target, target + targetBytes), whatever the source holds.
   * @throws ZcacheError ERR_CODEC_CORRUPT if the source is malformed, truncated, has bytes left
   *   over, or does not give exactly `targetBytes`; what stands in the target is then undefined
   */
  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void;
}

/** Settings of a codec; each codec says which it takes and refuses others with ERR_OPTION. */
export interface CodecOptions {
  /** Compression level: zstd 1 … 19 (default 1), deflate 1 … 9 (default 1), lzo and lz4 none. */
  readonly level?: number;
  /** What both sides know before the first byte; copied, where a codec takes one. */
  readonly dictionary?: Uint8Array;
}
