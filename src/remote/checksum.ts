// XXH32 of bytes that are not in an arena: they are copied into a small WebAssembly memory of this
// thread, which grows to the longest record seen.
import { instantiateKernels, type Kernels } from "../wasm/kernels.ts";
import { Wasm, type WasmMemory } from "../wasm/platform.ts";

const WASM_PAGE = 65536;
/** A value of 128 MiB with its header. */
const PAGES_MAX = 2064;

let memory: (WasmMemory & { grow(pages: number): number }) | undefined;
let kernels: Kernels | undefined;
let scratch: Uint8Array = new Uint8Array(0);

/** XXH32 with seed 0 of some bytes, and of more bytes behind them: 0 … 2³² − 1. */
export function checksum(bytes: Uint8Array, more?: Uint8Array): number {
  if (memory === undefined || kernels === undefined) {
    const options = { initial: 2, maximum: PAGES_MAX, shared: true } as const;
    memory = new Wasm.Memory(options) as NonNullable<typeof memory>;
    kernels = instantiateKernels(memory);
    scratch = new Uint8Array(memory.buffer);
  }
  const size = bytes.length + (more?.length ?? 0);
  if (size > scratch.length) {
    memory.grow(Math.ceil((size - scratch.length) / WASM_PAGE));
    scratch = new Uint8Array(memory.buffer);
  }
  scratch.set(bytes);
  if (more !== undefined) scratch.set(more, bytes.length);
  return kernels.checksum(0, size, 0) >>> 0;
}
