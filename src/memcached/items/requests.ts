// What a command asks of an item beyond its key, and how that ends. Each thread has one request of
// each kind and fills it again for each command; `reset` gives what a client means that says
// nothing.
import { U64 } from "../../base/u64.ts";

/** How a value is stored. */
export type StoreMode = typeof SET | typeof ADD | typeof REPLACE | typeof APPEND | typeof PREPEND;
export const SET = 0;
/** Only if there is no item. */
export const ADD = 1;
/** Only if there is an item. */
export const REPLACE = 2;
/** Behind the old value; client flags and expiry stay. */
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

/** What any change of an item may ask. */
export class ChangeRequest {
  /** Only if the item's cas number is this one. */
  readonly cas = new U64();
  hasCas = false;
  /** The cas number that the item gets; without it, a new one. */
  readonly newCas = new U64();
  hasNewCas = false;
  /** Seconds since 1970, 0 never; where `hasExpires` matters, only with it. */
  expires = 0;
  hasExpires = false;
  /** The key was sent in base64. */
  keyBinary = false;
  /** Create the item if there is none, with this expiry. */
  vivify = false;
  vivifyExpires = 0;
  /** An item that is created keeps `vivifyExpires`, whatever `expires` is. */
  vivifyLast = false;

  get expiresIfCreated(): number {
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
  /** Bytes of the item's value if the request succeeds; `storeItem` fills it in. */
  itemBytes = 0;
  clientFlags = 0;
  /** Also store with a cas number that is lower than the item's, and mark the item stale. */
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
    this.itemBytes = 0;
    this.clientFlags = 0;
    this.invalidate = false;
    return this;
  }
}

export class DeltaRequest extends ChangeRequest {
  increment = true;
  readonly delta = new U64();
  /** The value of an item that is created because there is none. */
  readonly initial = new U64();

  // The answers, beside the number itself.
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
  /** Keep the item, with a new cas number, and mark it stale. */
  invalidate = false;
  /** Keep the item, without its value. */
  emptied = false;
  /** The command is `md`; for log lines. */
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
  /** One client may renew an item that expires before then, in seconds since 1970. */
  recacheBefore = 0;
  hasRecache = false;
  /** The expiry is changed before it is compared with `recacheBefore`. */
  touchFirst = false;
  /** The look for the item has been counted. */
  isCounted = false;
  /** Do not record the use. */
  noBump = false;
  /** Anything but a plain read. */
  special = false;

  // The answers, beside the item itself.
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
