// Records requests for a sample of the keys, so that a reader can simulate other caches with them
// (lab/simulate/sampled.ts). A key is sampled if its hash is below a limit: all requests for it are
// recorded, or none. After C. Waldspurger et al., "Efficient MRC Construction with SHARDS" (FAST
// 2015).
//
//   request_sample.layout.ts   the ring
//   request_sample.ts          records requests: each thread that gets, puts or removes pages
//   request_sampling.ts        begins and ends that, and lists the sampled pages that are stored
//   sample_reader.ts           reads the ring
//
// While nothing is sampled, a request costs one read of a word that does not change. Otherwise it
// costs a multiplication and a comparison more, and some atomic operations for a sampled key. A
// request that finds the ring full is counted and forgotten: no request ever waits.
import { ECANCELED, type Errno } from "../base/errno.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Page from "./page.layout.ts";
import type { PutRequest } from "./put_request.ts";
import * as Sample from "./request_sample.layout.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import * as Value from "./value.layout.ts";
import { isHead } from "./versions.ts";

/** Whether requests are sampled now. */
export function isSampling({ words, root }: StoreState): boolean {
  return words[root + Store.SAMPLE_LIMIT] !== 0;
}

/** @param limit unsigned */
export function isSampledBelow(hash: number, limit: number): boolean {
  // A factor of its own: the miniatures of `adaptive` sample other keys.
  return Math.imul(hash, 0x85eb_ca77) >>> 0 < limit;
}

function isSampled({ words, root }: StoreState, hash: number): boolean {
  return isSampledBelow(hash, words[root + Store.SAMPLE_LIMIT]! >>> 0);
}

/** Records a get. @param found whether there is the page, which `foundMeta` describes */
export function sampleGet(state: StoreState, pool: number, key: TmemKey, found: boolean): void {
  const hash = state.hash(pool, key);
  if (!isSampled(state, hash)) return;
  if (!found) {
    // A persistent page is missing only if it was never written, which no memory changes.
    if (state.index.kindOf(pool) !== Store.PERSISTENT) record(state, infoOf(Sample.MISS, 0), hash);
    return;
  }
  const { foundMeta: meta } = state;
  const where = Page.whereOf(meta);
  const isOutside = where === Page.FILE || where === Page.REMOTE;
  const info = infoOf(isOutside ? Sample.OUTSIDE : Sample.HIT, Page.sizeOf(meta));
  if (where === Page.SAME_FILLED) record(state, info, hash, state.pageSize);
  else if (where === Page.REMOTE) record(state, info, hash);
  else recordAt(state, info, hash, key, state.packed + state.headerBytes);
}

/** Records a get that a kernel has answered: a value in memory. */
export function sampleFound(state: StoreState, hash: number, meta: number): void {
  if (isSampled(state, hash)) record(state, infoOf(Sample.HIT, Page.sizeOf(meta)), hash);
}

/** Records a put. @param result 0, or why the page was not stored */
export function samplePut(state: StoreState, request: PutRequest, result: 0 | Errno): void {
  const { hash, kind, sizeBytes } = request;
  if (!isSampled(state, hash)) return;
  const info = infoOf(Sample.PUT, sizeBytes);
  if (result === 0) {
    if (sizeBytes === 0) record(state, info, hash, state.pageSize);
    else recordAt(state, info, hash, request.key, request.source);
  } else if (result !== ECANCELED && kind !== Store.PERSISTENT) {
    record(state, infoOf(Sample.REMOVE, 0), hash);
  }
}

/** Records a put of a value that a kernel has done; the value stands in the packed scratch. */
export function samplePutValue(state: StoreState, pool: number, key: TmemKey, bytes: number): void {
  const hash = state.hash(pool, key);
  if (isSampled(state, hash)) recordAt(state, infoOf(Sample.PUT, bytes), hash, key, state.packed);
}

/** Records that a page was removed by request, or has expired. */
export function sampleRemoval(state: StoreState, hash: number): void {
  if (isSampled(state, hash)) record(state, infoOf(Sample.REMOVE, 0), hash);
}

/** Records a new expiry of the value whose prefix is in the packed scratch. */
export function sampleRenewal(state: StoreState, pool: number, key: TmemKey): void {
  const hash = state.hash(pool, key);
  if (!isSampled(state, hash)) return;
  record(state, infoOf(Sample.RENEW, 0), hash, 0, expiryAt(state, state.packed));
}

/** Records that all values were removed at once. */
export function sampleClear(state: StoreState): void {
  if (isSampling(state)) record(state, infoOf(Sample.CLEAR, 0), 0);
}

/** Whether a page is the first of a value, which begins with a prefix. */
export function hasPrefix({ options }: StoreState, key: TmemKey): boolean {
  return options.content === "values" && isHead(key);
}

/** When the value whose prefix is at `at` expires, in seconds since 1970; 0 = never. */
export function expiryAt(state: StoreState, at: number): number {
  const ms = state.expiryIn?.(at) ?? Value.expiryOf(state.arena.bytes, at);
  if (ms === Number.POSITIVE_INFINITY) return 0;
  return Math.max(1, Math.min(0xffff_ffff, Math.ceil(ms / 1000)));
}

function infoOf(operation: number, storedBytes: number): number {
  const stored = storedBytes << Sample.STORED_SHIFT;
  return stored | (operation << Sample.OPERATION_SHIFT) | Sample.WRITTEN;
}

/** @param at address at which the page begins as it is stored */
function recordAt(state: StoreState, info: number, hash: number, key: TmemKey, at: number): void {
  if (!hasPrefix(state, key)) record(state, info, hash, state.pageSize);
  else record(state, info, hash, Value.sizeOf(state.words[at / 4]!), expiryAt(state, at));
}

function record(state: StoreState, info: number, hash: number, plain = 0, expires = 0): void {
  const { words, root } = state;
  const counter = root + Store.SAMPLE_NEXT;
  let next = 0;
  do {
    next = Atomics.load(words, counter);
    const unread = (next - Atomics.load(words, root + Store.SAMPLE_READ)) >>> 0;
    if (unread >= Sample.SAMPLES_MAX) {
      Atomics.add(words, root + Store.SAMPLE_DROPPED, 1);
      return;
    }
  } while (Atomics.compareExchange(words, counter, next, (next + 1) | 0) !== next);
  const place = next & (Sample.SAMPLES_MAX - 1);
  const shift = state.arena.frames.pageShift - Sample.SAMPLE_SHIFT;
  const inPiece = place & ((1 << shift) - 1);
  const piece = words[root + Store.SAMPLE_PIECES + (place >>> shift)]!;
  const at = piece + inPiece * Sample.SAMPLE_WORDS;
  words[at + Sample.HASH] = hash;
  words[at + Sample.PLAIN] = plain;
  words[at + Sample.EXPIRES] = expires;
  Atomics.store(words, at + Sample.INFO, info);
}
