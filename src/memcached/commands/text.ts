// The commands of the text protocol, each from its whole line (and value) to its reply. What is not
// whole yet is left where it is, and looked at again when more has come.
import { parseU64, U64 } from "../../base/u64.ts";
import type { Engine, EngineParts } from "../engine.ts";
import { expiryOf } from "../items/expiry.ts";
import * as Item from "../items/items.layout.ts";
import type { Items } from "../items/items.ts";
import * as Done from "../items/outcomes.ts";
import type { StoreMode } from "../items/requests.ts";
import * as Request from "../items/requests.ts";
import * as Command from "../protocol/commands.ts";
import { REPLY_BYTES_MAX, type Reply } from "../protocol/reply.ts";
import {
  ascii,
  equals,
  KEY_BYTES_MAX,
  LINE_BYTES_MAX,
  NEWLINE,
  parseSigned,
  parseU32,
  RETURN,
  SPACE,
} from "../protocol/text.ts";
import { Tokens } from "../protocol/tokens.ts";
import type { Session } from "../session.ts";
import { AdminCommands } from "./admin.ts";
import { MetaCommands } from "./meta.ts";
import * as Say from "./replies.ts";
import { textAuth } from "./text_auth.ts";

/** With these `get`, `gets`, `mg` and `mn` begin. */
const LETTER_G = 103;
const LETTER_M = 109;
const NOREPLY = ascii("noreply");
const ZERO = ascii("0");
const HTTP = ascii("HTTP/");
/** A key of a list takes as long as so many bytes of a reply. */
const KEY_UNITS = 64;
/** Before a command that begins a long list of keys, and before its time. */
const SPACES_MAX = 100;
/** More letters are no time. */
const TIME_BYTES_MAX = 64;
const VALUE_BYTES_LIMIT = 2 ** 31 - 3;

const STORE_MODE: Readonly<Record<number, StoreMode>> = {
  [Command.SET]: Request.SET,
  [Command.ADD]: Request.ADD,
  [Command.REPLACE]: Request.REPLACE,
  [Command.APPEND]: Request.APPEND,
  [Command.PREPEND]: Request.PREPEND,
  [Command.CAS]: Request.SET,
};

export class TextCommands {
  readonly #engine: Engine;
  readonly #parts: EngineParts;
  readonly #items: Items;
  readonly #reply: Reply;
  readonly #tokens = new Tokens();
  readonly #store = new Request.StoreRequest();
  readonly #delta = new Request.DeltaRequest();
  readonly #remove = new Request.RemoveRequest();
  readonly #cas = new U64();
  readonly #meta: MetaCommands;
  readonly #admin: AdminCommands;
  /** The command wants no reply. */
  #silent = false;

  constructor(engine: Engine, parts: EngineParts) {
    this.#engine = engine;
    this.#parts = parts;
    this.#items = parts.items;
    this.#reply = parts.reply;
    this.#meta = new MetaCommands(parts, this.#tokens);
    this.#admin = new AdminCommands(engine, parts, this.#tokens);
  }

  /** @returns how many bytes were used, 0 if the command is not complete */
  execute(session: Session, bytes: Uint8Array, from: number, to: number): number {
    if (session.keysOf !== 0) return this.#moreKeys(session, bytes, from, to);
    if (session.skipLine) return this.#skip(session, bytes, from, to);
    const plain = this.#plainGets(session, bytes, from, to);
    if (plain > 0) return plain;
    const tokens = this.#tokens;
    const whole = tokens.read(bytes, from, to);
    if ((whole ? tokens.next : to) - from > LINE_BYTES_MAX) {
      return this.#longLine(session, bytes, from, to);
    }
    if (!whole) return 0;
    session.lastCommandAt = this.#items.now;
    if (!session.authenticated) {
      const { credentials, stats } = this.#parts;
      return textAuth(session, bytes, from, to, tokens, { credentials, stats, reply: this.#reply });
    }
    this.#silent = false;
    return this.#dispatch(session, bytes, from, to);
  }

  /** Gets of items as they mostly are, many at once. @returns bytes that were used */
  #plainGets(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const first = bytes[from];
    if (first !== LETTER_G && first !== LETTER_M) return 0;
    if (!session.authenticated || this.#parts.stats.detailed) return 0;
    const used = this.#items.answerGets(bytes, from, to, this.#reply);
    if (used > 0) session.lastCommandAt = this.#items.now;
    return used;
  }

  #dispatch(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const tokens = this.#tokens;
    const used = tokens.next - from;
    // The longest reply that is not made of values or lists.
    this.#reply.room(REPLY_BYTES_MAX);
    if (tokens.count === 0) return this.#say(Say.ERROR, used);
    const command = Command.commandOf(bytes, tokens.from[0]!, tokens.to[0]!);
    switch (command) {
      case Command.GET:
      case Command.GETS:
      case Command.GAT:
      case Command.GATS:
        return this.#get(session, bytes, from, command);
      case Command.SET:
      case Command.ADD:
      case Command.REPLACE:
      case Command.APPEND:
      case Command.PREPEND:
      case Command.CAS:
        return this.#put(session, bytes, from, to, command);
      case Command.META_GET:
      case Command.META_SET:
      case Command.META_DELETE:
      case Command.META_ARITHMETIC:
      case Command.META_DEBUG:
      case Command.META_NOOP:
        return this.#meta.execute(command, session, bytes, from, to);
      case Command.DELETE:
        return this.#deleteItem(bytes, used);
      case Command.INCR:
      case Command.DECR:
        return this.#count(bytes, used, command === Command.INCR);
      case Command.TOUCH:
        return this.#touch(bytes, used);
      case Command.UNKNOWN:
        return this.#unknown(session, bytes, used);
      default:
        return this.#admin.execute(command, session, bytes, used);
    }
  }

  #say(line: Uint8Array, used: number): number {
    if (!this.#silent) this.#reply.literal(line);
    return used;
  }

  /** Whether the last token asks for silence, which then holds for errors too. */
  #mayBeSilent(bytes: Uint8Array): boolean {
    const tokens = this.#tokens;
    const last = tokens.count - 1;
    this.#silent = equals(bytes, tokens.from[last]!, tokens.to[last]!, NOREPLY);
    return this.#silent;
  }

  #unknown(session: Session, bytes: Uint8Array, used: number): number {
    const tokens = this.#tokens;
    const last = tokens.from[tokens.count - 1]!;
    // A browser, or somebody who would make one send commands: hang up.
    if (tokens.count > 1 && equals(bytes, last, last + HTTP.length, HTTP)) session.closing = true;
    else this.#reply.literal(Say.ERROR);
    return used;
  }

  /** Only a list of keys may be longer than a line: those are read one by one. */
  #longLine(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const begin = pastSpaces(bytes, from, to);
    let end = tokenEnd(bytes, begin, to);
    const command = Command.commandOf(bytes, begin, end);
    const isKeys = command >= Command.GET && command <= Command.GATS;
    const touches = command >= Command.GAT;
    const time = touches ? pastSpaces(bytes, end, to) : end;
    const isFarOff = begin - from > SPACES_MAX || time - end > SPACES_MAX;
    if (!session.authenticated || !isKeys || isFarOff) {
      session.closing = true;
      return to - from;
    }
    if (touches) {
      // No further than a number can be: so it does not matter where the line is cut.
      end = tokenEnd(bytes, time, time + TIME_BYTES_MAX);
      const given = parseSigned(bytes, time, end);
      if (Number.isNaN(given)) return this.#badKeys(session, Say.BAD_EXPTIME, end - from);
      session.keysExpires = expiryOf(given, this.#items.now);
    }
    session.keysOf = command;
    return end - from;
  }

  #skip(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const newline = bytes.subarray(from, to).indexOf(NEWLINE);
    if (newline < 0) return to - from;
    session.skipLine = false;
    return newline + 1;
  }

  #get(session: Session, bytes: Uint8Array, from: number, command: number): number {
    const tokens = this.#tokens;
    const touches = command >= Command.GAT;
    const first = touches ? 2 : 1;
    const used = tokens.next - from;
    if (tokens.count < 2) return this.#say(Say.ERROR, used);
    let expires = 0;
    if (touches) {
      const given = parseSigned(bytes, tokens.from[1]!, tokens.to[1]!);
      if (Number.isNaN(given)) return this.#say(Say.BAD_EXPTIME, used);
      expires = expiryOf(given, this.#items.now);
    }
    for (let i = first; i < tokens.count; i++) {
      if (tokens.length(i) > KEY_BYTES_MAX) return this.#say(Say.BAD_FORMAT, used);
    }
    for (let i = first; i < tokens.count; i++) {
      if (this.#engine.paused) {
        session.keysOf = command;
        session.keysExpires = expires;
        return tokens.from[i]! - from;
      }
      this.#getOne(bytes, tokens.from[i]!, tokens.to[i]!, command, expires);
    }
    this.#reply.room(REPLY_BYTES_MAX);
    this.#reply.literal(Say.END);
    return tokens.next - from;
  }

  #getOne(bytes: Uint8Array, from: number, to: number, command: number, expires: number): void {
    const items = this.#items;
    this.#engine.spend(KEY_UNITS);
    const found =
      command >= Command.GAT ? items.touch(bytes, from, to, expires) : items.get(bytes, from, to);
    if (this.#parts.stats.detailed) this.#parts.stats.prefixGet(bytes, from, to, found);
    if (!found) return;
    const reply = this.#reply;
    const { meta, store } = items;
    const { valueBytes } = store;
    reply.room(valueBytes + REPLY_BYTES_MAX);
    const begun = reply.at;
    reply.literal(Say.VALUE);
    reply.copy(bytes, from, to);
    reply.byte(SPACE);
    reply.u32(meta[Item.CLIENT_FLAGS]!);
    reply.byte(SPACE);
    reply.u32(valueBytes);
    if (command === Command.GETS || command === Command.GATS) {
      reply.byte(SPACE);
      reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
    }
    reply.literal(Say.CRLF);
    if (!store.read(reply.bytes, reply.at)) {
      // What can't be read is a miss.
      reply.at = begun;
      return;
    }
    reply.at += valueBytes;
    reply.literal(Say.CRLF);
  }

  /** Goes on with a list of keys whose beginning has been answered. */
  #moreKeys(session: Session, bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    while (at < to && !this.#engine.paused) {
      while (at < to && bytes[at] === SPACE) at++;
      let end = at;
      while (end < to && bytes[end] !== SPACE && bytes[end] !== NEWLINE) end++;
      // A key that is cut off may go on; one that is too long is not waited for.
      if (end === to && end - at <= KEY_BYTES_MAX + 1) return at - from;
      const ends = end < to && bytes[end] === NEWLINE;
      const keyEnd = ends && end > at && bytes[end - 1] === RETURN ? end - 1 : end;
      if (keyEnd - at > KEY_BYTES_MAX) return this.#badKeys(session, Say.BAD_FORMAT, end - from);
      if (keyEnd > at) this.#getOne(bytes, at, keyEnd, session.keysOf, session.keysExpires);
      at = end + 1;
      if (!ends) continue;
      this.#reply.room(REPLY_BYTES_MAX);
      this.#reply.literal(Say.END);
      session.keysOf = 0;
      break;
    }
    return at - from;
  }

  /** Refuses a list of keys. @param used up to where it was read, which is more than nothing */
  #badKeys(session: Session, error: Uint8Array, used: number): number {
    this.#reply.room(REPLY_BYTES_MAX);
    this.#reply.literal(error);
    session.keysOf = 0;
    session.skipLine = true;
    return used;
  }

  #put(session: Session, bytes: Uint8Array, from: number, to: number, command: number): number {
    const tokens = this.#tokens;
    const isCas = command === Command.CAS;
    const words = isCas ? 6 : 5;
    const used = tokens.next - from;
    if (tokens.count !== words && tokens.count !== words + 1) return this.#say(Say.ERROR, used);
    this.#mayBeSilent(bytes);
    const flags = parseU32(bytes, tokens.from[2]!, tokens.to[2]!);
    const exptime = parseSigned(bytes, tokens.from[3]!, tokens.to[3]!);
    const valueBytes = parseSigned(bytes, tokens.from[4]!, tokens.to[4]!);
    const wrong =
      tokens.length(1) > KEY_BYTES_MAX ||
      Number.isNaN(flags + exptime) ||
      !(valueBytes >= 0 && valueBytes <= VALUE_BYTES_LIMIT) ||
      (isCas && !parseU64(bytes, tokens.from[5]!, tokens.to[5]!, this.#cas));
    if (wrong) return this.#say(Say.BAD_FORMAT, used);
    const key = tokens.from[1]!;
    const keyTo = tokens.to[1]!;
    const items = this.#items;
    if (!items.fits(keyTo - key, valueBytes)) {
      const request = this.#store.reset(STORE_MODE[command]!);
      items.tooLarge(bytes, key, keyTo, request, command === Command.SET);
      session.swallow = valueBytes + 2;
      return this.#say(Say.TOO_LARGE, used);
    }
    const value = tokens.next;
    const end = value + valueBytes;
    if (end + 2 > to) {
      session.need = end + 2 - from;
      return 0;
    }
    if (this.#parts.stats.detailed) this.#parts.stats.prefixSet(bytes, key, keyTo);
    if (bytes[end] !== RETURN || bytes[end + 1] !== NEWLINE) {
      return this.#say(Say.BAD_CHUNK, end + 2 - from);
    }
    const request = this.#store.reset(STORE_MODE[command]!);
    request.clientFlags = flags;
    request.expires = expiryOf(exptime, items.now);
    request.hasCas = isCas;
    if (isCas) request.cas.set(this.#cas.high, this.#cas.low);
    const outcome = items.put(bytes, key, keyTo, bytes, value, end, request);
    return this.#say(Say.STORE_REPLY[outcome], end + 2 - from);
  }

  #deleteItem(bytes: Uint8Array, used: number): number {
    const tokens = this.#tokens;
    if (tokens.count < 2 || tokens.count > 4) return this.#say(Say.ERROR, used);
    if (tokens.count > 2) {
      const zero = equals(bytes, tokens.from[2]!, tokens.to[2]!, ZERO);
      const silent = this.#mayBeSilent(bytes);
      const valid = tokens.count === 3 ? zero || silent : zero && silent;
      if (!valid) return this.#say(Say.DELETE_USAGE, used);
    }
    if (tokens.length(1) > KEY_BYTES_MAX) return this.#say(Say.BAD_FORMAT, used);
    const key = tokens.from[1]!;
    const keyTo = tokens.to[1]!;
    if (this.#parts.stats.detailed) this.#parts.stats.prefixDelete(bytes, key, keyTo);
    const outcome = this.#items.remove(bytes, key, keyTo, this.#remove.reset());
    return this.#say(outcome === Done.DONE ? Say.DELETED : Say.NOT_FOUND, used);
  }

  #count(bytes: Uint8Array, used: number, increment: boolean): number {
    const tokens = this.#tokens;
    if (tokens.count !== 3 && tokens.count !== 4) return this.#say(Say.ERROR, used);
    this.#mayBeSilent(bytes);
    if (tokens.length(1) > KEY_BYTES_MAX) return this.#say(Say.BAD_FORMAT, used);
    const request = this.#delta.reset();
    request.increment = increment;
    if (!parseU64(bytes, tokens.from[2]!, tokens.to[2]!, request.delta)) {
      return this.#say(Say.BAD_DELTA, used);
    }
    const outcome = this.#items.delta(bytes, tokens.from[1]!, tokens.to[1]!, request);
    if (outcome !== Done.DONE) return this.#say(Say.STORE_REPLY[outcome], used);
    if (this.#silent) return used;
    const { number } = this.#items;
    this.#reply.u64(number.high, number.low);
    this.#reply.literal(Say.CRLF);
    return used;
  }

  #touch(bytes: Uint8Array, used: number): number {
    const tokens = this.#tokens;
    if (tokens.count !== 3 && tokens.count !== 4) return this.#say(Say.ERROR, used);
    this.#mayBeSilent(bytes);
    if (tokens.length(1) > KEY_BYTES_MAX) return this.#say(Say.BAD_FORMAT, used);
    const exptime = parseSigned(bytes, tokens.from[2]!, tokens.to[2]!);
    if (Number.isNaN(exptime)) return this.#say(Say.BAD_EXPTIME, used);
    const items = this.#items;
    const expires = expiryOf(exptime, items.now);
    const found = items.touch(bytes, tokens.from[1]!, tokens.to[1]!, expires);
    return this.#say(found ? Say.TOUCHED : Say.NOT_FOUND, used);
  }
}

function pastSpaces(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] === SPACE) at++;
  return at;
}

/** Behind the token that begins at `from`. */
function tokenEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at]! > SPACE) at++;
  return at;
}
