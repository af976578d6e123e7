// INCREMENT and DECREMENT: delta, initial value and expiry are extras, the new number is the value
// of the reply.
import { deltaItem } from "../../items/delta.ts";
import { DONE, SET } from "../../items/requests.ts";
import { writeBigEndian } from "../../protocol/binary.ts";
import { type BinaryRequest, statusOf } from "./request.ts";

const NUMBER_BYTES = 8;
/** With this expiry no item is created where there is none. */
const NO_VIVIFY = 0xffff_ffff;

export function increment(request: BinaryRequest): void {
  count(request, true);
}

export function decrement(request: BinaryRequest): void {
  count(request, false);
}

function count(request: BinaryRequest, isIncrement: boolean): void {
  const { items, reply, bytes, keyFrom, keyTo } = request;
  const { cas, quiet } = request.header;
  const change = request.delta.reset();
  change.increment = isIncrement;
  change.delta.set(request.extra(0), request.extra(4));
  change.initial.set(request.extra(8), request.extra(12));
  change.vivify = request.extra(16) !== NO_VIVIFY;
  change.vivifyExpires = request.expiry(16);
  change.hasCas = !cas.isZero;
  change.cas.set(cas.high, cas.low);
  const outcome = deltaItem(items, bytes, keyFrom, keyTo, change);
  if (outcome !== DONE) {
    request.fail(statusOf(outcome, SET));
    return;
  }
  if (quiet) return;
  request.beginItem(0, 0, NUMBER_BYTES);
  writeBigEndian(reply.bytes, reply.at, items.number.high);
  writeBigEndian(reply.bytes, reply.at + 4, items.number.low);
  reply.at += NUMBER_BYTES;
}
