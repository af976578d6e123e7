// GET, GETK, GAT, GATK and TOUCH: those with a K give the key back, those with a T change when the
// item expires, and TOUCH alone gives no value.
import { getItem, touchItem } from "../../items/get.ts";
import * as Item from "../../items/items.layout.ts";
import * as Op from "../../protocol/binary.ts";
import { writeBigEndian } from "../../protocol/binary.ts";
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import type { BinaryRequest } from "./request.ts";

const FLAGS_BYTES = 4;

export function get(request: BinaryRequest): void {
  const { items, reply, parts, bytes, keyFrom, keyTo } = request;
  const { operation, quiet, keyBytes } = request.header;
  const touches = operation !== Op.GET && operation !== Op.GETK;
  const withKey = operation === Op.GETK || operation === Op.GATK;
  const found = touches
    ? touchItem(items, bytes, keyFrom, keyTo, request.expiry(0))
    : getItem(items, bytes, keyFrom, keyTo);
  if (parts.stats.detailed) parts.stats.prefixGet(bytes, keyFrom, keyTo, found);
  if (!found) {
    if (!quiet) miss(request, withKey);
    return;
  }
  const { meta } = items;
  const valueBytes = operation === Op.TOUCH ? 0 : items.valueBytes;
  const keyShown = withKey ? keyBytes : 0;
  reply.room(valueBytes + REPLY_BYTES_MAX);
  const begun = reply.at;
  request.beginItem(keyShown, FLAGS_BYTES, FLAGS_BYTES + keyShown + valueBytes);
  writeBigEndian(reply.bytes, reply.at, meta[Item.CLIENT_FLAGS]!);
  reply.at += FLAGS_BYTES;
  if (withKey) reply.copy(bytes, keyFrom, keyTo);
  if (operation === Op.TOUCH) return;
  if (items.read(reply.bytes, reply.at)) {
    reply.at += valueBytes;
    return;
  }
  // A value that can't be read is a miss.
  reply.at = begun;
  if (!quiet) miss(request, withKey);
}

function miss(request: BinaryRequest, withKey: boolean): void {
  if (!withKey) {
    request.fail(Op.KEY_NOT_FOUND);
    return;
  }
  const { header, reply, bytes, keyFrom, keyTo } = request;
  header.writeReply(reply, Op.KEY_NOT_FOUND, header.keyBytes, 0, header.keyBytes);
  reply.copy(bytes, keyFrom, keyTo);
}
