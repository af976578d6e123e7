// `quit` ends the connection, `shutdown [graceful]` the server.
import { ascii } from "../../protocol/text.ts";
import type { TextRequest } from "./request.ts";

const REFUSED = ascii("ERROR: shutdown not enabled\r\n");
const BAD_MODE = ascii("CLIENT_ERROR invalid shutdown mode\r\n");

export function quit(request: TextRequest): number {
  const { session } = request;
  session.closing = true;
  session.endsFor = "normal";
  return request.lineBytes;
}

export function shutdown(request: TextRequest): number {
  const { session, parts } = request;
  if (!parts.settings.shutdownEnabled) return request.say(REFUSED);
  const words = request.words();
  const graceful = words[1] === "graceful";
  if (words.length > 2 || (words.length === 2 && !graceful)) return request.say(BAD_MODE);
  session.closing = true;
  session.endsFor = "shutdown";
  parts.hooks.shutdown(graceful);
  return request.lineBytes;
}
