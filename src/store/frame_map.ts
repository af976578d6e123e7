// Describes the page frames of a store, for drawings of its memory. One call describes a bounded
// run of frames under one hold of the lock. Other threads go on between two calls, so the map of a
// large store shows moments that are milliseconds apart.
import { NIL, type PageFrame } from "../base/brand.ts";
import * as Frame from "../memory/frame.layout.ts";
import { FRAME_FULL } from "../pool/contract.ts";
import { INDEX_OWNERS } from "../tmem/tmem.ts";
import { BACKING_OWNER, INDEX_OWNER } from "./open.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

// Uses of a frame; the numbers are those of FRAME_USES in dashboard/api.ts.
export const FREE = 0;
export const HEADER = 1;
export const EPHEMERAL_OBJECTS = 2;
export const PERSISTENT_OBJECTS = 3;
export const POOL_METADATA = 4;
export const INDEX = 5;
export const WRITE_BACK = 6;
export const OTHER = 7;

/** Frames described under one hold of the lock: some 20 µs. */
export const FRAMES_PER_HOLD = 512;

const USE_SHIFT = 26;
const CLASS_MASK = 0x1ffff;

/** The use of a described frame: one of the constants above. */
export function useOf(described: number): number {
  return described >>> USE_SHIFT;
}

/** The size class of a frame that holds objects, in terms of the pool's `frameClasses`. */
export function classOf(described: number): number {
  return Math.floor(described / (FRAME_FULL + 1)) & CLASS_MASK;
}

/** The fullness of a frame that holds objects, 0 … FRAME_FULL. */
export function fullnessOf(described: number): number {
  return described & FRAME_FULL;
}

/** Frames that are described: those of the header that are never touched are left out. */
export function framesDescribed({ arena: { frames } }: StoreState): number {
  return frames.headerFrames + frames.framesUsable;
}

/**
 * Describes frames from `first` on, one word each: use, class, fullness.
 * @param target as many words as frames are wanted, at most FRAMES_PER_HOLD
 * @returns how many frames were described
 */
export function describeFramesLocked(state: StoreState, first: number, target: Int32Array): number {
  const { frames } = state.arena;
  const count = Math.max(0, Math.min(target.length, framesDescribed(state) - first));
  const from = first + frames.firstFrame - frames.headerFrames;
  for (let nth = 0; nth < count; nth++) target[nth] = describe(state, (from + nth) as PageFrame);
  return count;
}

function describe(state: StoreState, frame: PageFrame): number {
  const { frames } = state.arena;
  if (frame < frames.firstFrame) return HEADER << USE_SHIFT;
  const word = frames.state(frame);
  if (word === 0) return FREE << USE_SHIFT;
  // A part that allocates frames for several purposes uses several owner numbers: its own plus a
  // multiple of the number of all frames, which no frame has.
  const owner = Frame.ownerOf(word);
  const ownFrame = owner % frames.framesMax;
  const purpose = (owner - ownFrame) / frames.framesMax;
  for (let kind = 0; kind < Store.KINDS; kind++) {
    if (state.words[state.root + Store.ZPOOLS + kind] !== ownFrame) continue;
    const described = purpose === 0 ? state.zpools[kind]!.describeFrame(frame) : NIL;
    const use = kind === Store.EPHEMERAL ? EPHEMERAL_OBJECTS : PERSISTENT_OBJECTS;
    return described === NIL ? POOL_METADATA << USE_SHIFT : (use << USE_SHIFT) | described;
  }
  return useOfRoot(ownFrame === state.root / frames.wordsPerPage ? purpose : 0) << USE_SHIFT;
}

/** What the store itself uses a frame for. */
function useOfRoot(nth: number): number {
  if (nth === BACKING_OWNER) return WRITE_BACK;
  return nth >= INDEX_OWNER && nth < INDEX_OWNER + INDEX_OWNERS ? INDEX : OTHER;
}
