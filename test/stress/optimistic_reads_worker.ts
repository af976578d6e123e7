// A reader or a writer of the test of optimistic reads. A writer sets and deletes values until it
// is terminated; a reader compares each value that it gets, from its first byte to its last, with
// those that its key may have.
import assert from "node:assert/strict";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { Cache, type CacheShare } from "../../src/index.ts";

export interface OptimisticReadsInput {
  readonly share: CacheShare;
  readonly seed: number;
  readonly isReader: boolean;
  /** Word 0: hits of all readers, atomic. Word 1: 1 = readers end, atomic. */
  readonly progress: Int32Array;
}

/** A few keys are read while they are written; the others fill the cache, so that it evicts. */
const HOT_KEYS = 8;
const COLD_KEYS = 6000;
/** Values that there may be under each key. */
const SERIALS = 8;
const VALUE_BYTES_MAX = 6000;
/** Operations between two looks at `progress`. */
const BATCH = 64;

function drawKey(random: Xorshift32): number {
  return random.below(4) > 0 ? random.below(HOT_KEYS) : HOT_KEYS + random.below(COLD_KEYS);
}

const made = new Map<number, Buffer>();

/** Its bytes depend on key and serial from the first to the last; half of them compress. */
function valueUnder(key: number, serial: number): Buffer {
  const id = key * SERIALS + serial;
  const known = made.get(id);
  if (known !== undefined) return known;
  const random = new Xorshift32(id + 1);
  const bytes = 16 + random.below(VALUE_BYTES_MAX);
  const letters = serial % 2 === 0 ? 256 : 3;
  const value = Buffer.from(Array.from({ length: bytes }, () => random.below(letters)));
  value[0] = serial;
  if (key < HOT_KEYS) made.set(id, value);
  return value;
}

/** Sets a value under each key. */
export function fill(cache: Cache<string, Buffer>): void {
  for (let key = 0; key < HOT_KEYS + COLD_KEYS; key++) cache.set(`key${key}`, valueUnder(key, 0));
}

function write(cache: Cache<string, Buffer>, random: Xorshift32): never {
  for (;;) {
    const key = drawKey(random);
    if (random.below(8) === 0) cache.delete(`key${key}`);
    else cache.set(`key${key}`, valueUnder(key, random.below(SERIALS)));
  }
}

function read(cache: Cache<string, Buffer>, random: Xorshift32, progress: Int32Array): void {
  do {
    let hits = 0;
    for (let nth = 0; nth < BATCH; nth++) {
      const key = drawKey(random);
      const value = cache.get(`key${key}`);
      if (value === undefined) continue;
      hits++;
      const isWhole = value.equals(valueUnder(key, value[0]! % SERIALS));
      assert.ok(isWhole, `key${key} gave what was never set, serial ${value[0]}`);
    }
    Atomics.add(progress, 0, hits);
  } while (Atomics.load(progress, 1) === 0);
}

if (!isMainThread && parentPort !== null) {
  const { share, seed, isReader, progress } = workerData as OptimisticReadsInput;
  const cache = Cache.attach<string, Buffer>(share);
  const random = new Xorshift32(seed);
  parentPort.postMessage("ready");
  if (!isReader) write(cache, random);
  read(cache, random, progress);
  cache.detach();
}
