// The page frames of a store, one by one: for who draws the memory. A bounded run of them is
// described under one hold of the lock; between two runs others go on, so a map of a large store is
// put together from moments that lie milliseconds apart.
import { NIL, type PageFrame } from "../base/brand.ts";
import * as Frame from "../memory/frame.layout.ts";
import { FRAME_FULL } from "../pool/contract.ts";
import { INDEX_OWNERS } from "../tmem/tmem.ts";
import { BACKING_OWNER, INDEX_OWNER } from "./open.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

// What a frame is used for; the numbers are those of FRAME_USES in dashboard/api.ts.
export const FREE = 0;
export const HEADER = 1;
export const EPHEMERAL_OBJECTS = 2;
export const PERSISTENT_OBJECTS = 3;
export const POOL_METADATA = 4;
export const INDEX = 5;
export const WRITE_BACK = 6;
export const OTHER = 7;

/** Frames that are described under one hold of the lock: some 20 µs. */
export const FRAMES_PER_HOLD = 512;

const USE_SHIFT = 26;
const CLASS_MASK = 0x1ffff;

/** What a word that `describeFramesLocked` has written says: one of the uses above. */
export function useOf(described: number): number {
  return described >>> USE_SHIFT;
}

/** The class, as the pool's `frameClasses` says; of frames that hold objects. */
export function classOf(described: number): number {
  return Math.floor(described / (FRAME_FULL + 1)) & CLASS_MASK;
}

/** How full it is, 0 … FRAME_FULL; of frames that hold objects. */
export function fullnessOf(described: number): number {
  return described & FRAME_FULL;
}

/**
 * Describes the frames from `first` on, a word for each: use, class, fullness.
 * @param target as many words as frames are wanted, at most FRAMES_PER_HOLD
 * @returns how many there were
 */
export function describeFramesLocked(state: StoreState, first: number, target: Int32Array): number {
  const { frames } = state.arena;
  const count = Math.max(0, Math.min(target.length, frames.framesTotal - first));
  for (let nth = 0; nth < count; nth++) target[nth] = describe(state, (first + nth) as PageFrame);
  return count;
}

function describe(state: StoreState, frame: PageFrame): number {
  const { frames } = state.arena;
  if (frame < frames.firstFrame) return HEADER << USE_SHIFT;
  const word = frames.state(frame);
  if (word === 0) return FREE << USE_SHIFT;
  // Who takes frames for more than one thing does it under numbers that no frame has: its own, and
  // so many times all frames more.
  const owner = Frame.ownerOf(word);
  const who = owner % frames.framesTotal;
  const what = (owner - who) / frames.framesTotal;
  for (let kind = 0; kind < Store.KINDS; kind++) {
    if (state.words[state.root + Store.ZPOOLS + kind] !== who) continue;
    const described = what === 0 ? state.zpools[kind]!.describeFrame(frame) : NIL;
    const use = kind === Store.EPHEMERAL ? EPHEMERAL_OBJECTS : PERSISTENT_OBJECTS;
    return described === NIL ? POOL_METADATA << USE_SHIFT : (use << USE_SHIFT) | described;
  }
  return useOfRoot(who === state.root / frames.wordsPerPage ? what : 0) << USE_SHIFT;
}

/** What the store itself takes a frame for. */
function useOfRoot(nth: number): number {
  if (nth === BACKING_OWNER) return WRITE_BACK;
  return nth >= INDEX_OWNER && nth < INDEX_OWNER + INDEX_OWNERS ? INDEX : OTHER;
}
