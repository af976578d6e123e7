// A request of the text protocol: its line, cut into tokens, and the value behind the line. A
// command is a function of a request. Each thread has one request and fills it again for each
// line, so that a command allocates nothing.
import { U64 } from "../../../base/u64.ts";
import type { Items } from "../../items/items.ts";
import { DeltaRequest, RemoveRequest, StoreRequest } from "../../items/requests.ts";
import { REPLY_BYTES_MAX, type Reply } from "../../protocol/reply.ts";
import { ascii, equals, KEY_BYTES_MAX, NEWLINE, RETURN } from "../../protocol/text.ts";
import { Tokens } from "../../protocol/tokens.ts";
import { Session } from "../../session.ts";
import type { CommandParts, Turn } from "../contract.ts";

/** A longer value can't be announced, let alone stored. */
export const VALUE_BYTES_LIMIT = 2 ** 31 - 3;

const NOREPLY = ascii("noreply");
const LINE_END_BYTES = 2;

export class TextRequest {
  readonly parts: CommandParts;
  readonly items: Items;
  readonly reply: Reply;
  readonly turn: Turn;
  /** The line. Token 0 is the command's name. */
  readonly tokens = new Tokens();
  session = new Session();
  /** The request begins at `from`; `to` is the end of what has been received. */
  bytes: Uint8Array = new Uint8Array(0);
  from = 0;
  to = 0;
  /** `say` writes nothing. */
  silent = false;
  /** Bytes of the value behind the line, with its end, once `hasValue` has found it there. */
  bodyBytes = 0;
  /** Filled by a command for `items`; a command uses one of them. */
  readonly store = new StoreRequest();
  readonly delta = new DeltaRequest();
  readonly remove = new RemoveRequest();
  readonly cas = new U64();

  constructor(turn: Turn, parts: CommandParts) {
    this.turn = turn;
    this.parts = parts;
    this.items = parts.items;
    this.reply = parts.reply;
  }

  /** Bytes of the line with its end. */
  get lineBytes(): number {
    return this.tokens.next - this.from;
  }

  /** Writes a fixed reply, unless the client wants none. @returns `lineBytes` */
  say(line: Uint8Array): number {
    if (!this.silent) this.reply.literal(line);
    return this.tokens.next - this.from;
  }

  /** `say` for a command whose earlier replies may have filled the buffer. */
  sayMore(line: Uint8Array): number {
    this.reply.room(line.length + REPLY_BYTES_MAX);
    return this.say(line);
  }

  /** Reads `noreply`, which holds for errors too. @returns whether it is the last token */
  readNoreply(): boolean {
    this.silent = this.tokenIs(this.tokens.count - 1, NOREPLY);
    return this.silent;
  }

  tokenIs(token: number, literal: Uint8Array): boolean {
    const { from, to } = this.tokens;
    return equals(this.bytes, from[token]!, to[token]!, literal);
  }

  /** Whether the key, token 1, is longer than a key may be. */
  get isKeyTooLong(): boolean {
    return this.tokens.length(1) > KEY_BYTES_MAX;
  }

  /** All tokens as strings, for commands that are rare. */
  words(): string[] {
    const { count, from, to } = this.tokens;
    return Array.from({ length: count }, (_, i) =>
      String.fromCharCode(...this.bytes.subarray(from[i]!, to[i]!)),
    );
  }

  /**
   * Whether the value behind the line has been received. If not, `session.need` says how many bytes
   * the request takes, and the command returns 0.
   */
  hasValue(valueBytes: number): boolean {
    const whole = this.wholeBytes(valueBytes);
    if (this.from + whole <= this.to) {
      this.bodyBytes = valueBytes + LINE_END_BYTES;
      return true;
    }
    this.session.need = whole;
    return false;
  }

  /** Whether a value that has been received ends as it must. */
  isValueEnded(valueBytes: number): boolean {
    const end = this.tokens.next + valueBytes;
    return this.bytes[end] === RETURN && this.bytes[end + 1] === NEWLINE;
  }

  /** Bytes of a request with its value. */
  wholeBytes(valueBytes: number): number {
    return this.lineBytes + valueBytes + LINE_END_BYTES;
  }

  /** Writes the reply to a request with a value. @returns bytes of line and value */
  sayOfValue(line: Uint8Array, valueBytes: number): number {
    return this.say(line) + valueBytes + LINE_END_BYTES;
  }

  /** Refuses a value, whose bytes are skipped. @returns `lineBytes` */
  refuseValue(line: Uint8Array, valueBytes: number): number {
    this.session.swallow = valueBytes + LINE_END_BYTES;
    return this.say(line);
  }
}
