// `touch KEY EXPTIME [noreply]`: changes when an item expires.
import { touchItem } from "../../items/get.ts";
import { expiryOf } from "../../items/lifetime.ts";
import { ascii, parseSigned } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const TOUCHED = ascii("TOUCHED\r\n");

export function touch(request: TextRequest): number {
  const { tokens, bytes, items } = request;
  if (tokens.count !== 3 && tokens.count !== 4) return request.say(Say.ERROR);
  request.readNoreply();
  if (request.isKeyTooLong) return request.say(Say.BAD_FORMAT);
  const exptime = parseSigned(bytes, tokens.from[2]!, tokens.to[2]!);
  if (Number.isNaN(exptime)) return request.say(Say.BAD_EXPTIME);
  const expires = expiryOf(exptime, items.now);
  const found = touchItem(items, bytes, tokens.from[1]!, tokens.to[1]!, expires);
  return request.say(found ? TOUCHED : Say.NOT_FOUND);
}
