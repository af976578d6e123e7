// Who has not said who it is may only say so: `set KEY FLAGS EXPTIME BYTES`, with name and password
// for a value, as memcached's -Y wants it.

import type { Credentials } from "../auth.ts";
import type { Reply } from "../protocol/reply.ts";
import { REPLY_BYTES_MAX } from "../protocol/reply.ts";
import { ascii, equals, NEWLINE, parseU32, RETURN, SPACE } from "../protocol/text.ts";
import type { Tokens } from "../protocol/tokens.ts";
import type { Session } from "../session.ts";
import * as Say from "./replies.ts";
import type { Statistics } from "./stats.ts";

const SET = ascii("set");
/** Name and password; nobody who is not known makes the server keep more. */
const SECRET_BYTES_MAX = 1024;

interface AuthParts {
  readonly credentials: Credentials | undefined;
  readonly stats: Statistics;
  readonly reply: Reply;
}

/** As TextCommands.execute, for a line that `tokens` holds. */
export function textAuth(
  session: Session,
  bytes: Uint8Array,
  from: number,
  to: number,
  tokens: Tokens,
  { credentials, stats, reply }: AuthParts,
): number {
  const used = tokens.next - from;
  reply.room(REPLY_BYTES_MAX);
  const isSet = tokens.count >= 5 && equals(bytes, tokens.from[0]!, tokens.to[0]!, SET);
  const length = isSet ? parseU32(bytes, tokens.from[4]!, tokens.to[4]!) : Number.NaN;
  if (Number.isNaN(length)) return say(reply, Say.UNAUTHENTICATED, used);
  if (length > SECRET_BYTES_MAX) {
    session.swallow = length + 2;
    return say(reply, Say.AUTH_FAILED, used);
  }
  const secret = tokens.next;
  const end = secret + length;
  if (end + 2 > to) {
    session.need = end + 2 - from;
    return 0;
  }
  const whole = end + 2 - from;
  if (bytes[end] !== RETURN || bytes[end + 1] !== NEWLINE) {
    return say(reply, Say.AUTH_ENDING, whole);
  }
  const space = bytes.subarray(secret, end).indexOf(SPACE);
  if (space < 1 || secret + space + 1 >= end) return say(reply, Say.AUTH_FORMAT, whole);
  const name = bytes.subarray(secret, secret + space);
  const password = bytes.subarray(secret + space + 1, end);
  session.authenticated = credentials?.allows(name, password) ?? true;
  stats.countAuth(session.authenticated);
  return say(reply, session.authenticated ? Say.STORED : Say.AUTH_FAILED, whole);
}

function say(reply: Reply, line: Uint8Array, used: number): number {
  reply.literal(line);
  return used;
}
