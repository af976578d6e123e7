// Raw deflate by `node:zlib`, for data of other programs, and as a well-known reference.
//
// `deflateRawSync` makes a context of 256 KiB and a buffer for every call. The handle of a stream,
// which is internal to Node but which widely used packages have used for years, works in place in
// the shared memory, takes offsets instead of views, never writes beyond a limit, and halves the
// time of decompression. A self-test checks this Node's handle; if it fails, the documented
// functions are used (`deflate_calls.ts`).
//
// At the end of a source, the match finder of Node's zlib also reads bytes of an earlier source in
// the context: the same small source may compress to two or three bytes more or less.
import zlib from "node:zlib";
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Codec } from "../../codec/contract.ts";
import { corruptError } from "../../codec/corrupt.ts";
import { SOURCE_BYTES_MAX } from "../../codec/limits.ts";
import type { CodecDriver } from "../../codec/registry.ts";

export const DEFLATE_LEVELS = { min: 1, max: 9, default: 1 } as const;

/** The handle of a zlib stream: lengths and offsets in bytes. */
interface ZlibHandle {
  writeSync(
    flush: number,
    source: Uint8Array,
    sourceOffset: number,
    sourceBytes: number,
    target: Uint8Array,
    targetOffset: number,
    targetBytes: number,
  ): void;
  reset(): void;
  /** Called within `writeSync`; the stream's own function would destroy the stream. */
  onerror: (message: string, errno: number, code: string) => void;
}
interface ZlibInsides {
  readonly _handle: ZlibHandle;
  /** After each write: bytes left of the target, bytes left of the source. */
  readonly _writeState: Uint32Array;
}

/** @throws Error if the handles of this Node are not as expected */
export function loadDeflate(): CodecDriver {
  const implementation = `node:zlib ${process.versions.zlib} (native)`;
  selfTest();
  return {
    name: "deflate",
    implementation,
    levels: DEFLATE_LEVELS,
    dictionaries: false,
    open: ({ bytes }, { level }) => new Deflate(implementation, bytes, level!),
  };
}

function selfTest(): void {
  const bytes = new Uint8Array(new SharedArrayBuffer(4096)).fill(7, 0, 1024);
  const codec = new Deflate("self-test", bytes, DEFLATE_LEVELS.default);
  const [page, packed, back] = [0, 1024, 2048] as Address[];
  const size = codec.compress(page!, 1024, packed!, 1024);
  codec.decompress(packed!, size, back!, 1024);
  const right = bytes.subarray(2048, 3072).every((byte) => byte === 7);
  if (size === 0 || !right)
    throw new Error("the handles of zlib streams behave differently in this Node");
}

/** One direction of zlib, with a context that is kept. */
class Handle {
  readonly #handle: ZlibHandle;
  readonly #state: Uint32Array;
  readonly #beyond = new Uint8Array(1);
  #failed = false;

  constructor(stream: unknown) {
    const { _handle, _writeState } = stream as ZlibInsides;
    this.#handle = _handle;
    this.#state = _writeState;
    this.#handle.onerror = () => {
      this.#failed = true;
    };
  }

  /**
   * Processes one whole stream.
   * @returns bytes written, or −1 if the source is malformed, is longer than the stream, or gives
   *   more than `limitBytes`
   */
  run(
    bytes: Uint8Array,
    source: Address,
    sourceBytes: number,
    target: Address,
    limitBytes: number,
  ): number {
    const { Z_FINISH } = zlib.constants;
    const state = this.#state;
    this.#failed = false;
    this.#handle.reset();
    this.#handle.writeSync(Z_FINISH, bytes, source, sourceBytes, bytes, target, limitBytes);
    const written = limitBytes - state[0]!;
    const sourceLeft = state[1]!;
    if (this.#failed || sourceLeft !== 0) return -1;
    // With a full target the stream may not have ended yet: an ended one gives no further byte, and
    // a truncated one fails for lack of source.
    if (written === limitBytes) {
      this.#handle.writeSync(Z_FINISH, bytes, source, 0, this.#beyond, 0, 1);
      if (this.#failed || state[0] !== 1) return -1;
    }
    return written;
  }
}

class Deflate implements Codec {
  readonly name = "deflate";
  readonly implementation: string;
  readonly #bytes: Uint8Array;
  readonly #deflate: Handle;
  readonly #inflate: Handle;

  constructor(implementation: string, bytes: Uint8Array, level: number) {
    this.implementation = implementation;
    this.#bytes = bytes;
    this.#deflate = new Handle(zlib.createDeflateRaw({ level }));
    this.#inflate = new Handle(zlib.createInflateRaw());
  }

  compress(source: Address, sourceBytes: number, target: Address, limitBytes: number): number {
    assert(sourceBytes >= 1 && sourceBytes <= SOURCE_BYTES_MAX, "a source has 1 … 65536 bytes");
    if (limitBytes < 1) return 0;
    const size = this.#deflate.run(this.#bytes, source, sourceBytes, target, limitBytes);
    return Math.max(size, 0);
  }

  decompress(source: Address, sourceBytes: number, target: Address, targetBytes: number): void {
    const written = this.#inflate.run(this.#bytes, source, sourceBytes, target, targetBytes);
    if (written !== targetBytes) {
      throw corruptError("deflate", sourceBytes, targetBytes, "is malformed or has another length");
    }
  }
}
