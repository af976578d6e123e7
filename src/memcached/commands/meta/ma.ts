// `ma KEY FLAG…`: adds to a number in decimal, or subtracts from it; M says which.
import { deltaItem } from "../../items/delta.ts";
import * as Item from "../../items/items.layout.ts";
import { type DeltaRequest, DONE } from "../../items/requests.ts";
import * as Flag from "../../protocol/meta_flags.ts";
import { ascii } from "../../protocol/text.ts";
import * as Say from "../text/replies.ts";
import { HD, type MetaRequest, VA } from "./request.ts";

const BAD_MODE = ascii("CLIENT_ERROR invalid mode for ma M token\r\n");

export function ma(request: MetaRequest): number {
  const error = request.keyError(Say.ERROR) ?? request.readFlagsVaguely();
  if (error !== undefined) return request.say(error);
  const { flags, items, reply, key, keyFrom, keyTo } = request;
  const increment = incrementOf(flags.mode);
  if (increment === undefined) return request.say(BAD_MODE);
  const change = request.delta.reset();
  request.fill(change);
  // A cas of 0 compares with nothing.
  change.hasCas = flags.hasCas && !flags.cas.isZero;
  change.increment = increment;
  change.delta.set(flags.delta.high, flags.delta.low);
  change.initial.set(flags.initial.high, flags.initial.low);
  const outcome = deltaItem(items, key, keyFrom, keyTo, change);
  if (outcome !== DONE) request.replyOutcome(outcome);
  else {
    const begun = reply.at;
    replyNumber(request, change);
    // As memcached: a quiet command reports an item that it has created.
    if (flags.quiet && !change.created) reply.at = begun;
  }
  return request.lineBytes;
}

/** The letter or sign behind M: whether it adds. */
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

function replyNumber(request: MetaRequest, change: DeltaRequest): void {
  const { tokens, bytes, reply, flags, items } = request;
  const { meta, number } = items;
  if (flags.value) {
    const digitsAt = reply.at;
    reply.u64(number.high, number.low);
    const digits = reply.at - digitsAt;
    reply.at = digitsAt;
    reply.literal(VA);
    reply.u32(digits);
  } else reply.literal(HD);
  // `t` answers with what T or N before it has set.
  let expires = change.created ? 0 : change.expiresBefore;
  for (let i = 2; i < tokens.count; i++) {
    const letter = bytes[tokens.from[i]!]!;
    if (letter === Flag.FLAG_c) {
      reply.flag(letter);
      reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
    } else if (letter === Flag.FLAG_t) {
      reply.flag(letter);
      request.timeLeft(expires);
    } else if (letter === Flag.FLAG_T) expires = change.expires;
    else if (letter === Flag.FLAG_N && change.created) expires = change.vivifyExpires;
    else request.identityFlag(i, letter);
  }
  reply.literal(Say.CRLF);
  if (!flags.value) return;
  reply.u64(number.high, number.low);
  reply.literal(Say.CRLF);
}
