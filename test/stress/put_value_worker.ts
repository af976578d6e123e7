// Sets values by the kernel (values/put_value.as.ts) until it is terminated.
import { isMainThread, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store, type StoreShare } from "../../src/store/store.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

export interface PutValueInput {
  readonly share: StoreShare;
  readonly seed: number;
  /** Two atomic words for each key: the version set last, and the one begun last. Then a count. */
  readonly acks: Int32Array;
}

export const KEYS = 100;
export const ACKED = 0;
export const BEGUN = 1;
/** Word of `acks`: sets of all workers. */
export const SETS = 2 * KEYS;
/** Versions of one worker. */
const VERSIONS = 1_000_000;

export function keyOf(nth: number): Buffer {
  return Buffer.from(`key:${nth}`);
}

/** Its length and all its bytes depend on key and version; the first four are the version. */
export function makeValue(nth: number, version: number): Buffer {
  const random = new Xorshift32(version * KEYS + nth + 1);
  const value = Buffer.alloc(8 + random.below(700), `${nth}/${version} `);
  value.writeInt32LE(version, 0);
  if (version % 3 === 0) for (let at = 4; at < value.length; at++) value[at] = random.below(256);
  return value;
}

function work({ share, seed, acks }: PutValueInput): never {
  const store = Store.attach(share, nodePlatform());
  const random = new Xorshift32(seed);
  const values = new Values(store, Date.now, () => random.next());
  const request = new SetRequest();
  for (let version = seed * VERSIONS; ; version++) {
    const nth = random.below(KEYS);
    const value = makeValue(nth, version);
    request.key = keyOf(nth);
    request.keyBytes = request.key.length;
    request.value = value;
    request.valueBytes = value.length;
    Atomics.store(acks, 2 * nth + BEGUN, version);
    if (values.set(request) === 0) Atomics.store(acks, 2 * nth + ACKED, version);
    Atomics.add(acks, SETS, 1);
  }
}

if (!isMainThread) work(workerData as PutValueInput);
