// For owners of values that decide by themselves which values are gone, as memcached does by the
// meta bytes: tells the recorder of requests (store/request_sample.ts) what it can't see.
import { isSampling, sampleClear, sampleRemoval } from "../store/request_sample.ts";
import { stateOf } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";
import { keyAt, keyBytesAt, readWord } from "./prefix.ts";
import type { Values } from "./values.ts";

/** @param word the word of the meta bytes with the expiry, in seconds since 1970, 0 = never */
export function useMetaExpiry({ store, bytes }: Values, word: number): void {
  stateOf(store).expiryIn = (at) => {
    const metaAt = keyAt(bytes, at) + keyBytesAt(bytes, at);
    const seconds = readWord(bytes, metaAt + word * 4) >>> 0;
    return seconds === 0 ? Number.POSITIVE_INFINITY : seconds * 1000;
  };
}

/** Records that the value of the key that was used last, which is not stored, is deleted. */
export function sampleDeletion({ store, pool, hashLow, hashHigh }: Values): void {
  const state = stateOf(store);
  if (!isSampling(state)) return;
  sampleRemoval(state, state.hash(pool, new TmemKey().setWords(hashLow, hashHigh, 0, 0)));
}

/** To be called when no value that was stored so far is found any more. */
export function sampleFlush({ store }: Values): void {
  sampleClear(stateOf(store));
}
