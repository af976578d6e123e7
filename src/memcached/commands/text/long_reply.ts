// Replies that list all items, or a long table. They are written some lines at a time, so that
// other connections have their turns in between, and nothing is made for a client that does not
// read.
import { C } from "../../items/counters.ts";
import * as Item from "../../items/items.layout.ts";
import type { Items } from "../../items/items.ts";
import type { ItemScan } from "../../items/shards.ts";
import { sweep } from "../../items/sweep.ts";
import { encodeBase64 } from "../../protocol/base64.ts";
import { encodeKey, isPlainKey, printableKey } from "../../protocol/key_text.ts";
import { REPLY_BYTES_MAX, type Reply } from "../../protocol/reply.ts";
import type { LongReply } from "../../session.ts";
import type { Turn } from "../contract.ts";
import * as Say from "./replies.ts";

/** memcached has many classes of items, by number; here all items are in this one. */
export const ITEM_CLASS = 1;
export const ITEM_CLASSES_END = 64;

/** One line of a list costs as much as so many bytes of a reply. */
const LINE_UNITS = 400;
/** And an item that was looked at for nothing. */
const LOOK_UNITS = 50;
const PREFIXES_AT_A_TIME = 50;

/** What a long reply needs of the request, which is used for others before the reply ends. */
interface LongReplyParts {
  readonly items: Items;
  readonly reply: Reply;
  readonly turn: Turn;
}

function line({ reply, turn }: LongReplyParts, text: string): void {
  reply.room(text.length + REPLY_BYTES_MAX);
  reply.text(text);
  turn.spend(LINE_UNITS);
}

function end({ reply }: LongReplyParts, last: Uint8Array): true {
  reply.room(REPLY_BYTES_MAX);
  reply.literal(last);
  return true;
}

/** What a list says of the item that was met: its line. */
type LineOf = (items: Items, key: Uint8Array) => string;

/** A line for each item, or for some. */
class ItemList implements LongReply {
  readonly #parts: LongReplyParts;
  readonly #lineOf: LineOf;
  readonly #last: Uint8Array;
  readonly #scan: ItemScan;
  #left: number;

  constructor(parts: LongReplyParts, lineOf: LineOf, last: Uint8Array, itemsMax: number) {
    this.#parts = parts;
    this.#lineOf = lineOf;
    this.#last = last;
    this.#scan = parts.items.beginScan();
    this.#left = itemsMax;
  }

  step(): boolean {
    const { items, turn } = this.#parts;
    const ended = items.scan(this.#scan, (key) => {
      turn.spend(LOOK_UNITS);
      if (!items.isAlive() || this.#left <= 0) return;
      this.#left--;
      line(this.#parts, this.#lineOf(items, key));
    });
    return (ended || this.#left <= 0) && end(this.#parts, this.#last);
  }
}

/** `lru_crawler metadump`: a line for each item. */
export function metaDump(parts: LongReplyParts): LongReply {
  return new ItemList(parts, metaLineOf, Say.END, Number.POSITIVE_INFINITY);
}

/** `lru_crawler mgdump`: a command for each item that gets it. */
export function metaGetDump(parts: LongReplyParts): LongReply {
  return new ItemList(parts, getLineOf, Say.EN, Number.POSITIVE_INFINITY);
}

/** `stats cachedump`: a line for each of some items. */
export function cacheDump(parts: LongReplyParts, itemsMax: number): LongReply {
  return new ItemList(parts, cacheLineOf, Say.END, itemsMax);
}

function metaLineOf({ meta, valueBytes, now }: Items, key: Uint8Array): string {
  const high = meta[Item.CAS_HIGH]!;
  const low = meta[Item.CAS_LOW]!;
  const cas = high === 0 ? low : (BigInt(high) << 32n) | BigInt(low);
  const fetched = (meta[Item.BITS]! & Item.FETCHED) !== 0 ? "yes" : "no";
  const expires = meta[Item.EXPIRES] === 0 ? -1 : meta[Item.EXPIRES];
  const size = key.length + valueBytes;
  return (
    `key=${encodeKey(key)} exp=${expires} la=${Math.min(now, meta[Item.ACCESSED]!)} cas=${cas} ` +
    `fetch=${fetched} cls=1 size=${size}\n`
  );
}

function getLineOf({ meta }: Items, key: Uint8Array): string {
  const isText = (meta[Item.BITS]! & Item.KEY_BINARY) === 0 && isPlainKey(key);
  return isText ? `mg ${printableKey(key)}\r\n` : `mg ${base64(key)} b\r\n`;
}

function cacheLineOf({ meta, valueBytes }: Items, key: Uint8Array): string {
  return `ITEM ${printableKey(key)} [${valueBytes} b; ${meta[Item.EXPIRES]!} s]\r\n`;
}

function base64(key: Uint8Array): string {
  const letters = new Uint8Array(REPLY_BYTES_MAX);
  const to = encodeBase64(key, 0, key.length, letters, 0);
  return String.fromCharCode(...letters.subarray(0, to));
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
  readonly #scan: ItemScan;

  constructor(parts: LongReplyParts) {
    this.#parts = parts;
    parts.items.counters.own[C.crawler_starts]!++;
    this.#scan = parts.items.beginScan();
  }

  step(): boolean {
    const { items, turn } = this.#parts;
    const before = items.counters.own[C.crawler_items_checked]!;
    const ended = sweep(items, this.#scan);
    turn.spend((items.counters.own[C.crawler_items_checked]! - before) * LOOK_UNITS);
    return ended && end(this.#parts, Say.OK);
  }
}
