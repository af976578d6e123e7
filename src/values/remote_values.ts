// Values of a store with a remote tier, as one thread uses them. A value that is on another machine
// is not read while its caller waits: `find` and `read` end with ERR_REMOTE_PAGE, and the records
// that they need are noted. The caller reads them with a RemoteWait (store/remote_arrivals.ts),
// and begins anew.

import { wantIfRemote } from "../store/load_arrived.ts";
import { RemoteArrivals } from "../store/remote_arrivals.ts";
import { stateOf } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";
import type { Values } from "./values.ts";

const head = new TmemKey();

/**
 * Lets a thread find values of the remote tier.
 * @param shards all of its shards
 * @returns what is noted for all of them; undefined without a remote tier
 */
export function useRemote(shards: readonly Values[]): RemoteArrivals | undefined {
  const states = shards.map(({ store }) => stateOf(store));
  if (states[0]!.outbox === undefined) return undefined;
  const arrivals = new RemoteArrivals();
  for (const state of states) state.arrivals = arrivals;
  return arrivals;
}

/** Notes the record of page 0 of a value as wanted, if it is needed to find the value. */
export function wantValue(values: Values, key: Uint8Array, keyBytes: number): void {
  // Hashes the key.
  values.has(key, keyBytes);
  head.setWords(values.hashLow, values.hashHigh, 0, 0);
  wantIfRemote(stateOf(values.store), values.pool, head);
}
