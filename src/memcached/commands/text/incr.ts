// `incr` and `decr`: NAME KEY DELTA [noreply]. The reply is the new number.
import { parseU64 } from "../../../base/u64.ts";
import { deltaItem } from "../../items/delta.ts";
import { DONE } from "../../items/requests.ts";
import { ascii } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const BAD_DELTA = ascii("CLIENT_ERROR invalid numeric delta argument\r\n");

export function incr(request: TextRequest): number {
  return count(request, true);
}

export function decr(request: TextRequest): number {
  return count(request, false);
}

function count(request: TextRequest, increment: boolean): number {
  const { tokens, bytes, items, reply } = request;
  if (tokens.count !== 3 && tokens.count !== 4) return request.say(Say.ERROR);
  request.readNoreply();
  if (request.isKeyTooLong) return request.say(Say.BAD_FORMAT);
  const change = request.delta.reset();
  change.increment = increment;
  if (!parseU64(bytes, tokens.from[2]!, tokens.to[2]!, change.delta)) {
    return request.say(BAD_DELTA);
  }
  const outcome = deltaItem(items, bytes, tokens.from[1]!, tokens.to[1]!, change);
  if (outcome !== DONE) return request.say(Say.STORE_REPLY[outcome]);
  if (!request.silent) reply.u64(items.number.high, items.number.low);
  return request.say(Say.CRLF);
}
