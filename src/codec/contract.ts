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

  /**
   * Ends the codec's use: what it holds of a dictionary is free again, in WebAssembly memories at
   * once, in native ones when the collector comes by. Scratch in the memory goes to the next codec
   * of the thread that wants as much. Absent where nothing is held; a second call does nothing. A
   * call of the codec after it is a bug.
   */
  close?(): void;
}

/** Settings of a codec; each codec says which it takes and refuses others with ERR_OPTION. */
export interface CodecOptions {
  /** Compression level: zstd 1 … 19 (default 1), deflate 1 … 9 (default 1), lzo and lz4 none. */
  readonly level?: number;
  /**
   * Bytes that both sides know, 8 … 65,536 for lz4, 8 … 1 MiB for zstd: matches may begin in them,
   * the most useful at their end. What was compressed with a dictionary is restored with the same
   * one only, and nothing in it says which that was: whoever stores it keeps that.
   *
   * A view over the memory's own bytes is used where it lies, so all threads can share one copy;
   * it must stay as it is until `close()`. Any other is copied. zstd copies in either case.
   */
  readonly dictionary?: Uint8Array;
}
