// The contract of codecs: bytes → bytes, from a region of a shared memory to a given region of it.
//
// Regions instead of buffers, because a result returned as a new buffer costs microseconds and
// garbage, as much as the compression itself. Nothing is allocated per call.
import type { Address } from "../base/brand.ts";
import type { Kernels } from "../wasm/kernels.ts";

/** What a codec needs of its memory; memory/arena.ts provides it. */
export interface CodecMemory {
  /** The whole memory as bytes; one view for the life of the thread. */
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
  /** Allocates scratch that belongs to the calling thread until it detaches. */
  reserve(sizeBytes: number): Address;
}

/** A codec of one thread: instances have scratch and are not shared between threads. */
export interface Codec {
  /** `lz4`, `zstd`, `deflate`, `lzo`, `none`. */
  readonly name: string;
  /** The implementation and its version, such as `zstd-napi 0.0.13 (native)`. */
  readonly implementation: string;

  /**
   * Compresses `sourceBytes` (1 … 65536) bytes from `source` to `target`. Reads only the source,
   * writes only [target, target + limitBytes). The regions must not overlap.
   * @returns the compressed size in bytes, or 0 if it would exceed `limitBytes` (the target is then
   *   undefined)
   */
  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number;

  /**
   * Decompresses the `sourceBytes` at `source` to exactly `targetBytes`. Writes only [target,
   * target + targetBytes), whatever the source contains.
   * @throws ZcacheError ERR_CODEC_CORRUPT if the source is malformed, truncated, too long, or does
   *   not decompress to exactly `targetBytes`; the target is then undefined
   */
  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void;

  /**
   * Closes the codec, and frees its copy of a dictionary: in WebAssembly memories at once, in
   * native ones at the next garbage collection. Its scratch goes to the thread's next codec that
   * needs as much. Absent if there is nothing to free. A second call does nothing; any other call
   * after it is a bug.
   */
  close?(): void;
}

/** Settings of a codec. A codec refuses settings that it does not have with ERR_OPTION. */
export interface CodecOptions {
  /** Compression level: zstd 1 … 19 (default 1), deflate 1 … 9 (default 1), lzo and lz4 none. */
  readonly level?: number;
  /**
   * A dictionary: bytes that compressor and decompressor know, 8 … 65,536 for lz4, 8 … 1 MiB for
   * zstd, with the most useful at the end. Compressed data decompresses only with the same
   * dictionary, and does not say which that is: the caller records it.
   *
   * A view over the memory's own bytes is used in place, so that threads can share one copy, and
   * must not change until `close()`. Other bytes are copied. zstd copies in either case.
   */
  readonly dictionary?: Uint8Array;
}
