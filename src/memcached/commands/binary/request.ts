// A request of the binary protocol: its header, and extras, key and value behind it. A command is a
// function of a request. Each thread has one request and fills it again, so that a command
// allocates nothing.

import * as Item from "../../items/items.layout.ts";
import type { Items } from "../../items/items.ts";
import { expiryOf } from "../../items/lifetime.ts";
import * as Change from "../../items/requests.ts";
import * as Op from "../../protocol/binary.ts";
import { BinaryHeader, HEADER_BYTES, readU32 } from "../../protocol/binary.ts";
import { REPLY_BYTES_MAX, type Reply } from "../../protocol/reply.ts";
import { Session } from "../../session.ts";
import type { CommandParts, Turn } from "../contract.ts";

const NOTHING = new Uint8Array(0);

export class BinaryRequest {
  readonly parts: CommandParts;
  readonly items: Items;
  readonly reply: Reply;
  readonly turn: Turn;
  readonly header = new BinaryHeader();
  session = new Session();
  bytes: Uint8Array = NOTHING;
  /** Where the header stands in `bytes`. */
  from = 0;
  /** Filled by a command for `items`; a command uses one of them. */
  readonly store = new Change.StoreRequest();
  readonly delta = new Change.DeltaRequest();
  readonly remove = new Change.RemoveRequest();

  constructor(turn: Turn, parts: CommandParts) {
    this.turn = turn;
    this.parts = parts;
    this.items = parts.items;
    this.reply = parts.reply;
  }

  get keyFrom(): number {
    return this.from + HEADER_BYTES + this.header.extrasBytes;
  }

  /** Where the key ends and the value begins. */
  get keyTo(): number {
    return this.keyFrom + this.header.keyBytes;
  }

  get valueTo(): number {
    return this.from + HEADER_BYTES + this.header.bodyBytes;
  }

  /** The number that stands so many bytes into the extras. */
  extra(offset: number): number {
    return readU32(this.bytes, this.from + HEADER_BYTES + offset);
  }

  /** The same, as an expiry in seconds since 1970. */
  expiry(offset: number): number {
    return expiryOf(this.extra(offset), this.items.now);
  }

  /** Writes the header of a successful reply, with the cas number of the item. */
  beginItem(keyBytes: number, extrasBytes: number, bodyBytes: number): void {
    const { header, reply, items } = this;
    header.writeReply(reply, Op.OK, keyBytes, extrasBytes, bodyBytes);
    header.writeReplyCas(reply, items.meta[Item.CAS_HIGH]!, items.meta[Item.CAS_LOW]!);
  }

  fail(status: number): void {
    const text = Op.STATUS_TEXT.get(status) ?? NOTHING;
    this.header.writeReply(this.reply, status, 0, 0, text.length);
    this.reply.literal(text);
  }

  succeed(value: Uint8Array): void {
    this.reply.room(value.length + REPLY_BYTES_MAX);
    this.header.writeReply(this.reply, Op.OK, 0, 0, value.length);
    this.reply.literal(value);
  }

  /** `succeed` without a value; the quiet form of a command says nothing. */
  succeedUnlessQuiet(): void {
    if (!this.header.quiet) this.succeed(NOTHING);
  }
}

/** What the protocol says of an outcome that is not DONE, for a change of this mode. */
export function statusOf(outcome: Change.Outcome, mode: Change.StoreMode): number {
  switch (outcome) {
    case Change.NOT_FOUND:
      return Op.KEY_NOT_FOUND;
    case Change.EXISTS:
      return Op.KEY_EXISTS;
    case Change.TOO_LARGE:
      return Op.VALUE_TOO_LARGE;
    case Change.NO_MEMORY:
      return Op.OUT_OF_MEMORY;
    case Change.NOT_NUMBER:
      return Op.NOT_NUMBER;
    default:
      if (mode === Change.ADD) return Op.KEY_EXISTS;
      return mode === Change.REPLACE ? Op.KEY_NOT_FOUND : Op.NOT_STORED;
  }
}
