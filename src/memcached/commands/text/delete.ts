// `delete KEY [0] [noreply]`: the 0 is the time of an old protocol, and no other time is allowed.
import { deleteItem } from "../../items/delete.ts";
import { DONE } from "../../items/requests.ts";
import { ascii } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const ZERO = ascii("0");
const DELETED = ascii("DELETED\r\n");
const USAGE = ascii("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");

export function deleteKey(request: TextRequest): number {
  const { tokens, bytes, items, parts } = request;
  const { count } = tokens;
  if (count < 2 || count > 4) return request.say(Say.ERROR);
  if (count > 2) {
    const zero = request.tokenIs(2, ZERO);
    const silent = request.readNoreply();
    const valid = count === 3 ? zero || silent : zero && silent;
    if (!valid) return request.say(USAGE);
  }
  if (request.isKeyTooLong) return request.say(Say.BAD_FORMAT);
  const key = tokens.from[1]!;
  const keyTo = tokens.to[1]!;
  const outcome = deleteItem(items, bytes, key, keyTo, request.remove.reset());
  if (parts.stats.detailed) parts.stats.prefixDelete(bytes, key, keyTo);
  return request.say(outcome === DONE ? DELETED : Say.NOT_FOUND);
}
