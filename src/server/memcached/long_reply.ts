// Replies that go through all items, or through a long table: made some lines at a time, so that
// what one client asks for is no burden to others, and nothing is made for a client that does not
// read.
import { C } from "../../front/items/counters.ts";
import * as Item from "../../front/items/items.layout.ts";
import type { Items } from "../../front/items/items.ts";
import { sweep } from "../../front/items/sweep.ts";
import { encodeBase64 } from "../../wire/memcached/base64.ts";
import { encodeKey, isPlainKey, printableKey } from "../../wire/memcached/key_text.ts";
import { REPLY_BYTES_MAX, type Reply } from "../../wire/memcached/reply.ts";
import * as Say from "./replies.ts";

/** One line of a list costs as much as so many bytes of a reply. */
const LINE_UNITS = 400;
/** And an item that was looked at for nothing. */
const LOOK_UNITS = 50;
const PREFIXES_AT_A_TIME = 50;

/** What a long reply works with. */
export interface LongReplyParts {
  readonly items: Items;
  readonly reply: Reply;
  /** Counts work, which ends the connection's turn when it is much. */
  readonly spend: (units: number) => void;
}

export interface LongReply {
  /** Makes some more of it. @returns whether that was all */
  step(): boolean;
}

function line({ reply, spend }: LongReplyParts, text: string): void {
  reply.room(text.length + REPLY_BYTES_MAX);
  reply.text(text);
  spend(LINE_UNITS);
}

function end({ reply }: LongReplyParts, last: Uint8Array): true {
  reply.room(REPLY_BYTES_MAX);
  reply.literal(last);
  return true;
}

/** `lru_crawler metadump`: a line for each item. */
export class MetaDump implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #scan: ReturnType<Items["store"]["beginScan"]>;

  constructor(parts: LongReplyParts) {
    this.#parts = parts;
    this.#scan = parts.items.store.beginScan();
  }

  step(): boolean {
    const { items, spend } = this.#parts;
    const ended = items.store.scan(this.#scan, (key) => {
      spend(LOOK_UNITS);
      if (items.isAlive()) line(this.#parts, lineOf(items, key));
    });
    return ended && end(this.#parts, Say.END);
  }
}

function lineOf({ meta, store, now }: Items, key: Uint8Array): string {
  const high = meta[Item.CAS_HIGH]!;
  const low = meta[Item.CAS_LOW]!;
  const cas = high === 0 ? low : (BigInt(high) << 32n) | BigInt(low);
  const fetched = (meta[Item.BITS]! & Item.FETCHED) !== 0 ? "yes" : "no";
  const expires = meta[Item.EXPIRES] === 0 ? -1 : meta[Item.EXPIRES];
  const size = key.length + store.valueBytes;
  return (
    `key=${encodeKey(key)} exp=${expires} la=${Math.min(now, meta[Item.ACCESSED]!)} cas=${cas} ` +
    `fetch=${fetched} cls=1 size=${size}\n`
  );
}

/** `lru_crawler mgdump`: a command for each item that gets it. */
export class MetaGetDump implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #scan: ReturnType<Items["store"]["beginScan"]>;

  constructor(parts: LongReplyParts) {
    this.#parts = parts;
    this.#scan = parts.items.store.beginScan();
  }

  step(): boolean {
    const { items, spend } = this.#parts;
    const ended = items.store.scan(this.#scan, (key) => {
      spend(LOOK_UNITS);
      if (!items.isAlive()) return;
      const isText = (items.meta[Item.BITS]! & Item.KEY_BINARY) === 0 && isPlainKey(key);
      line(this.#parts, isText ? `mg ${printableKey(key)}\r\n` : `mg ${base64(key)} b\r\n`);
    });
    return ended && end(this.#parts, Say.EN);
  }
}

function base64(key: Uint8Array): string {
  const letters = new Uint8Array(REPLY_BYTES_MAX);
  const to = encodeBase64(key, 0, key.length, letters, 0);
  return String.fromCharCode(...letters.subarray(0, to));
}

/** `stats cachedump`: a line for each of some items. */
export class CacheDump implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #scan: ReturnType<Items["store"]["beginScan"]>;
  #left: number;

  constructor(parts: LongReplyParts, itemsMax: number) {
    this.#parts = parts;
    this.#scan = parts.items.store.beginScan();
    this.#left = itemsMax;
  }

  step(): boolean {
    const { items, spend } = this.#parts;
    const { meta, store } = items;
    const ended = store.scan(this.#scan, (key) => {
      spend(LOOK_UNITS);
      if (!items.isAlive() || this.#left <= 0) return;
      this.#left--;
      const facts = `[${store.valueBytes} b; ${meta[Item.EXPIRES]!} s]`;
      line(this.#parts, `ITEM ${printableKey(key)} ${facts}\r\n`);
    });
    return (ended || this.#left <= 0) && end(this.#parts, Say.END);
  }
}

/** `stats detail dump`: the counts of each prefix. */
export class PrefixDump implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #lines: Iterator<string>;

  constructor(parts: LongReplyParts, lines: Iterable<string>) {
    this.#parts = parts;
    this.#lines = lines[Symbol.iterator]();
  }

  step(): boolean {
    for (let i = 0; i < PREFIXES_AT_A_TIME; i++) {
      const { done, value } = this.#lines.next();
      if (done === true) return end(this.#parts, Say.END);
      line(this.#parts, value);
    }
    return false;
  }
}

/** `lru_crawler crawl`: drops what has expired; the reply comes when all was looked at. */
export class Crawl implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #scan: ReturnType<Items["store"]["beginScan"]>;

  constructor(parts: LongReplyParts) {
    this.#parts = parts;
    parts.items.counters.own[C.crawler_starts]++;
    this.#scan = parts.items.store.beginScan();
  }

  step(): boolean {
    const { items, spend } = this.#parts;
    const before = items.counters.own[C.crawler_items_checked]!;
    const ended = sweep(items, this.#scan);
    spend((items.counters.own[C.crawler_items_checked]! - before) * LOOK_UNITS);
    return ended && end(this.#parts, Say.OK);
  }
}
