// `ms KEY BYTES FLAG…` and the value behind the line: stores an item; M says how.

import * as Item from "../../items/items.layout.ts";
import {
  ADD,
  APPEND,
  DONE,
  type Outcome,
  PREPEND,
  REPLACE,
  SET,
  type StoreMode,
} from "../../items/requests.ts";
import { refuseTooLarge, storeItem } from "../../items/set.ts";
import * as Flag from "../../protocol/meta_flags.ts";
import { ascii, parseSigned } from "../../protocol/text.ts";
import * as Say from "../text/replies.ts";
import { VALUE_BYTES_LIMIT } from "../text/request.ts";
import type { MetaRequest } from "./request.ts";

const BAD_MODE = ascii("CLIENT_ERROR invalid mode for ms M token\r\n");
const NO_CAS = 0;

export function ms(request: MetaRequest): number {
  const keyError = request.keyError(Say.ERROR);
  if (keyError !== undefined) return request.say(keyError);
  const { tokens, bytes, flags, items } = request;
  const valueBytes = tokens.count < 3 ? -1 : parseSigned(bytes, tokens.from[2]!, tokens.to[2]!);
  if (!(valueBytes >= 0 && valueBytes <= VALUE_BYTES_LIMIT)) return request.say(Say.BAD_FORMAT);
  const error = request.readFlags(3);
  const mode = storeModeOf(flags.mode);
  if (error !== undefined || mode === undefined) {
    return request.refuseValue(error ?? BAD_MODE, valueBytes);
  }
  const { key, keyFrom, keyTo } = request;
  const change = request.store.reset(mode);
  if (!items.fits(keyTo - keyFrom, valueBytes)) {
    refuseTooLarge(items, key, keyFrom, keyTo, change);
    return request.refuseValue(Say.TOO_LARGE, valueBytes);
  }
  if (!request.hasValue(valueBytes)) return 0;
  if (!request.isValueEnded(valueBytes)) return request.sayOfValue(Say.BAD_CHUNK, valueBytes);
  request.fill(change);
  change.setValue(bytes, tokens.next, tokens.next + valueBytes);
  change.clientFlags = flags.clientFlags;
  change.invalidate = flags.invalidate;
  const outcome = storeItem(items, key, keyFrom, keyTo, change);
  if (outcome !== DONE || !flags.quiet) replyStored(request, outcome, valueBytes);
  return request.wholeBytes(valueBytes);
}

/** The letter behind M; newer servers take small letters too. */
function storeModeOf(letter: number): StoreMode | undefined {
  switch (letter & ~0x20) {
    case 0:
    case 83: // S
      return SET;
    case 69: // E
      return ADD;
    case 82: // R
      return REPLACE;
    case 65: // A
      return APPEND;
    case 80: // P
      return PREPEND;
    default:
      return undefined;
  }
}

function replyStored(request: MetaRequest, outcome: Outcome, valueBytes: number): void {
  const { tokens, bytes, reply, items } = request;
  const code = Say.META_REPLY[outcome];
  if (code === undefined) {
    reply.literal(Say.STORE_REPLY[outcome]);
    return;
  }
  const { meta } = items;
  reply.literal(code);
  for (let i = 3; i < tokens.count; i++) {
    const letter = bytes[tokens.from[i]!]!;
    if (letter === Flag.FLAG_c) {
      reply.flag(letter);
      if (outcome === DONE) reply.u64(meta[Item.CAS_HIGH]!, meta[Item.CAS_LOW]!);
      else reply.u32(NO_CAS);
    } else if (letter === Flag.FLAG_s) {
      reply.flag(letter);
      reply.u32(valueBytes);
    } else request.identityFlag(i, letter);
  }
  reply.literal(Say.CRLF);
}
