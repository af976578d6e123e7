// What commands do to items, for clients that watch the server (watch/watch.ts).
import { type Outcome, SET, type StoreMode } from "./requests.ts";

/** How a look for an item ended. */
export type Look = typeof MISSED | typeof FOUND | typeof FLUSHED | typeof EXPIRED;
export const MISSED = 0;
export const FOUND = 1;
/** There was one, from before a flush. */
export const FLUSHED = 2;
export const EXPIRED = 3;

/** What a log says of a request to store something. */
export interface StoreFacts {
  readonly mode: StoreMode;
  readonly hasCas: boolean;
  /** Seconds since 1970, 0 never. */
  readonly expires: number;
  /** Bytes of the item's value, if the request succeeds. */
  readonly itemBytes: number;
}

/** A request to store something of which nothing else is known. */
export const PLAIN_SET: StoreFacts = { mode: SET, hasCas: false, expires: 0, itemBytes: 0 };

/**
 * Called under the lock of the key, which stands at [from, to). An implementation must neither wait
 * nor throw, and copies what it keeps. Sizes are bytes of the value.
 */
export interface ItemLog {
  /** A command has looked for an item; commands that change items do so too. */
  fetched(key: Uint8Array, from: number, to: number, look: Look, valueBytes: number): void;
  /** A request to store something has ended. */
  stored(key: Uint8Array, from: number, to: number, outcome: Outcome, how: StoreFacts): void;
  /** A client has deleted an item. */
  removed(key: Uint8Array, from: number, to: number, byMeta: boolean, valueBytes: number): void;
}
