// `flush_all [DELAY] [noreply]`: all items that are stored before now, or before the delay ends,
// are gone.
import { expiryOf } from "../../items/lifetime.ts";
import { ascii, parseSigned } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const REFUSED = ascii("CLIENT_ERROR flush_all not allowed\r\n");

export function flushAll(request: TextRequest): number {
  const { tokens, bytes, items, parts } = request;
  const { count, from, to } = tokens;
  request.readNoreply();
  if (count > 3) return request.say(Say.ERROR);
  if (!parts.settings.flushEnabled) return request.say(REFUSED);
  let due = 0;
  if (count > (request.silent ? 2 : 1)) {
    const delay = parseSigned(bytes, from[1]!, to[1]!);
    if (Number.isNaN(delay)) return request.say(Say.BAD_EXPTIME);
    due = delay > 0 ? expiryOf(delay, items.now) : 0;
  }
  items.flush(due);
  return request.say(Say.OK);
}
