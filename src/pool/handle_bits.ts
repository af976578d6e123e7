// Direct handles: frame and slot of an object, and a generation in the remaining bits, which
// distinguishes a freed handle from the handle of a later object at the same place.
//
//   30           frameBits + slotBits        slotBits          0
//  ┌────────────────┬─────────────────────────┬───────────────┐
//  │ generation     │ frame                   │ slot          │
//  └────────────────┴─────────────────────────┴───────────────┘
//
// A handle has 31 bits, so that it is a small integer to the engine. In an arena of 64 MiB, a zbud
// handle has 16 bits of generation, in one of 4 GiB 10. Frame 0 is never allocated, so no handle is
// 0.
import type { Handle } from "../base/brand.ts";
import { assert } from "../base/errors.ts";

export interface HandleBits {
  readonly slotBits: number;
  readonly frameBits: number;
  readonly generationBits: number;
  readonly generationMask: number;
}

/** @param slots slots per frame, or per block */
export function handleBits(framesTotal: number, slots: number): HandleBits {
  const slotBits = Math.ceil(Math.log2(slots));
  const frameBits = Math.ceil(Math.log2(framesTotal));
  const generationBits = 31 - slotBits - frameBits;
  assert(generationBits >= 1, "a handle has room for a generation");
  return { slotBits, frameBits, generationBits, generationMask: (1 << generationBits) - 1 };
}

export function makeHandle(bits: HandleBits, frame: number, slot: number, serial: number): Handle {
  const place = (frame << bits.slotBits) | slot;
  return (((serial & bits.generationMask) << (bits.slotBits + bits.frameBits)) | place) as Handle;
}

export function frameOf(bits: HandleBits, handle: Handle): number {
  return (handle >>> bits.slotBits) & ((1 << bits.frameBits) - 1);
}

export function slotOf(bits: HandleBits, handle: Handle): number {
  return handle & ((1 << bits.slotBits) - 1);
}

export function generationOf(bits: HandleBits, handle: Handle): number {
  return handle >>> (bits.slotBits + bits.frameBits);
}
