/** META of a page's entry (tmem/entry.layout.ts): what the store knows of a page, in one word.
 *
 *   31     30       24 23    21 20   19 18   17 16                        0
 *  ┌──────┬───────────┬────────┬───────┬───────┬───────────────────────────┐
 *  │ KIND │ AGE       │ policy │ WHERE │ CODEC │ SIZE                      │
 *  └──────┴───────────┴────────┴───────┴───────┴───────────────────────────┘
 *
 *  WHERE        VALUE of the entry         SIZE
 *  MEMORY       a handle of the pool       bytes as stored, the page's size if it is stored raw
 *  SAME_FILLED  the pattern, its low half  0
 *  FILE         a place in the file        as MEMORY
 *  REMOTE       version, its low half      as MEMORY
 *
 * A page in the remote tier is in no policy either; its LINKS have the rest of its record's name
 * (record.ts).
 *
 * The pattern of a same-filled page has 64 bits. A persistent same-filled page is in no policy, so
 * its entry's LINKS has room for the high half. An ephemeral one is in the policy, so only patterns
 * with equal halves are stored this way; other pages are compressed.
 *
 * CODEC: RAW, FAST, DENSE, TRIED. KIND: 0 for an ephemeral, 1 for a persistent page. AGE: the tick
 * of the store's clock at which the page was last used. META is never 0, by which the index knows
 * that there is a page: WHERE is 0 only for REMOTE, and then SIZE is not.
 */
import * as Entry from "../tmem/entry.layout.ts";

export const SIZE_MASK = 0x1ffff;

export const CODEC_SHIFT = 17;
export const CODEC_MASK = 3;
/** Not compressed. */
export const RAW = 0;
/** Compressed with the codec for new pages, or with the denser codec for idle pages. */
export const FAST = 1;
export const DENSE = 2;
/** As FAST, but the denser codec was tried and does not make the page smaller. */
export const TRIED = 3;

export const WHERE_SHIFT = 19;
export const WHERE_MASK = 3;
export const REMOTE = 0;
export const MEMORY = 1;
export const SAME_FILLED = 2;
export const FILE = 3;

/** Three bits that belong to the eviction policy (policy/contract.ts). */
export const POLICY_SHIFT = 21;
const POLICY_FIELD = 7 << POLICY_SHIFT;

export const AGE_SHIFT = 24;
/** Ticks of the store's clock are counted modulo this. */
export const AGES = 128;
export const KIND_SHIFT = 31;

/** A META without SIZE and CODEC. */
export function makeMeta(kind: number, where: number, tick: number): number {
  return (kind << KIND_SHIFT) | ((tick & (AGES - 1)) << AGE_SHIFT) | (where << WHERE_SHIFT);
}

export function withSize(meta: number, codec: number, sizeBytes: number): number {
  return (meta & ~((CODEC_MASK << CODEC_SHIFT) | SIZE_MASK)) | (codec << CODEC_SHIFT) | sizeBytes;
}

export function kindOf(meta: number): number {
  return meta >>> KIND_SHIFT;
}

export function sizeOf(meta: number): number {
  return meta & SIZE_MASK;
}

export function codecOf(meta: number): number {
  return (meta >>> CODEC_SHIFT) & CODEC_MASK;
}

export function whereOf(meta: number): number {
  return (meta >>> WHERE_SHIFT) & WHERE_MASK;
}

/** The tick at which the page was last used, modulo AGES. */
export function tickOf(meta: number): number {
  return (meta >>> AGE_SHIFT) & (AGES - 1);
}

export function withTick(meta: number, tick: number): number {
  return (meta & ~((AGES - 1) << AGE_SHIFT)) | ((tick & (AGES - 1)) << AGE_SHIFT);
}

/** META of a page that replaces another one in memory, with the policy's bits of that one. */
export function replaced(before: number, packed: number, tick: number): number {
  return withTick(withSize(before, codecOf(packed), sizeOf(packed)), tick);
}

/** META of a page that moves to the file or back; clears the policy's bits. */
export function withWhere(meta: number, where: number): number {
  return (meta & ~((WHERE_MASK << WHERE_SHIFT) | POLICY_FIELD)) | (where << WHERE_SHIFT);
}

/**
 * Whether a page is in the policy of its kind: not if it is in the file or in the remote tier, nor
 * if it takes no room and may not be dropped.
 */
export function isListed(meta: number): boolean {
  const where = whereOf(meta);
  return where === MEMORY || (where === SAME_FILLED && kindOf(meta) === 0);
}

/** Whether a same-filled page of a kind may have a pattern with different halves. */
export function holdsWidePatterns(kind: number): boolean {
  return kind !== 0;
}

/** The high half of a same-filled page's pattern. */
export function highOf(words: Int32Array, entry: number, meta: number): number {
  return words[entry + (holdsWidePatterns(kindOf(meta)) ? Entry.LINKS : Entry.VALUE)]!;
}

/** Bytes that a page costs besides its data: its entry, the way to it, its handle. */
export const ENTRY_BYTES = 32;

// Overwrites in place (overwrite.ts).
/** The most that a slot may be too large: 256 bytes of a page of 4 KiB. */
export const SLACK_SHIFT = 4;
/** A pool wastes too much for slots that are too large if it wastes this part of its data: 3 %. */
export const WASTE_PART = 32;
