// The model of stops.long.test.ts: for each page, value, item and block the versions that may be
// read after a worker's death: the last acknowledged one, or one that was being written.
import type { CacheShare } from "../../src/cache/share.ts";
import type { StoreShare } from "../../src/store/store.ts";
import type { ZramShare } from "../../src/zram/zram.ts";

export const KINDS = ["pages", "cache", "items", "device"] as const;
export type Kind = (typeof KINDS)[number];

/** Number of simultaneous workers; each has its own keys. */
export const SLOTS = 2;
/** Keys that a worker has of each kind. */
export const KEYS = 48;

/** What the workers attach to. */
export interface Fixture {
  readonly store: StoreShare;
  readonly pools: { readonly persistent: number; readonly ephemeral: number };
  readonly cache: CacheShare;
  readonly items: unknown;
  readonly turns: readonly SharedArrayBuffer[];
  readonly disk: StoreShare;
  readonly device: ZramShare;
}

export interface StopInput {
  readonly fixture: Fixture;
  readonly kind: Kind;
  readonly slot: number;
  readonly seed: number;
  /** The point at which it stops, from 1 on. */
  readonly stopAt: number;
  readonly steps: number;
  readonly control: SharedArrayBuffer;
  readonly acks: SharedArrayBuffer;
}

/** Of each key: the version that was acknowledged last, and the one begun last; 0 = not there. */
export interface Acks {
  readonly count: number;
  /** @returns the version that is being stored from now on */
  begin(n: number): number;
  /** The begun change has been completed. @param version the stored version, 0 = none */
  end(n: number, version: number): void;
  /** Versions that may be found; the one that was found is the acknowledged one from now on. */
  allowed(n: number): number[];
  settle(n: number, version: number): void;
}

const WORDS = 3;
const ACKED = 0;
const BEGUN = 1;
const COUNTER = 2;

export function makeAcks(): SharedArrayBuffer {
  return new SharedArrayBuffer(KINDS.length * SLOTS * KEYS * WORDS * 4);
}

export function openAcks(memory: SharedArrayBuffer, slot: number, kind: Kind): Acks {
  const words = new Int32Array(memory);
  const first = (KINDS.indexOf(kind) * SLOTS + slot) * KEYS * WORDS;
  const at = (n: number) => first + n * WORDS;
  return {
    count: KEYS,
    begin: (n) => {
      const version = ++words[at(n) + COUNTER]!;
      words[at(n) + BEGUN] = version;
      return version;
    },
    end: (n, version) => {
      words[at(n) + ACKED] = version;
      words[at(n) + BEGUN] = version;
    },
    allowed: (n) => {
      const [acked, begun] = words.subarray(at(n), at(n) + 2);
      // What was begun may have been a removal, or have failed and taken the old one with it.
      return acked === begun ? [acked!] : [acked!, begun!, 0];
    },
    settle: (n, version) => {
      words[at(n) + ACKED] = version;
      words[at(n) + BEGUN] = version;
    },
  };
}

/** Fills a unique page that is moderately compressible and names its owner. */
export function writePage(page: Uint8Array, id: number, version: number): void {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  let state = (id * 2654435761 + version * 40503) >>> 0;
  for (let i = 0; i < words.length; i++) {
    if ((i & 3) === 0) state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state & 0xffff00;
  }
  words[0] = id;
  words[1] = version;
}

/** @returns the version of a page that `writePage` made for this id; −1 for anything else */
export function versionOf(page: Uint8Array, id: number): number {
  const version = new Uint32Array(page.buffer, page.byteOffset, 2)[1]!;
  const expected = new Uint8Array(page.length);
  writePage(expected, id, version);
  return Buffer.compare(expected, page) === 0 ? version : -1;
}

/** A value; a long one takes some pages. */
export function makeValue(slot: number, n: number, version: number, isLong: boolean) {
  const times = isLong ? 3000 : 1 + ((version * 37 + n) % 90);
  return { n, version, text: `${slot}/${n}/${version},`.repeat(times) };
}

/** @returns the version of a value that `makeValue` made for this key; −1 for anything else */
export function versionOfValue(value: unknown, slot: number, n: number): number {
  const { version, text } = value as { version: number; text: string };
  for (const isLong of [false, true]) {
    const wanted = makeValue(slot, n, version, isLong);
    if (JSON.stringify(wanted) === JSON.stringify({ n, version, text })) return version;
  }
  return -1;
}
