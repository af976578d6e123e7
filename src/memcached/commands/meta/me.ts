// `me KEY [b]`: the metadata of an item, for people. `mn`: a reply that marks the end of others.
import { peekItem } from "../../items/get.ts";
import * as Item from "../../items/items.layout.ts";
import { encodeBase64 } from "../../protocol/base64.ts";
import { ascii } from "../../protocol/text.ts";
import * as Say from "../text/replies.ts";
import { BAD_KEY, type MetaRequest } from "./request.ts";

const MN = ascii("MN\r\n");
const ME = ascii("ME ");
const EXPIRES = ascii(" exp=");
const ACCESSED = ascii(" la=");
const CAS = ascii(" cas=");
const FETCHED = ascii(" fetch=yes");
const NOT_FETCHED = ascii(" fetch=no");
const SIZE = ascii(" cls=1 size=");

export function mn(request: MetaRequest): number {
  return request.say(MN);
}

export function me(request: MetaRequest): number {
  const keyError = request.keyError(Say.BAD_FORMAT);
  if (keyError !== undefined) return request.say(keyError);
  // Only a key that is not base64 is an error; other flags mean nothing here.
  if (request.readFlags(2) === BAD_KEY) return request.say(Say.BAD_FORMAT);
  const { reply, items, flags, parts, key, keyFrom, keyTo } = request;
  parts.stats.countMeta();
  if (!peekItem(items, key, keyFrom, keyTo)) return request.say(Say.EN);
  const { meta, now } = items;
  reply.literal(ME);
  // A binary key is shown in base64: it may hold what would end the line.
  if (flags.keyBinary || (meta[Item.BITS]! & Item.KEY_BINARY) !== 0) {
    reply.at = encodeBase64(key, keyFrom, keyTo, reply.bytes, reply.at);
  } else reply.copy(key, keyFrom, keyTo);
  reply.literal(EXPIRES);
  request.timeLeft(meta[Item.EXPIRES]!);
  reply.literal(ACCESSED);
  reply.u32(Math.max(0, now - meta[Item.ACCESSED]!));
  reply.literal(CAS);
  reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
  reply.literal((meta[Item.BITS]! & Item.FETCHED) !== 0 ? FETCHED : NOT_FETCHED);
  reply.literal(SIZE);
  reply.u32(keyTo - keyFrom + items.valueBytes);
  return request.say(Say.CRLF);
}
