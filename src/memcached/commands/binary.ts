// The commands of the binary protocol, which memcached calls deprecated, and which memjs,
// spymemcached and libmemcached still speak. The same items as the text protocol's; the header is
// drawn in binary.layout.ts.
import { U64 } from "../../base/u64.ts";
import type { Engine, EngineParts } from "../engine.ts";
import { expiryOf } from "../items/expiry.ts";
import * as Item from "../items/items.layout.ts";
import type { Items } from "../items/items.ts";
import type { Outcome } from "../items/outcomes.ts";
import * as Done from "../items/outcomes.ts";
import * as Request from "../items/requests.ts";
import * as Header from "../protocol/binary.layout.ts";
import * as Op from "../protocol/binary.ts";
import { BinaryHeader, readU32, writeBigEndian } from "../protocol/binary.ts";
import { REPLY_BYTES_MAX, type Reply } from "../protocol/reply.ts";
import { ascii, equals, KEY_BYTES_MAX } from "../protocol/text.ts";
import type { Session } from "../session.ts";
import { VERSION } from "./stats.ts";

const NOTHING = new Uint8Array(0);
const VERSION_TEXT = ascii(VERSION);
const MECHANISMS = ascii("PLAIN");
const AUTHENTICATED = ascii("Authenticated");
/** Name, password and identity of SASL PLAIN. */
const SECRET_BYTES_MAX = 1024;
const FLAGS_BYTES = 4;
const NUMBER_BYTES = 8;
/** Figures of the whole store take as long as so many bytes of a reply. */
const STATS_UNITS = 32_768;
/** An expiry with this value in incr and decr: do not make what is not there. */
const NO_VIVIFY = 0xffff_ffff;

export class BinaryCommands {
  readonly #engine: Engine;
  readonly #parts: EngineParts;
  readonly #items: Items;
  readonly #reply: Reply;
  readonly #header = new BinaryHeader();
  readonly #store = new Request.StoreRequest();
  readonly #delta = new Request.DeltaRequest();
  readonly #remove = new Request.RemoveRequest();
  readonly #noCas = new U64();
  /** What is being read, and where its header stands. */
  #bytes: Uint8Array = NOTHING;
  #at = 0;

  constructor(engine: Engine, parts: EngineParts) {
    this.#engine = engine;
    this.#parts = parts;
    this.#items = parts.items;
    this.#reply = parts.reply;
  }

  /** As TextCommands.execute. */
  execute(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const header = this.#header;
    if (to - from < Header.HEADER_BYTES) {
      if (bytes[from] === Header.REQUEST) return 0;
      session.closing = true;
      return to - from;
    }
    header.read(bytes, from);
    if (header.magic !== Header.REQUEST) {
      session.closing = true;
      return to - from;
    }
    this.#bytes = bytes;
    this.#at = from;
    session.lastCommandAt = this.#items.now;
    this.#reply.room(REPLY_BYTES_MAX);
    const { keyBytes, extrasBytes, bodyBytes } = header;
    if (keyBytes + extrasBytes > bodyBytes) return this.#hangUp(session, Op.UNKNOWN_COMMAND);
    if (keyBytes > KEY_BYTES_MAX) return this.#hangUp(session, Op.INVALID);
    if (!session.authenticated && !allowedToStrangers(header.operation)) {
      return this.#hangUp(session, Op.AUTH_ERROR);
    }
    const whole = Header.HEADER_BYTES + bodyBytes;
    if (!this.#isWellFormed()) return this.#malformed(session, whole);
    if (header.valueBytes > 0 && !this.#fits()) {
      session.swallow = whole;
      return this.#refuse(session, from, to);
    }
    if (to - from < whole) {
      session.need = whole;
      return 0;
    }
    this.#dispatch(session);
    return whole;
  }

  get #keyFrom(): number {
    return this.#at + Header.HEADER_BYTES + this.#header.extrasBytes;
  }

  get #keyTo(): number {
    return this.#keyFrom + this.#header.keyBytes;
  }

  #fits(): boolean {
    const { keyBytes, valueBytes, operation } = this.#header;
    if (operation === Op.SASL_AUTH || operation === Op.SASL_STEP) {
      return valueBytes <= SECRET_BYTES_MAX;
    }
    return this.#items.fits(keyBytes, valueBytes);
  }

  /** A value that is too large: its key must have come, so that what is there can go. */
  #refuse(session: Session, from: number, to: number): number {
    const { operation } = this.#header;
    const keyed = Header.HEADER_BYTES + this.#header.extrasBytes + this.#header.keyBytes;
    if (to - from < keyed) {
      session.swallow = 0;
      session.need = keyed;
      return 0;
    }
    if (operation !== Op.SASL_AUTH && operation !== Op.SASL_STEP) {
      this.#items.tooLarge(this.#bytes, this.#keyFrom, this.#keyTo);
    }
    this.#fail(Op.VALUE_TOO_LARGE);
    session.swallow -= keyed;
    return keyed;
  }

  /** Whether extras, key and value are of the lengths that the operation has. */
  #isWellFormed(): boolean {
    const { operation, keyBytes, extrasBytes, valueBytes } = this.#header;
    switch (operation) {
      case Op.SET:
      case Op.ADD:
      case Op.REPLACE:
        return extrasBytes === 8 && keyBytes > 0;
      case Op.APPEND:
      case Op.PREPEND:
        return extrasBytes === 0 && keyBytes > 0;
      case Op.GET:
      case Op.GETK:
      case Op.DELETE:
        return extrasBytes === 0 && keyBytes > 0 && valueBytes === 0;
      case Op.INCREMENT:
      case Op.DECREMENT:
        return extrasBytes === 20 && keyBytes > 0 && valueBytes === 0;
      case Op.TOUCH:
      case Op.GAT:
      case Op.GATK:
        return extrasBytes === 4 && keyBytes > 0 && valueBytes === 0;
      case Op.FLUSH:
        return (extrasBytes === 0 || extrasBytes === 4) && keyBytes + valueBytes === 0;
      case Op.VERBOSITY:
        return extrasBytes === 4 && keyBytes + valueBytes === 0;
      case Op.STAT:
        return extrasBytes === 0 && valueBytes === 0;
      case Op.QUIT:
      case Op.NOOP:
      case Op.VERSION:
      case Op.SASL_LIST:
        return extrasBytes + keyBytes + valueBytes === 0;
      case Op.SASL_AUTH:
      case Op.SASL_STEP:
        return extrasBytes === 0 && keyBytes > 0;
      default:
        return false;
    }
  }

  #malformed(session: Session, whole: number): number {
    if (isKnown(this.#header.operation)) return this.#hangUp(session, Op.INVALID);
    this.#fail(Op.UNKNOWN_COMMAND);
    session.swallow = whole - Header.HEADER_BYTES;
    return Header.HEADER_BYTES;
  }

  #hangUp(session: Session, status: number): number {
    this.#fail(status);
    session.closing = true;
    return Header.HEADER_BYTES;
  }

  #dispatch(session: Session): void {
    const { operation, quiet } = this.#header;
    switch (operation) {
      case Op.GET:
      case Op.GETK:
      case Op.TOUCH:
      case Op.GAT:
      case Op.GATK:
        this.#get();
        return;
      case Op.SET:
      case Op.ADD:
      case Op.REPLACE:
      case Op.APPEND:
      case Op.PREPEND:
        this.#put();
        return;
      case Op.DELETE:
        this.#deleteItem();
        return;
      case Op.INCREMENT:
      case Op.DECREMENT:
        this.#count();
        return;
      case Op.FLUSH:
        this.#flush();
        return;
      case Op.VERSION:
        this.#succeed(VERSION_TEXT, this.#noCas);
        return;
      case Op.STAT:
        this.#stat();
        return;
      case Op.SASL_LIST:
        this.#list();
        return;
      case Op.SASL_AUTH:
      case Op.SASL_STEP:
        this.#authenticate(session);
        return;
      default:
        // NOOP, VERBOSITY and QUIT.
        if (operation === Op.QUIT) {
          session.closing = true;
          session.endsFor = "normal";
        }
        if (!quiet) this.#succeed(NOTHING, this.#noCas);
    }
  }

  /** Header of a reply; extras, key and value are for the caller to add. */
  #begin(status: number, key: number, extras: number, body: number, high: number, low: number) {
    const reply = this.#reply;
    const { bytes, at } = reply;
    bytes[at + Header.MAGIC] = Header.RESPONSE;
    bytes[at + Header.OPCODE] = this.#header.opcode;
    bytes[at + Header.KEY_BYTES] = key >>> 8;
    bytes[at + Header.KEY_BYTES + 1] = key;
    bytes[at + Header.EXTRAS_BYTES] = extras;
    bytes[at + Header.EXTRAS_BYTES + 1] = 0;
    bytes[at + Header.STATUS] = status >>> 8;
    bytes[at + Header.STATUS + 1] = status;
    writeBigEndian(bytes, at + Header.BODY_BYTES, body);
    for (let i = 0; i < 4; i++) {
      bytes[at + Header.OPAQUE + i] = this.#bytes[this.#header.opaqueAt + i]!;
    }
    writeBigEndian(bytes, at + Header.CAS, high);
    writeBigEndian(bytes, at + Header.CAS + 4, low);
    reply.at = at + Header.HEADER_BYTES;
  }

  #fail(status: number): void {
    const text = Op.STATUS_TEXT.get(status) ?? NOTHING;
    this.#begin(status, 0, 0, text.length, 0, 0);
    this.#reply.literal(text);
  }

  #succeed(value: Uint8Array, cas: U64): void {
    this.#reply.room(value.length + REPLY_BYTES_MAX);
    this.#begin(Op.OK, 0, 0, value.length, cas.high, cas.low);
    this.#reply.literal(value);
  }

  /** Success of a change: with the item's cas number, unless nobody wants to know. */
  #changed(): void {
    if (this.#header.quiet) return;
    const { meta } = this.#items;
    this.#begin(Op.OK, 0, 0, 0, meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
  }

  #get(): void {
    const { operation, quiet, keyBytes } = this.#header;
    const items = this.#items;
    const key = this.#bytes;
    const from = this.#keyFrom;
    const to = this.#keyTo;
    const touches = operation !== Op.GET && operation !== Op.GETK;
    const withKey = operation === Op.GETK || operation === Op.GATK;
    const found = touches ? items.touch(key, from, to, this.#expiry(0)) : items.get(key, from, to);
    if (this.#parts.stats.detailed) this.#parts.stats.prefixGet(key, from, to, found);
    if (!found) {
      quiet ? undefined : this.#miss(withKey);
      return;
    }
    const { meta, store } = items;
    const reply = this.#reply;
    const valueBytes = operation === Op.TOUCH ? 0 : store.valueBytes;
    const keyShown = withKey ? keyBytes : 0;
    reply.room(valueBytes + REPLY_BYTES_MAX);
    const begun = reply.at;
    const body = FLAGS_BYTES + keyShown + valueBytes;
    this.#begin(Op.OK, keyShown, FLAGS_BYTES, body, meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
    writeBigEndian(reply.bytes, reply.at, meta[Item.CLIENT_FLAGS]!);
    reply.at += FLAGS_BYTES;
    if (withKey) reply.copy(key, from, to);
    if (operation === Op.TOUCH) return;
    if (store.read(reply.bytes, reply.at)) {
      reply.at += valueBytes;
      return;
    }
    reply.at = begun;
    if (!quiet) this.#miss(withKey);
  }

  #miss(withKey: boolean): void {
    if (!withKey) {
      this.#fail(Op.KEY_NOT_FOUND);
      return;
    }
    const { keyBytes } = this.#header;
    this.#begin(Op.KEY_NOT_FOUND, keyBytes, 0, keyBytes, 0, 0);
    this.#reply.copy(this.#bytes, this.#keyFrom, this.#keyTo);
  }

  /** The expiry that stands so many bytes into the extras, in seconds since 1970. */
  #expiry(offset: number): number {
    const given = readU32(this.#bytes, this.#at + Header.HEADER_BYTES + offset);
    return expiryOf(given, this.#items.now);
  }

  #put(): void {
    const { operation, cas, bodyBytes } = this.#header;
    const items = this.#items;
    const key = this.#bytes;
    const from = this.#keyFrom;
    const to = this.#keyTo;
    const end = this.#at + Header.HEADER_BYTES + bodyBytes;
    const request = this.#store.reset(MODE_OF[operation]!);
    if (operation <= Op.REPLACE) {
      request.clientFlags = readU32(key, this.#at + Header.HEADER_BYTES);
      request.expires = this.#expiry(4);
    }
    if (!cas.isZero) {
      request.hasCas = true;
      request.cas.set(cas.high, cas.low);
      if (operation <= Op.REPLACE) request.mode = Request.SET;
    }
    if (this.#parts.stats.detailed) this.#parts.stats.prefixSet(key, from, to);
    const outcome = items.put(key, from, to, key, to, end, request);
    if (outcome === Done.DONE) {
      this.#changed();
      return;
    }
    this.#fail(statusOf(outcome, request.mode));
  }

  #deleteItem(): void {
    const { cas } = this.#header;
    const request = this.#remove.reset();
    request.hasCas = !cas.isZero;
    request.cas.set(cas.high, cas.low);
    const from = this.#keyFrom;
    const to = this.#keyTo;
    if (this.#parts.stats.detailed) this.#parts.stats.prefixDelete(this.#bytes, from, to);
    const outcome = this.#items.remove(this.#bytes, from, to, request);
    if (outcome !== Done.DONE) {
      this.#fail(statusOf(outcome, Request.SET));
      return;
    }
    if (!this.#header.quiet) this.#succeed(NOTHING, this.#noCas);
  }

  #count(): void {
    const { operation, cas, quiet } = this.#header;
    const bytes = this.#bytes;
    const extras = this.#at + Header.HEADER_BYTES;
    const request = this.#delta.reset();
    request.increment = operation === Op.INCREMENT;
    request.delta.set(readU32(bytes, extras), readU32(bytes, extras + 4));
    request.initial.set(readU32(bytes, extras + 8), readU32(bytes, extras + 12));
    request.vivify = readU32(bytes, extras + 16) !== NO_VIVIFY;
    request.vivifyExpires = this.#expiry(16);
    request.hasCas = !cas.isZero;
    request.cas.set(cas.high, cas.low);
    const outcome = this.#items.delta(bytes, this.#keyFrom, this.#keyTo, request);
    if (outcome !== Done.DONE) {
      this.#fail(statusOf(outcome, Request.SET));
      return;
    }
    if (quiet) return;
    const { meta, number } = this.#items;
    const reply = this.#reply;
    this.#begin(Op.OK, 0, 0, NUMBER_BYTES, meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
    writeBigEndian(reply.bytes, reply.at, number.high);
    writeBigEndian(reply.bytes, reply.at + 4, number.low);
    reply.at += NUMBER_BYTES;
  }

  #flush(): void {
    const { extrasBytes, quiet } = this.#header;
    if (!this.#parts.settings.flushEnabled) {
      this.#fail(Op.AUTH_ERROR);
      return;
    }
    const delayed = extrasBytes === 4 && readU32(this.#bytes, this.#at + Header.HEADER_BYTES) > 0;
    this.#items.flush(delayed ? this.#expiry(0) : 0);
    if (!quiet) this.#succeed(NOTHING, this.#noCas);
  }

  /** One reply for each figure, and an empty one at the end. */
  #stat(): void {
    const { stats } = this.#parts;
    this.#engine.spend(STATS_UNITS);
    const key = String.fromCharCode(...this.#bytes.subarray(this.#keyFrom, this.#keyTo));
    const [kind = "", what = ""] = key.split(" ");
    if (kind === "reset") stats.reset();
    else if (kind === "detail" && (what === "on" || what === "off")) stats.detailed = what === "on";
    else if (kind === "detail" && what === "dump") {
      this.#statReply("detailed", [...stats.prefixLines()].join(""));
    } else if (!stats.tell(kind, (name, value) => this.#statReply(name, String(value)))) {
      this.#fail(Op.KEY_NOT_FOUND);
      return;
    }
    this.#reply.room(REPLY_BYTES_MAX);
    this.#begin(Op.OK, 0, 0, 0, 0, 0);
  }

  #statReply(name: string, value: string): void {
    const reply = this.#reply;
    const bodyBytes = name.length + value.length;
    reply.room(bodyBytes + REPLY_BYTES_MAX);
    this.#begin(Op.OK, name.length, 0, bodyBytes, 0, 0);
    reply.literal(ascii(name));
    reply.literal(ascii(value));
  }

  #list(): void {
    if (this.#parts.credentials === undefined) {
      this.#fail(Op.UNKNOWN_COMMAND);
      return;
    }
    this.#succeed(MECHANISMS, this.#noCas);
  }

  /** SASL PLAIN, against the same names and passwords as the text protocol's. */
  #authenticate(session: Session): void {
    const { credentials, stats } = this.#parts;
    if (credentials === undefined) {
      this.#fail(Op.UNKNOWN_COMMAND);
      return;
    }
    const from = this.#keyFrom;
    const to = this.#keyTo;
    const end = this.#at + Header.HEADER_BYTES + this.#header.bodyBytes;
    const secret = this.#bytes.subarray(to, end);
    // Identity, name and password, with a zero byte between them.
    const first = secret.indexOf(0);
    const second = first < 0 ? -1 : secret.indexOf(0, first + 1);
    session.authenticated =
      second >= 0 &&
      equals(this.#bytes, from, to, MECHANISMS) &&
      credentials.allows(secret.subarray(first + 1, second), secret.subarray(second + 1));
    stats.countAuth(session.authenticated);
    if (session.authenticated) this.#succeed(AUTHENTICATED, this.#noCas);
    else this.#fail(Op.AUTH_ERROR);
  }
}

const MODE_OF: Readonly<Record<number, Request.StoreMode>> = {
  [Op.SET]: Request.SET,
  [Op.ADD]: Request.ADD,
  [Op.REPLACE]: Request.REPLACE,
  [Op.APPEND]: Request.APPEND,
  [Op.PREPEND]: Request.PREPEND,
};

const KNOWN = new Set<number>([
  ...[Op.GET, Op.SET, Op.ADD, Op.REPLACE, Op.DELETE, Op.INCREMENT, Op.DECREMENT, Op.QUIT],
  ...[Op.FLUSH, Op.NOOP, Op.VERSION, Op.GETK, Op.APPEND, Op.PREPEND, Op.STAT, Op.VERBOSITY],
  ...[Op.TOUCH, Op.GAT, Op.GATK, Op.SASL_LIST, Op.SASL_AUTH, Op.SASL_STEP],
]);

function isKnown(operation: number): boolean {
  return KNOWN.has(operation);
}

function allowedToStrangers(operation: number): boolean {
  return (
    operation === Op.SASL_LIST ||
    operation === Op.SASL_AUTH ||
    operation === Op.SASL_STEP ||
    operation === Op.VERSION
  );
}

function statusOf(outcome: Outcome, mode: Request.StoreMode): number {
  switch (outcome) {
    case Done.NOT_FOUND:
      return Op.KEY_NOT_FOUND;
    case Done.EXISTS:
      return Op.KEY_EXISTS;
    case Done.TOO_LARGE:
      return Op.VALUE_TOO_LARGE;
    case Done.NO_MEMORY:
      return Op.OUT_OF_MEMORY;
    case Done.NOT_NUMBER:
      return Op.NOT_NUMBER;
    default:
      if (mode === Request.ADD) return Op.KEY_EXISTS;
      return mode === Request.REPLACE ? Op.KEY_NOT_FOUND : Op.NOT_STORED;
  }
}
