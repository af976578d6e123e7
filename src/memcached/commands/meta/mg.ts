// `mg KEY FLAG…`: gets an item, or facts about it; may touch it or make it where there is none.

import { getItem, metaGetItem } from "../../items/get.ts";
import * as Item from "../../items/items.layout.ts";
import { expiryOf } from "../../items/lifetime.ts";
import type { GetRequest } from "../../items/requests.ts";
import * as Flag from "../../protocol/meta_flags.ts";
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import * as Say from "../text/replies.ts";
import { HD, type MetaRequest, VA } from "./request.ts";

const LETTER_W = 87;
const LETTER_X = 88;
const LETTER_Z = 90;
const DIGIT_0 = 48;

export function mg(request: MetaRequest): number {
  const error = request.keyError(Say.ERROR) ?? request.readFlags(2);
  if (error !== undefined) return request.say(error);
  const { flags, items, reply } = request;
  const look = request.get.reset();
  if (!find(request, look)) {
    request.miss();
    return request.lineBytes;
  }
  const { valueBytes } = items;
  reply.room((flags.value ? valueBytes : 0) + REPLY_BYTES_MAX);
  const begun = reply.at;
  if (flags.value) {
    reply.literal(VA);
    reply.u32(valueBytes);
  } else reply.literal(HD);
  replyFlags(request, look);
  reply.literal(Say.CRLF);
  if (!flags.value) return request.lineBytes;
  if (items.read(reply.bytes, reply.at)) {
    reply.at += valueBytes;
    reply.literal(Say.CRLF);
  } else {
    // A value that can't be read is a miss.
    reply.at = begun;
    request.miss();
  }
  return request.lineBytes;
}

function find(request: MetaRequest, look: GetRequest): boolean {
  const { flags, items, key, keyFrom, keyTo } = request;
  if (!flags.special) return findPlainly(request, look);
  request.fill(look);
  look.noBump = flags.noBump;
  look.hasRecache = flags.hasRecache;
  if (flags.hasRecache) look.recacheBefore = expiryOf(flags.recache, items.now);
  look.touchFirst = flags.touchFirst;
  return metaGetItem(items, key, keyFrom, keyTo, look);
}

/** A stale item takes the other look too, because the client may win the right to renew it. */
function findPlainly({ items, key, keyFrom, keyTo }: MetaRequest, look: GetRequest): boolean {
  const found = getItem(items, key, keyFrom, keyTo);
  if (!found || (items.meta[Item.BITS]! & Item.STALE) === 0) {
    look.expiresBefore = items.meta[Item.EXPIRES]!;
    return found;
  }
  look.isCounted = true;
  return metaGetItem(items, key, keyFrom, keyTo, look);
}

function replyFlags(request: MetaRequest, look: GetRequest): void {
  const { tokens, bytes, reply, items } = request;
  const { meta, now } = items;
  // `t` answers with what T or N before it has set.
  let expires = look.created ? 0 : look.expiresBefore;
  for (let i = 2; i < tokens.count; i++) {
    const letter = bytes[tokens.from[i]!]!;
    switch (letter) {
      case Flag.FLAG_T:
        expires = look.expires;
        break;
      case Flag.FLAG_N:
        if (look.created) expires = look.vivifyExpires;
        break;
      case Flag.FLAG_s:
        reply.flag(letter);
        reply.u32(items.valueBytes);
        break;
      case Flag.FLAG_t:
        reply.flag(letter);
        request.timeLeft(expires);
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
        reply.u32(Math.max(0, now - look.accessedBefore));
        break;
      case Flag.FLAG_h:
        reply.flag(letter);
        reply.byte(look.wasFetched ? DIGIT_0 + 1 : DIGIT_0);
        break;
      default:
        request.identityFlag(i, letter);
    }
  }
  const bits = meta[Item.BITS]!;
  if ((bits & Item.TOKEN_SENT) !== 0) reply.flag(LETTER_Z);
  if ((bits & Item.STALE) !== 0) reply.flag(LETTER_X);
  if (look.won) reply.flag(LETTER_W);
}
