// A request of the meta protocol: a text request whose line has flags. Flags are read into numbers
// first; a reply goes over the tokens again, because its flags stand in the order of the request.
import { expiryOf } from "../../items/lifetime.ts";
import { type ChangeRequest, DONE, GetRequest, type Outcome } from "../../items/requests.ts";
import { decodeBase64, encodeBase64 } from "../../protocol/base64.ts";
import * as Flag from "../../protocol/meta_flags.ts";
import { MetaFlags } from "../../protocol/meta_flags.ts";
import { ascii, KEY_BYTES_MAX, SPACE } from "../../protocol/text.ts";
import * as Say from "../text/replies.ts";
import { TextRequest } from "../text/request.ts";

/** Errors by the number that MetaFlags gives them. */
const FLAG_ERRORS: Readonly<Record<number, Uint8Array>> = {
  [Flag.FLAGS_TOO_MANY]: ascii("CLIENT_ERROR options flags are too long\r\n"),
  [Flag.FLAG_TWICE]: ascii("CLIENT_ERROR duplicate flag\r\n"),
  [Flag.FLAG_UNKNOWN]: ascii("CLIENT_ERROR invalid flag\r\n"),
  [Flag.FLAG_BAD_TOKEN]: ascii("CLIENT_ERROR bad token in command line format\r\n"),
  [Flag.FLAG_BAD_MODE]: ascii("CLIENT_ERROR incorrect length for M token\r\n"),
  [Flag.FLAG_BAD_INITIAL]: ascii("CLIENT_ERROR invalid numeric initial value\r\n"),
  [Flag.FLAG_BAD_DELTA]: ascii("CLIENT_ERROR invalid numeric delta value\r\n"),
  [Flag.FLAG_LONG_OPAQUE]: ascii("CLIENT_ERROR opaque token too long\r\n"),
  [Flag.FLAG_BAD_FORMAT]: Say.BAD_FORMAT,
};
export const LONG_OPAQUE = FLAG_ERRORS[Flag.FLAG_LONG_OPAQUE]!;
export const BAD_KEY = ascii("CLIENT_ERROR error decoding key\r\n");
/** What `md` and `ma` say of other errors in flags. */
const FLAG_WRONG = ascii("CLIENT_ERROR invalid or duplicate flag\r\n");

const NO_VALUE = ascii("EN");
export const HD = ascii("HD");
export const VA = ascii("VA ");
export const NEVER = ascii("-1");

export class MetaRequest extends TextRequest {
  readonly flags = new MetaFlags();
  readonly get = new GetRequest();
  readonly #decoded = new Uint8Array(KEY_BYTES_MAX);
  /** The key stands at [keyFrom, keyTo) of `key`: in the line, or decoded from base64. */
  key: Uint8Array = this.#decoded;
  keyFrom = 0;
  keyTo = 0;

  /** @returns what memcached says of a line without a key, or with one that is too long */
  keyError(withoutKey: Uint8Array): Uint8Array | undefined {
    if (this.tokens.count < 2) return withoutKey;
    return this.isKeyTooLong ? Say.BAD_FORMAT : undefined;
  }

  /**
   * Reads key and flags, which begin with token number `first`.
   * @returns what is wrong, if anything
   */
  readFlags(first: number): Uint8Array | undefined {
    const { bytes, tokens, flags } = this;
    const error = flags.read(bytes, tokens, first);
    if (error === Flag.FLAG_TWICE || error === Flag.FLAG_UNKNOWN) return FLAG_ERRORS[error];
    this.key = bytes;
    this.keyFrom = tokens.from[1]!;
    this.keyTo = tokens.to[1]!;
    if (!flags.keyBinary) return FLAG_ERRORS[error];
    const length = decodeBase64(bytes, this.keyFrom, this.keyTo, this.#decoded, 0);
    // Of two errors the later one is reported.
    if (length === 0 && flags.errorAt < flags.keyBinaryAt) return BAD_KEY;
    if (error !== Flag.FLAGS_GOOD) return FLAG_ERRORS[error];
    this.key = this.#decoded;
    this.keyFrom = 0;
    this.keyTo = length;
    return undefined;
  }

  /** `readFlags` for the two commands whose errors memcached tells apart less. */
  readFlagsVaguely(): Uint8Array | undefined {
    const error = this.readFlags(2);
    return error === undefined || error === LONG_OPAQUE ? error : FLAG_WRONG;
  }

  /** Fills in the flags of all changes. Without T the expiry is 0, which is never. */
  fill(change: ChangeRequest): void {
    const { flags } = this;
    const { now } = this.items;
    change.keyBinary = flags.keyBinary;
    change.hasCas = flags.hasCas;
    if (flags.hasCas) change.cas.set(flags.cas.high, flags.cas.low);
    change.hasNewCas = flags.hasNewCas;
    if (flags.hasNewCas) change.newCas.set(flags.newCas.high, flags.newCas.low);
    change.hasExpires = flags.hasExpiry;
    if (flags.hasExpiry) change.expires = expiryOf(flags.expiry, now);
    change.vivify = flags.hasVivify;
    change.vivifyLast = flags.vivifyLast;
    if (flags.hasVivify) change.vivifyExpires = expiryOf(flags.vivify, now);
  }

  /** The reply where there is no item. */
  miss(): void {
    if (this.flags.quiet) return;
    this.reply.literal(NO_VALUE);
    this.identity();
    this.reply.literal(Say.CRLF);
  }

  /**
   * The reply to a change that gives back nothing of the item.
   * @returns whether a quiet command leaves it out
   */
  replyOutcome(outcome: Outcome): boolean {
    const { reply } = this;
    const code = Say.META_REPLY[outcome];
    if (code === undefined) {
      reply.literal(Say.STORE_REPLY[outcome]);
      return false;
    }
    reply.literal(code);
    this.identity();
    reply.literal(Say.CRLF);
    return outcome === DONE;
  }

  /** Writes the opaque token and the key, which every reply gives back where they are asked for. */
  identity(): void {
    const { tokens, bytes } = this;
    for (let i = 2; i < tokens.count; i++) this.identityFlag(i, bytes[tokens.from[i]!]!);
  }

  /** The same for one token, if it is one of these flags. */
  identityFlag(token: number, letter: number): void {
    const { tokens, reply } = this;
    if (letter === Flag.FLAG_O) {
      reply.byte(SPACE);
      reply.copy(this.bytes, tokens.from[token]!, tokens.to[token]!);
    } else if (letter === Flag.FLAG_k) {
      reply.flag(Flag.FLAG_k);
      if (!this.flags.keyBinary) {
        reply.copy(this.key, this.keyFrom, this.keyTo);
        return;
      }
      const { bytes: target, at } = reply;
      reply.at = encodeBase64(this.key, this.keyFrom, this.keyTo, target, at);
      reply.flag(Flag.FLAG_b);
    }
  }

  /** Writes seconds until `expires`, which is in seconds since 1970, or 0 for never. */
  timeLeft(expires: number): void {
    if (expires === 0) this.reply.literal(NEVER);
    else this.reply.u32(Math.max(0, expires - this.items.now));
  }
}
