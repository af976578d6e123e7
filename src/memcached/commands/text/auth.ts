// Authentication as memcached's -Y has it. A client that has not authenticated may only do so: by
// `set KEY FLAGS EXPTIME BYTES`, with name and password as the value.
import { ascii, parseU32, SPACE } from "../../protocol/text.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const SET = ascii("set");
const UNAUTHENTICATED = ascii("CLIENT_ERROR unauthenticated\r\n");
const BAD_TOKEN = ascii("CLIENT_ERROR bad authentication token format\r\n");
const FAILED = ascii("CLIENT_ERROR authentication failure\r\n");
const BAD_ENDING = ascii("CLIENT_ERROR bad command line termination\r\n");
/** Name and password: an unknown client can't make the server keep more. */
const SECRET_BYTES_MAX = 1024;

/** As a TextCommand, for every line of a client that has not authenticated. */
export function authenticate(request: TextRequest): number {
  const { tokens, bytes, session, parts } = request;
  const isSet = tokens.count >= 5 && request.tokenIs(0, SET);
  const length = isSet ? parseU32(bytes, tokens.from[4]!, tokens.to[4]!) : Number.NaN;
  if (Number.isNaN(length)) return request.say(UNAUTHENTICATED);
  if (length > SECRET_BYTES_MAX) return request.refuseValue(FAILED, length);
  if (!request.hasValue(length)) return 0;
  if (!request.isValueEnded(length)) return request.sayOfValue(BAD_ENDING, length);
  const secret = tokens.next;
  const end = secret + length;
  const space = bytes.subarray(secret, end).indexOf(SPACE);
  if (space < 1 || secret + space + 1 >= end) return request.sayOfValue(BAD_TOKEN, length);
  const name = bytes.subarray(secret, secret + space);
  const password = bytes.subarray(secret + space + 1, end);
  session.authenticated = parts.credentials?.allows(name, password) ?? true;
  parts.stats.countAuth(session.authenticated);
  return request.sayOfValue(session.authenticated ? Say.STORED : FAILED, length);
}
