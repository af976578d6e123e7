// `get`, `gets`, `gat` and `gats`: NAME [EXPTIME] KEY…, with EXPTIME for the two that touch. Most
// plain gets are answered by the kernel (protocol.ts); those that it leaves come here.
//
// A list of keys may be longer than a line may be, and its answer longer than a turn. The rest of
// such a list is read key by key as it is received: `session.keyList` says how its keys are
// answered until the line ends.
import { getItem, touchItem } from "../../items/get.ts";
import * as Item from "../../items/items.layout.ts";
import { expiryOf } from "../../items/lifetime.ts";
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import { ascii, KEY_BYTES_MAX, NEWLINE, parseSigned, RETURN, SPACE } from "../../protocol/text.ts";
import type { KeyList } from "../../session.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const VALUE = ascii("VALUE ");
/** A key of a list takes as long as so many bytes of a reply. */
const KEY_UNITS = 64;
/** Spaces before the command of a long list, and before its time. */
const SPACES_MAX = 100;
/** No time has more letters. */
const TIME_BYTES_MAX = 64;

const GET: KeyList = { touches: false, withCas: false };
const GETS: KeyList = { touches: false, withCas: true };
const GAT: KeyList = { touches: true, withCas: false };
const GATS: KeyList = { touches: true, withCas: true };

export function get(request: TextRequest): number {
  return getKeys(request, GET);
}

export function gets(request: TextRequest): number {
  return getKeys(request, GETS);
}

export function gat(request: TextRequest): number {
  return getKeys(request, GAT);
}

export function gats(request: TextRequest): number {
  return getKeys(request, GATS);
}

const LISTS: ReadonlyMap<unknown, KeyList> = new Map([
  // By the command.
  [get, GET],
  [gets, GETS],
  [gat, GAT],
  [gats, GATS],
]);

function getKeys(request: TextRequest, list: KeyList): number {
  const { tokens, bytes, items, reply, session } = request;
  const first = list.touches ? 2 : 1;
  if (tokens.count < 2) return request.say(Say.ERROR);
  let expires = 0;
  if (list.touches) {
    const given = parseSigned(bytes, tokens.from[1]!, tokens.to[1]!);
    if (Number.isNaN(given)) return request.say(Say.BAD_EXPTIME);
    expires = expiryOf(given, items.now);
  }
  for (let i = first; i < tokens.count; i++) {
    if (tokens.length(i) > KEY_BYTES_MAX) return request.say(Say.BAD_FORMAT);
  }
  for (let i = first; i < tokens.count; i++) {
    if (request.turn.paused) {
      session.keyList = list;
      session.keysExpires = expires;
      return tokens.from[i]! - request.from;
    }
    const answered = answerOne(request, tokens.from[i]!, tokens.to[i]!, list, expires);
    if (answered === FAILED) return request.say(Say.NO_ANSWER);
    if (answered === AWAITS) {
      // The records of all keys are read together.
      for (let j = i + 1; j < tokens.count; j++) {
        items.announce(bytes, tokens.from[j]!, tokens.to[j]!);
      }
      session.keyList = list;
      session.keysExpires = expires;
      return tokens.from[i]! - request.from;
    }
  }
  reply.room(REPLY_BYTES_MAX);
  return request.say(Say.END);
}

// What `answerOne` comes to.
const ANSWERED = 0;
/** The item is on another machine; nothing was written. */
const AWAITS = 1;
/** No other machine has answered; nothing was written. */
const FAILED = 2;

/** Answers one key, which stands at [from, to). */
function answerOne(
  request: TextRequest,
  from: number,
  to: number,
  list: KeyList,
  expires: number,
): typeof ANSWERED | typeof AWAITS | typeof FAILED {
  request.reply.begin();
  try {
    getOne(request, from, to, list, expires);
    return ANSWERED;
  } catch (error) {
    return request.turn.awaits(error) ? AWAITS : FAILED;
  }
}

/** Looks an item up, and writes it if it is there. @throws as `answerOne` takes it */
function getOne(
  request: TextRequest,
  from: number,
  to: number,
  list: KeyList,
  expires: number,
): void {
  const { bytes, items, reply, parts } = request;
  request.turn.spend(KEY_UNITS);
  const found = list.touches
    ? touchItem(items, bytes, from, to, expires)
    : getItem(items, bytes, from, to);
  if (parts.stats.detailed) parts.stats.prefixGet(bytes, from, to, found);
  if (!found) return;
  const { meta, valueBytes } = items;
  reply.room(valueBytes + REPLY_BYTES_MAX);
  const begun = reply.at;
  reply.literal(VALUE);
  reply.copy(bytes, from, to);
  reply.byte(SPACE);
  reply.u32(meta[Item.CLIENT_FLAGS]!);
  reply.byte(SPACE);
  reply.u32(valueBytes);
  if (list.withCas) {
    reply.byte(SPACE);
    reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
  }
  reply.literal(Say.CRLF);
  if (!items.read(reply.bytes, reply.at)) {
    // A value that can't be read is a miss.
    reply.at = begun;
    return;
  }
  reply.at += valueBytes;
  reply.literal(Say.CRLF);
}

/**
 * Begins a list of keys whose line is too long to be read as a whole.
 * @param command what the name at [nameFrom, nameTo) stands for in the table of commands
 * @returns bytes used; undefined if the line is not such a list
 */
export function beginLongList(
  request: TextRequest,
  command: unknown,
  nameFrom: number,
  nameTo: number,
): number | undefined {
  const { bytes, from, to, session } = request;
  const list = LISTS.get(command);
  if (list === undefined || nameFrom - from > SPACES_MAX) return undefined;
  if (!list.touches) {
    session.keyList = list;
    return nameTo - from;
  }
  const time = pastSpaces(bytes, nameTo, to);
  if (time - nameTo > SPACES_MAX) return undefined;
  // Read no further than a time can reach: so it does not matter how much has been received.
  const end = tokenEnd(bytes, time, time + TIME_BYTES_MAX);
  const given = parseSigned(bytes, time, end);
  if (Number.isNaN(given)) return refuseKeys(request, Say.BAD_EXPTIME, end - from);
  session.keysExpires = expiryOf(given, request.items.now);
  session.keyList = list;
  return end - from;
}

/** Answers more keys of a list that has begun. @returns bytes used */
export function moreKeys(request: TextRequest, list: KeyList): number {
  const { bytes, from, to, session, reply } = request;
  let at = from;
  while (at < to && !request.turn.paused) {
    at = pastSpaces(bytes, at, to);
    let end = at;
    while (end < to && bytes[end] !== SPACE && bytes[end] !== NEWLINE) end++;
    // A key that is cut off may go on; one that is too long is not waited for.
    if (end === to && end - at <= KEY_BYTES_MAX + 1) return at - from;
    const ends = end < to && bytes[end] === NEWLINE;
    const keyEnd = ends && end > at && bytes[end - 1] === RETURN ? end - 1 : end;
    if (keyEnd - at > KEY_BYTES_MAX) return refuseKeys(request, Say.BAD_FORMAT, end - from);
    if (keyEnd > at) {
      const answered = answerOne(request, at, keyEnd, list, session.keysExpires);
      if (answered === AWAITS) return at - from;
      if (answered === FAILED) return refuseKeys(request, Say.NO_ANSWER, end - from);
    }
    at = end + 1;
    if (!ends) continue;
    reply.room(REPLY_BYTES_MAX);
    reply.literal(Say.END);
    session.keyList = undefined;
    break;
  }
  return at - from;
}

/** Refuses a list of keys. @param used where reading stopped, behind `from` */
function refuseKeys({ reply, session }: TextRequest, error: Uint8Array, used: number): number {
  reply.room(REPLY_BYTES_MAX);
  reply.literal(error);
  session.keyList = undefined;
  session.skipLine = true;
  return used;
}

export function pastSpaces(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] === SPACE) at++;
  return at;
}

/** The end of the token that begins at `from`. */
export function tokenEnd(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at]! > SPACE) at++;
  return at;
}
