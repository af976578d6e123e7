// Scratch in the memory for codecs that come and go. A thread's memory gives scratch and takes none
// back until the thread detaches, but dictionaries are replaced while the thread goes on: what a
// closed codec had is kept here for the next one.
import type { Address } from "../base/brand.ts";
import type { Kernels } from "../wasm/kernels.ts";
import type { CodecMemory } from "./contract.ts";

/** What is free in the memory of one thread, by size. */
type FreeScratch = Map<number, Address[]>;

/**
 * By the kernels, of which there is one instance for each thread and each time it attaches. With
 * it goes what is noted here, at the time at which the memory takes back all of the thread's.
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

/** Gives back what `takeScratch` gave. */
export function giveScratch(memory: CodecMemory, sizeBytes: number, at: Address): void {
  ofSize(FREE, memory, sizeBytes).push(at);
}

/**
 * Scratch that keeps nothing from one call of a codec to the next: one for all of the thread.
 * @throws ZcacheError ERR_ARENA_FULL
 */
export function sharedScratch(memory: CodecMemory, sizeBytes: number): Address {
  const list = ofSize(SHARED, memory, sizeBytes);
  list[0] ??= memory.reserve(sizeBytes);
  return list[0];
}
