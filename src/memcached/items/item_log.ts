// What the items tell of what is done to them, for those who watch a server.
import type { Outcome } from "./requests.ts";
import * as Mode from "./requests.ts";

/** How a look for an item ended. */
export type Look = typeof MISSED | typeof FOUND | typeof FLUSHED | typeof EXPIRED;
export const MISSED = 0;
export const FOUND = 1;
/** There was one, of before a flush. */
export const FLUSHED = 2;
export const EXPIRED = 3;

/** What a log says of how something was to be stored. */
export interface StoreFacts {
  readonly mode: Mode.StoreMode;
  readonly hasCas: boolean;
  /** Seconds since 1970, 0 never. */
  readonly expires: number;
}

/** Where it is known only that something was to be stored. */
export const PLAIN_SET: StoreFacts = { mode: Mode.SET, hasCas: false, expires: 0 };

/**
 * Called under the lock of the key, which stands at [from, to): must not wait, not throw, and take
 * what it wants to keep. Sizes are bytes of the value.
 */
export interface ItemLog {
  /** Any command has looked for an item, those that change it too. */
  fetched(key: Uint8Array, from: number, to: number, look: Look, valueBytes: number): void;
  /** Something was stored, or `outcome` says why not. */
  stored(
    key: Uint8Array,
    from: number,
    to: number,
    outcome: Outcome,
    how: StoreFacts,
    valueBytes: number,
  ): void;
  /** A client has deleted it. */
  removed(key: Uint8Array, from: number, to: number, byMeta: boolean, valueBytes: number): void;
}
