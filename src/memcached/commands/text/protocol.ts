// The text protocol: finds the line of a request and calls its command. A request that is not
// complete stays where it is, and is read again from its beginning when more has been received.
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import { ascii, equals, LINE_BYTES_MAX, NEWLINE } from "../../protocol/text.ts";
import type { Session } from "../../session.ts";
import type { CommandParts, Protocol, Turn } from "../contract.ts";
import { MetaRequest } from "../meta/request.ts";
import { authenticate } from "./auth.ts";
import { beginLongList, moreKeys, pastSpaces, tokenEnd } from "./get.ts";
import * as Say from "./replies.ts";
import { commandOf } from "./table.ts";

/** `get`, `gets`, `mg` and `mn` begin with these. */
const LETTER_G = 103;
const LETTER_M = 109;
/** `set` and `ms` with this or with m. */
const LETTER_S = 115;
const HTTP = ascii("HTTP/");

export class TextProtocol implements Protocol {
  readonly #parts: CommandParts;
  readonly #request: MetaRequest;

  constructor(turn: Turn, parts: CommandParts) {
    this.#parts = parts;
    this.#request = new MetaRequest(turn, parts);
  }

  execute(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const request = this.#request;
    request.session = session;
    request.bytes = bytes;
    request.from = from;
    request.to = to;
    request.silent = false;
    request.bodyBytes = 0;
    if (session.keyList !== undefined) return moreKeys(request, session.keyList);
    if (session.skipLine) return skipLine(request);
    const answered = this.#answerGets(session, bytes, from, to);
    if (answered > 0) return answered;
    const stored = this.#storeLines(session, bytes, from, to);
    if (stored > 0) return stored;
    const { tokens } = request;
    const isWhole = tokens.read(bytes, from, to);
    if ((isWhole ? tokens.next : to) - from > LINE_BYTES_MAX) return this.#longLine();
    if (!isWhole) return 0;
    session.lastCommandAt = request.items.now;
    request.reply.room(REPLY_BYTES_MAX);
    if (!session.authenticated) return authenticate(request);
    if (tokens.count === 0) return request.say(Say.ERROR);
    const command = commandOf(bytes, tokens.from[0]!, tokens.to[0]!);
    return command === undefined ? unknown(request) : command(request);
  }

  fail(): number {
    const request = this.#request;
    return request.say(Say.NO_ANSWER) + request.bodyBytes;
  }

  /** Has the kernel answer plain gets of ordinary items, many at once. @returns bytes used */
  #answerGets(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const first = bytes[from];
    if (first !== LETTER_G && first !== LETTER_M) return 0;
    if (!session.authenticated || this.#parts.stats.detailed) return 0;
    const { items, reply } = this.#request;
    const used = items.answerGets(bytes, from, to, reply);
    if (used === 0) return 0;
    session.lastCommandAt = items.now;
    return used;
  }

  /** Has the kernel do plain sets, many at once. @returns bytes used */
  #storeLines(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const first = bytes[from];
    if (first !== LETTER_S && first !== LETTER_M) return 0;
    if (!session.authenticated || this.#parts.stats.detailed) return 0;
    const { items, reply } = this.#request;
    reply.room(REPLY_BYTES_MAX);
    const used = items.storeLines(bytes, from, to, reply);
    if (used === 0) return 0;
    session.lastCommandAt = items.now;
    return used;
  }

  /** Only a list of keys may be longer than a line; any other long line ends the connection. */
  #longLine(): number {
    const request = this.#request;
    const { bytes, from, to, session } = request;
    const name = pastSpaces(bytes, from, to);
    const nameTo = tokenEnd(bytes, name, to);
    const used = session.authenticated
      ? beginLongList(request, commandOf(bytes, name, nameTo), name, nameTo)
      : undefined;
    if (used !== undefined) return used;
    session.closing = true;
    return to - from;
  }
}

/** Skips what is left of a line that was refused. */
function skipLine({ bytes, from, to, session }: MetaRequest): number {
  const newline = bytes.subarray(from, to).indexOf(NEWLINE);
  if (newline < 0) return to - from;
  session.skipLine = false;
  return newline + 1;
}

function unknown(request: MetaRequest): number {
  const { tokens, bytes, session } = request;
  const last = tokens.from[tokens.count - 1]!;
  // A browser, or a page that makes a browser send commands: hang up.
  if (tokens.count > 1 && equals(bytes, last, last + HTTP.length, HTTP)) {
    session.closing = true;
    return request.lineBytes;
  }
  return request.say(Say.ERROR);
}
