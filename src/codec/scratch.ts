// Scratch for codecs that are opened and closed. A thread's memory frees scratch only when the
// thread detaches, but dictionaries are replaced meanwhile: the scratch of a closed codec is kept
// here for the next one.
import type { Address } from "../base/brand.ts";
import type { Kernels } from "../wasm/kernels.ts";
import type { CodecMemory } from "./contract.ts";

/** Free scratch of one thread, by size. */
type FreeScratch = Map<number, Address[]>;

/**
 * By the instance of the kernels, of which there is one per thread and attachment: the entry is
 * garbage once the thread has detached and its memory is freed.
 */
const FREE = new WeakMap<Kernels, FreeScratch>();
const SHARED = new WeakMap<Kernels, FreeScratch>();

function ofSize(all: WeakMap<Kernels, FreeScratch>, memory: CodecMemory, sizeBytes: number) {
  let bySize = all.get(memory.kernels);
  if (bySize === undefined) {
    bySize = new Map();
    all.set(memory.kernels, bySize);
  }
  let list = bySize.get(sizeBytes);
  if (list === undefined) {
    list = [];
    bySize.set(sizeBytes, list);
  }
  return list;
}

/** @throws ZcacheError ERR_ARENA_FULL */
export function takeScratch(memory: CodecMemory, sizeBytes: number): Address {
  return ofSize(FREE, memory, sizeBytes).pop() ?? memory.reserve(sizeBytes);
}

/** Returns scratch from `takeScratch`. */
export function giveScratch(memory: CodecMemory, sizeBytes: number, at: Address): void {
  ofSize(FREE, memory, sizeBytes).push(at);
}

/**
 * Scratch without content between calls of a codec: one for the whole thread.
 * @throws ZcacheError ERR_ARENA_FULL
 */
export function sharedScratch(memory: CodecMemory, sizeBytes: number): Address {
  const list = ofSize(SHARED, memory, sizeBytes);
  list[0] ??= memory.reserve(sizeBytes);
  return list[0];
}
