// The meta commands: mg, ms, md, ma, me and mn. Flags are read into numbers first; the reply goes
// over the tokens again, because its flags stand in the order in which they were asked for.

import type { EngineParts } from "../engine.ts";
import { expiryOf } from "../items/expiry.ts";
import * as Item from "../items/items.layout.ts";
import type { Items } from "../items/items.ts";
import type { Outcome } from "../items/outcomes.ts";
import * as Done from "../items/outcomes.ts";
import type { StoreMode } from "../items/requests.ts";
import * as Request from "../items/requests.ts";
import { decodeBase64, encodeBase64 } from "../protocol/base64.ts";
import * as Command from "../protocol/commands.ts";
import * as Flag from "../protocol/meta_flags.ts";
import { MetaFlags } from "../protocol/meta_flags.ts";
import { REPLY_BYTES_MAX, type Reply } from "../protocol/reply.ts";
import { ascii, KEY_BYTES_MAX, NEWLINE, parseSigned, RETURN, SPACE } from "../protocol/text.ts";
import type { Tokens } from "../protocol/tokens.ts";
import type { Session } from "../session.ts";
import * as Say from "./replies.ts";

const VALUE_BYTES_LIMIT = 2 ** 31 - 3;
const HD = ascii("HD");
const VA = ascii("VA ");
const NEVER = ascii("-1");
const LETTER_W = 87;
const LETTER_X = 88;
const LETTER_Z = 90;
const DIGIT_0 = 48;
const ME_EXPIRES = ascii(" exp=");
const ME_ACCESSED = ascii(" la=");
const ME_CAS = ascii(" cas=");
const ME_FETCHED = ascii(" fetch=yes");
const ME_NOT_FETCHED = ascii(" fetch=no");
const ME_SIZE = ascii(" cls=1 size=");
const ME = ascii("ME ");
const NO_CAS = 0;

const FLAG_ERRORS: Readonly<Record<number, Uint8Array>> = {
  [Flag.FLAGS_TOO_MANY]: Say.FLAGS_TOO_LONG,
  [Flag.FLAG_TWICE]: Say.FLAG_TWICE,
  [Flag.FLAG_UNKNOWN]: Say.FLAG_UNKNOWN,
  [Flag.FLAG_BAD_TOKEN]: Say.FLAG_BAD_TOKEN,
  [Flag.FLAG_BAD_MODE]: Say.FLAG_BAD_MODE_LENGTH,
  [Flag.FLAG_BAD_INITIAL]: Say.FLAG_BAD_INITIAL,
  [Flag.FLAG_BAD_DELTA]: Say.FLAG_BAD_DELTA,
  [Flag.FLAG_LONG_OPAQUE]: Say.FLAG_LONG_OPAQUE,
  [Flag.FLAG_BAD_FORMAT]: Say.BAD_FORMAT,
};

/** The letter behind M of `ms`, small letters as newer servers take them. */
function storeModeOf(letter: number): StoreMode | undefined {
  switch (letter & ~0x20) {
    case 0:
    case 83: // S
      return Request.SET;
    case 69: // E
      return Request.ADD;
    case 82: // R
      return Request.REPLACE;
    case 65: // A
      return Request.APPEND;
    case 80: // P
      return Request.PREPEND;
    default:
      return undefined;
  }
}

/** The letter or sign behind M of `ma`: whether it adds. */
function incrementOf(letter: number): boolean | undefined {
  switch (letter) {
    case 0:
    case 73: // I
    case 105: // i
    case 43: // +
      return true;
    case 68: // D
    case 100: // d
    case 45: // -
      return false;
    default:
      return undefined;
  }
}

export class MetaCommands {
  readonly #items: Items;
  readonly #reply: Reply;
  readonly #parts: EngineParts;
  readonly #tokens: Tokens;
  readonly #flags = new MetaFlags();
  readonly #store = new Request.StoreRequest();
  readonly #get = new Request.GetRequest();
  readonly #delta = new Request.DeltaRequest();
  readonly #remove = new Request.RemoveRequest();
  readonly #decoded = new Uint8Array(KEY_BYTES_MAX);
  /** The key of the command: in the line, or decoded. */
  #key: Uint8Array = this.#decoded;
  #keyFrom = 0;
  #keyTo = 0;

  constructor(parts: EngineParts, tokens: Tokens) {
    this.#parts = parts;
    this.#items = parts.items;
    this.#reply = parts.reply;
    this.#tokens = tokens;
  }

  /** As TextCommands.execute; the line is whole, and there is room for a reply. */
  execute(command: number, session: Session, bytes: Uint8Array, from: number, to: number): number {
    const tokens = this.#tokens;
    const used = tokens.next - from;
    if (command === Command.META_NOOP) return this.#say(Say.MN, used);
    if (tokens.count < 2) {
      const bare = command === Command.META_DEBUG ? Say.BAD_FORMAT : Say.ERROR;
      return this.#say(bare, used);
    }
    if (tokens.length(1) > KEY_BYTES_MAX) return this.#say(Say.BAD_FORMAT, used);
    if (command === Command.META_SET) return this.#metaSet(session, bytes, from, to);
    const error = this.#readFlags(bytes, 2);
    if (command === Command.META_DEBUG) {
      if (error === Say.FLAG_BAD_KEY) return this.#say(Say.BAD_FORMAT, used);
    } else if (error !== undefined) {
      // memcached says of these two only that something is wrong.
      const isVague = command === Command.META_DELETE || command === Command.META_ARITHMETIC;
      return this.#say(isVague && error !== Say.FLAG_LONG_OPAQUE ? Say.FLAG_WRONG : error, used);
    }
    const { quiet } = this.#flags;
    const begun = this.#reply.at;
    if (command === Command.META_GET) this.#metaGet(bytes);
    else if (command === Command.META_DELETE) {
      if (this.#metaDelete(bytes) && quiet) this.#reply.at = begun;
    } else if (command === Command.META_ARITHMETIC) {
      if (this.#metaArithmetic(bytes) && quiet) this.#reply.at = begun;
    } else this.#metaDebug();
    return used;
  }

  #say(line: Uint8Array, used: number): number {
    this.#reply.literal(line);
    return used;
  }

  /** @returns what is wrong, if anything */
  #readFlags(bytes: Uint8Array, first: number): Uint8Array | undefined {
    const tokens = this.#tokens;
    const flags = this.#flags;
    const error = flags.read(bytes, tokens, first);
    if (error === Flag.FLAG_TWICE || error === Flag.FLAG_UNKNOWN) return FLAG_ERRORS[error];
    this.#key = bytes;
    this.#keyFrom = tokens.from[1]!;
    this.#keyTo = tokens.to[1]!;
    if (!flags.keyBinary) return FLAG_ERRORS[error];
    const length = decodeBase64(bytes, this.#keyFrom, this.#keyTo, this.#decoded, 0);
    // Of two errors the later one is told.
    if (length === 0 && flags.errorAt < flags.keyBinaryAt) return Say.FLAG_BAD_KEY;
    if (error !== Flag.FLAGS_GOOD) return FLAG_ERRORS[error];
    this.#key = this.#decoded;
    this.#keyFrom = 0;
    this.#keyTo = length;
    return undefined;
  }

  /** What all changes may ask; the expiry is 0, for never, where it is not said. */
  #fill(request: Request.ChangeRequest): void {
    const flags = this.#flags;
    const { now } = this.#items;
    request.keyBinary = flags.keyBinary;
    request.hasCas = flags.hasCas;
    if (flags.hasCas) request.cas.set(flags.cas.high, flags.cas.low);
    request.hasNewCas = flags.hasNewCas;
    if (flags.hasNewCas) request.newCas.set(flags.newCas.high, flags.newCas.low);
    request.hasExpires = flags.hasExpiry;
    if (flags.hasExpiry) request.expires = expiryOf(flags.expiry, now);
    request.vivify = flags.hasVivify;
    request.vivifyLast = flags.vivifyLast;
    if (flags.hasVivify) request.vivifyExpires = expiryOf(flags.vivify, now);
  }

  #metaGet(bytes: Uint8Array): void {
    const flags = this.#flags;
    const items = this.#items;
    const reply = this.#reply;
    const request = this.#get.reset();
    let found: boolean;
    if (flags.special) {
      this.#fill(request);
      request.noBump = flags.noBump;
      request.hasRecache = flags.hasRecache;
      if (flags.hasRecache) request.recacheBefore = expiryOf(flags.recache, items.now);
      request.touchFirst = flags.touchFirst;
      found = items.metaGet(this.#key, this.#keyFrom, this.#keyTo, request);
    } else found = this.#plainGet(request);
    if (!found) {
      this.#metaMiss(bytes);
      return;
    }
    const { store } = items;
    const { valueBytes } = store;
    reply.room((flags.value ? valueBytes : 0) + REPLY_BYTES_MAX);
    const begun = reply.at;
    if (flags.value) {
      reply.literal(VA);
      reply.u32(valueBytes);
    } else reply.literal(HD);
    this.#getFlags(bytes, request);
    reply.literal(Say.CRLF);
    if (!flags.value) return;
    if (!store.read(reply.bytes, reply.at)) {
      reply.at = begun;
      this.#metaMiss(bytes);
      return;
    }
    reply.at += valueBytes;
    reply.literal(Say.CRLF);
  }

  /** A stale item needs the whole look, because somebody may win. */
  #plainGet(request: Request.GetRequest): boolean {
    const items = this.#items;
    const found = items.get(this.#key, this.#keyFrom, this.#keyTo);
    if (!found || (items.meta[Item.BITS]! & Item.STALE) === 0) {
      request.expiresBefore = items.meta[Item.EXPIRES]!;
      return found;
    }
    request.isCounted = true;
    return items.metaGet(this.#key, this.#keyFrom, this.#keyTo, request);
  }

  #metaMiss(bytes: Uint8Array): void {
    if (this.#flags.quiet) return;
    this.#reply.literal(Say.NO_VALUE);
    this.#identity(bytes, 2);
    this.#reply.literal(Say.CRLF);
  }

  /** The opaque token and the key, which every reply gives back. */
  #identity(bytes: Uint8Array, first: number): void {
    const tokens = this.#tokens;
    for (let i = first; i < tokens.count; i++) {
      this.#identityFlag(bytes, i, bytes[tokens.from[i]!]!);
    }
  }

  #identityFlag(bytes: Uint8Array, token: number, letter: number): void {
    const tokens = this.#tokens;
    const reply = this.#reply;
    if (letter === Flag.FLAG_O) {
      reply.byte(SPACE);
      reply.copy(bytes, tokens.from[token]!, tokens.to[token]!);
    } else if (letter === Flag.FLAG_k) {
      reply.flag(Flag.FLAG_k);
      if (!this.#flags.keyBinary) {
        reply.copy(this.#key, this.#keyFrom, this.#keyTo);
        return;
      }
      const { bytes: target, at } = reply;
      reply.at = encodeBase64(this.#key, this.#keyFrom, this.#keyTo, target, at);
      reply.flag(Flag.FLAG_b);
    }
  }

  #getFlags(bytes: Uint8Array, request: Request.GetRequest): void {
    const tokens = this.#tokens;
    const reply = this.#reply;
    const { meta, store, now } = this.#items;
    // Each of T and N counts from where it stands.
    let expires = request.created ? 0 : request.expiresBefore;
    for (let i = 2; i < tokens.count; i++) {
      const letter = bytes[tokens.from[i]!]!;
      switch (letter) {
        case Flag.FLAG_T:
          expires = request.expires;
          break;
        case Flag.FLAG_N:
          if (request.created) expires = request.vivifyExpires;
          break;
        case Flag.FLAG_s:
          reply.flag(letter);
          reply.u32(store.valueBytes);
          break;
        case Flag.FLAG_t:
          this.#timeLeft(expires);
          break;
        case Flag.FLAG_c:
          reply.flag(letter);
          reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
          break;
        case Flag.FLAG_f:
          reply.flag(letter);
          reply.u32(meta[Item.CLIENT_FLAGS]!);
          break;
        case Flag.FLAG_l:
          reply.flag(letter);
          reply.u32(Math.max(0, now - request.accessedBefore));
          break;
        case Flag.FLAG_h:
          reply.flag(letter);
          reply.byte(request.wasFetched ? DIGIT_0 + 1 : DIGIT_0);
          break;
        default:
          this.#identityFlag(bytes, i, letter);
      }
    }
    const bits = meta[Item.BITS]!;
    if ((bits & Item.TOKEN_SENT) !== 0) reply.flag(LETTER_Z);
    if ((bits & Item.STALE) !== 0) reply.flag(LETTER_X);
    if (request.won) reply.flag(LETTER_W);
  }

  #timeLeft(expires: number): void {
    this.#reply.flag(Flag.FLAG_t);
    if (expires === 0) this.#reply.literal(NEVER);
    else this.#reply.u32(Math.max(0, expires - this.#items.now));
  }

  #metaSet(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const tokens = this.#tokens;
    const flags = this.#flags;
    const used = tokens.next - from;
    const valueBytes = tokens.count < 3 ? -1 : parseSigned(bytes, tokens.from[2]!, tokens.to[2]!);
    if (!(valueBytes >= 0 && valueBytes <= VALUE_BYTES_LIMIT)) {
      return this.#say(Say.BAD_FORMAT, used);
    }
    const error = this.#readFlags(bytes, 3);
    const mode = storeModeOf(flags.mode);
    if (error !== undefined || mode === undefined) {
      session.swallow = valueBytes + 2;
      return this.#say(error ?? Say.BAD_SET_MODE, used);
    }
    const items = this.#items;
    if (!items.fits(this.#keyTo - this.#keyFrom, valueBytes)) {
      items.tooLarge(this.#key, this.#keyFrom, this.#keyTo, this.#store.reset(mode));
      session.swallow = valueBytes + 2;
      return this.#say(Say.TOO_LARGE, used);
    }
    const value = tokens.next;
    const end = value + valueBytes;
    if (end + 2 > to) {
      session.need = end + 2 - from;
      return 0;
    }
    const whole = end + 2 - from;
    if (bytes[end] !== RETURN || bytes[end + 1] !== NEWLINE) return this.#say(Say.BAD_CHUNK, whole);
    const request = this.#store.reset(mode);
    this.#fill(request);
    request.clientFlags = flags.clientFlags;
    request.invalidate = flags.invalidate;
    const outcome = items.put(this.#key, this.#keyFrom, this.#keyTo, bytes, value, end, request);
    this.#setReply(bytes, outcome, valueBytes);
    return whole;
  }

  #setReply(bytes: Uint8Array, outcome: Outcome, valueBytes: number): void {
    const reply = this.#reply;
    const tokens = this.#tokens;
    if (outcome === Done.DONE && this.#flags.quiet) return;
    const code = Say.META_REPLY[outcome];
    if (code === undefined) {
      reply.literal(Say.STORE_REPLY[outcome]);
      return;
    }
    const { meta } = this.#items;
    reply.literal(code);
    for (let i = 3; i < tokens.count; i++) {
      const letter = bytes[tokens.from[i]!]!;
      if (letter === Flag.FLAG_c) {
        reply.flag(letter);
        if (outcome === Done.DONE) reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
        else reply.u32(NO_CAS);
      } else if (letter === Flag.FLAG_s) {
        reply.flag(letter);
        reply.u32(valueBytes);
      } else this.#identityFlag(bytes, i, letter);
    }
    reply.literal(Say.CRLF);
  }

  /** @returns whether a quiet command says nothing of it */
  #metaDelete(bytes: Uint8Array): boolean {
    const flags = this.#flags;
    const request = this.#remove.reset();
    this.#fill(request);
    request.invalidate = flags.invalidate;
    request.emptied = flags.emptied;
    request.byMeta = true;
    const outcome = this.#items.remove(this.#key, this.#keyFrom, this.#keyTo, request);
    const code = Say.META_REPLY[outcome];
    if (code === undefined) {
      this.#reply.literal(Say.STORE_REPLY[outcome]);
      return false;
    }
    this.#reply.literal(code);
    this.#identity(bytes, 2);
    this.#reply.literal(Say.CRLF);
    return outcome === Done.DONE;
  }

  /** @returns whether a quiet command says nothing of it */
  #metaArithmetic(bytes: Uint8Array): boolean {
    const flags = this.#flags;
    const reply = this.#reply;
    const increment = incrementOf(flags.mode);
    if (increment === undefined) {
      reply.literal(Say.BAD_DELTA_MODE);
      return false;
    }
    const request = this.#delta.reset();
    this.#fill(request);
    // A cas of 0 compares with nothing.
    request.hasCas = flags.hasCas && !flags.cas.isZero;
    request.increment = increment;
    request.delta.set(flags.delta.high, flags.delta.low);
    request.initial.set(flags.initial.high, flags.initial.low);
    const outcome = this.#items.delta(this.#key, this.#keyFrom, this.#keyTo, request);
    if (outcome === Done.DONE) {
      this.#arithmeticReply(bytes, request);
      // As memcached: of an item that was made it tells.
      return !request.created;
    }
    const code = Say.META_REPLY[outcome];
    if (code === undefined) reply.literal(Say.STORE_REPLY[outcome]);
    else {
      reply.literal(code);
      this.#identity(bytes, 2);
      reply.literal(Say.CRLF);
    }
    return false;
  }

  #arithmeticReply(bytes: Uint8Array, request: Request.DeltaRequest): void {
    const reply = this.#reply;
    const tokens = this.#tokens;
    const { meta, number } = this.#items;
    const digitsAt = reply.at;
    reply.u64(number.high, number.low);
    const digits = reply.at - digitsAt;
    reply.at = digitsAt;
    if (this.#flags.value) {
      reply.literal(VA);
      reply.u32(digits);
    } else reply.literal(HD);
    let expires = request.created ? 0 : request.expiresBefore;
    for (let i = 2; i < tokens.count; i++) {
      const letter = bytes[tokens.from[i]!]!;
      if (letter === Flag.FLAG_c) {
        reply.flag(letter);
        reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
      } else if (letter === Flag.FLAG_t) this.#timeLeft(expires);
      else if (letter === Flag.FLAG_T) expires = request.expires;
      else if (letter === Flag.FLAG_N && request.created) expires = request.vivifyExpires;
      else this.#identityFlag(bytes, i, letter);
    }
    reply.literal(Say.CRLF);
    if (!this.#flags.value) return;
    reply.u64(number.high, number.low);
    reply.literal(Say.CRLF);
  }

  #metaDebug(): void {
    const reply = this.#reply;
    const items = this.#items;
    this.#parts.stats.countMeta();
    if (!items.peek(this.#key, this.#keyFrom, this.#keyTo)) {
      reply.literal(Say.EN);
      return;
    }
    const { meta, now } = items;
    reply.literal(ME);
    // Who asks by base64 reads base64: the key may hold what would end the line.
    if (this.#flags.keyBinary || (meta[Item.BITS]! & Item.KEY_BINARY) !== 0) {
      reply.at = encodeBase64(this.#key, this.#keyFrom, this.#keyTo, reply.bytes, reply.at);
    } else reply.copy(this.#key, this.#keyFrom, this.#keyTo);
    const expires = meta[Item.EXPIRES]!;
    reply.literal(ME_EXPIRES);
    if (expires === 0) reply.literal(NEVER);
    else reply.u32(Math.max(0, expires - now));
    reply.literal(ME_ACCESSED);
    reply.u32(Math.max(0, now - meta[Item.ACCESSED]!));
    reply.literal(ME_CAS);
    reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
    reply.literal((meta[Item.BITS]! & Item.FETCHED) !== 0 ? ME_FETCHED : ME_NOT_FETCHED);
    reply.literal(ME_SIZE);
    reply.u32(this.#keyTo - this.#keyFrom + items.store.valueBytes);
    reply.literal(Say.CRLF);
  }
}
