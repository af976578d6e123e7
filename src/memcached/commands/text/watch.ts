// `watch [EVENT…]`: the connection reads log lines from now on; what it sends is skipped.
import { ascii } from "../../protocol/text.ts";
import { watchFlagsOf } from "../../watch/records.ts";
import type { WatchRefusal } from "../../watch/watch.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const NOT_ALLOWED = ascii("CLIENT_ERROR watch commands not allowed\r\n");
const PIPELINED = ascii("ERROR cannot pipeline other commands before watch\r\n");
const REFUSALS: Readonly<Record<WatchRefusal, Uint8Array>> = {
  "too many": ascii("WATCHER_TOO_MANY log watcher limit reached\r\n"),
  "no room": ascii("WATCHER_FAILED failed to add log watcher\r\n"),
};

export function watch(request: TextRequest): number {
  const { reply, session, parts } = request;
  const flags = watchFlagsOf(request.words().slice(1));
  if (!parts.settings.watchEnabled) return request.say(NOT_ALLOWED);
  if (reply.at > 0) return request.say(PIPELINED);
  if (flags === undefined) return request.say(Say.ERROR);
  const refusal = parts.hooks.watch(flags);
  if (refusal !== undefined) return request.say(REFUSALS[refusal]);
  session.swallow = Number.POSITIVE_INFINITY;
  return request.say(Say.OK);
}
