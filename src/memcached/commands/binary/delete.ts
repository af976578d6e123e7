// DELETE, of whatever item is there, or only of the one with the cas number of the header.
import { deleteItem } from "../../items/delete.ts";
import { DONE, SET } from "../../items/requests.ts";
import { type BinaryRequest, statusOf } from "./request.ts";

export function deleteKey(request: BinaryRequest): void {
  const { items, parts, bytes, keyFrom, keyTo } = request;
  const { cas } = request.header;
  const change = request.remove.reset();
  change.hasCas = !cas.isZero;
  change.cas.set(cas.high, cas.low);
  const outcome = deleteItem(items, bytes, keyFrom, keyTo, change);
  if (parts.stats.detailed) parts.stats.prefixDelete(bytes, keyFrom, keyTo);
  if (outcome !== DONE) request.fail(statusOf(outcome, SET));
  else request.succeedUnlessQuiet();
}
