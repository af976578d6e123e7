// What a command asks of an item beyond its key, and how that ends. Each thread has one request of
// each kind and fills it again for each command; `reset` gives what a client means that says
// nothing.
import { U64 } from "../../base/u64.ts";

/** How a value goes into the store. */
export type StoreMode = typeof SET | typeof ADD | typeof REPLACE | typeof APPEND | typeof PREPEND;
export const SET = 0;
/** Only where nothing is under the key. */
export const ADD = 1;
/** Only where something is. */
export const REPLACE = 2;
/** Behind what is there, whose flags and expiry stay. */
export const APPEND = 3;
export const PREPEND = 4;

/** How a change of an item ends. */
export type Outcome =
  | typeof DONE
  | typeof NOT_STORED
  | typeof EXISTS
  | typeof NOT_FOUND
  | typeof TOO_LARGE
  | typeof NO_MEMORY
  | typeof NOT_NUMBER;
export const DONE = 0;
/** The condition of the mode does not hold. */
export const NOT_STORED = 1;
/** The item has another cas number. */
export const EXISTS = 2;
export const NOT_FOUND = 3;
export const TOO_LARGE = 4;
export const NO_MEMORY = 5;
/** The value to count with is not a number. */
export const NOT_NUMBER = 6;

const NO_BYTES = new Uint8Array(0);

/** What a change of an item may ask, whichever it is. */
export class ChangeRequest {
  /** Only if the item's cas number is this one. */
  readonly cas = new U64();
  hasCas = false;
  /** The cas number that the item gets; otherwise one that nobody has had. */
  readonly newCas = new U64();
  hasNewCas = false;
  /** Seconds since 1970, 0 never; where `hasExpires` matters, only then. */
  expires = 0;
  hasExpires = false;
  /** The key came in base64. */
  keyBinary = false;
  /** Make the item where there is none, to expire then. */
  vivify = false;
  vivifyExpires = 0;
  /** An item that is made keeps `vivifyExpires`, whatever `expires` is. */
  vivifyLast = false;

  get expiresIfMade(): number {
    return this.hasExpires && !this.vivifyLast ? this.expires : this.vivifyExpires;
  }

  protected resetChange(): void {
    this.cas.set(0, 0);
    this.hasCas = false;
    this.hasNewCas = false;
    this.expires = 0;
    this.hasExpires = false;
    this.keyBinary = false;
    this.vivify = false;
    this.vivifyExpires = 0;
    this.vivifyLast = false;
  }
}

export class StoreRequest extends ChangeRequest {
  mode: StoreMode = SET;
  /** The value stands at [valueFrom, valueTo) of `value`. */
  value: Uint8Array = NO_BYTES;
  valueFrom = 0;
  valueTo = 0;
  clientFlags = 0;
  /** A cas number that is lower than the item's stores too, and marks the item stale. */
  invalidate = false;

  setValue(bytes: Uint8Array, from: number, to: number): void {
    this.value = bytes;
    this.valueFrom = from;
    this.valueTo = to;
  }

  reset(mode: StoreMode): this {
    this.resetChange();
    this.mode = mode;
    this.setValue(NO_BYTES, 0, 0);
    this.clientFlags = 0;
    this.invalidate = false;
    return this;
  }
}

export class DeltaRequest extends ChangeRequest {
  increment = true;
  readonly delta = new U64();
  /** The value of an item that is made because there is none. */
  readonly initial = new U64();

  // And the answers, beside the number itself.
  created = false;
  expiresBefore = 0;

  reset(): this {
    this.resetChange();
    this.increment = true;
    this.created = false;
    this.expiresBefore = 0;
    this.delta.set(0, 1);
    this.initial.set(0, 0);
    return this;
  }
}

export class RemoveRequest extends ChangeRequest {
  /** Leave the item, with a new cas number, and mark it stale. */
  invalidate = false;
  /** Leave the item, without its value. */
  emptied = false;
  /** A meta command asks; only a log says so. */
  byMeta = false;

  reset(): this {
    this.resetChange();
    this.invalidate = false;
    this.emptied = false;
    this.byMeta = false;
    return this;
  }
}

export class GetRequest extends ChangeRequest {
  /** Ask one client to store anew if the item is gone before then, seconds since 1970. */
  recacheBefore = 0;
  hasRecache = false;
  /** The expiry is changed before it is compared with `recacheBefore`. */
  touchFirst = false;
  /** The look for the item has been counted. */
  isCounted = false;
  /** Leave it unsaid that the item was fetched. */
  noBump = false;
  /** Anything but a plain read, which takes one look. */
  special = false;

  // And the answers, beside the item itself.
  created = false;
  won = false;
  wasFetched = false;
  accessedBefore = 0;
  expiresBefore = 0;

  reset(): this {
    this.resetChange();
    this.recacheBefore = 0;
    this.hasRecache = false;
    this.touchFirst = false;
    this.isCounted = false;
    this.noBump = false;
    this.special = false;
    this.created = false;
    this.won = false;
    this.wasFetched = false;
    this.accessedBefore = 0;
    this.expiresBefore = 0;
    return this;
  }
}
