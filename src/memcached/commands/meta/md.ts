// `md KEY FLAG…`: deletes an item, marks it stale (I), or empties it (x).
import { deleteItem } from "../../items/delete.ts";
import * as Say from "../text/replies.ts";
import type { MetaRequest } from "./request.ts";

export function md(request: MetaRequest): number {
  const error = request.keyError(Say.ERROR) ?? request.readFlagsVaguely();
  if (error !== undefined) return request.say(error);
  const { flags, items, reply, key, keyFrom, keyTo } = request;
  const begun = reply.at;
  const change = request.remove.reset();
  request.fill(change);
  change.invalidate = flags.invalidate;
  change.emptied = flags.emptied;
  change.byMeta = true;
  const outcome = deleteItem(items, key, keyFrom, keyTo, change);
  if (request.replyOutcome(outcome) && flags.quiet) reply.at = begun;
  return request.lineBytes;
}
