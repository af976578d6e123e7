// The smallest memory in which a codec works: a shared memory and the kernels, without an arena.
import type { Address } from "../../src/base/brand.ts";
import type { CodecMemory } from "../../src/codec/contract.ts";
import { instantiateKernels, type Kernels } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";

const WASM_PAGE = 65536;
/** The kernels' tables want 16; one cache line also keeps the regions apart. */
const ALIGNMENT = 64;

export class BareCodecMemory implements CodecMemory {
  readonly bytes: Uint8Array;
  readonly kernels: Kernels;
  #next: number;

  /** @param startAddress where `reserve` begins, to put everything high up in a large memory */
  constructor(sizeBytes: number, startAddress = ALIGNMENT) {
    const pages = Math.ceil(sizeBytes / WASM_PAGE);
    const memory = new Wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.bytes = new Uint8Array(memory.buffer);
    this.kernels = instantiateKernels(memory);
    this.#next = startAddress;
  }

  /** Takes the next bytes; nothing is ever given back. */
  reserve(sizeBytes: number): Address {
    const at = this.#next;
    this.#next += Math.ceil(sizeBytes / ALIGNMENT) * ALIGNMENT;
    if (this.#next > this.bytes.length) throw new RangeError("the test's memory is full");
    return at as Address;
  }
}
