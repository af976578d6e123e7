// SASL: the only mechanism is PLAIN, with the names and passwords of the text protocol.
import * as Op from "../../protocol/binary.ts";
import { ascii, equals } from "../../protocol/text.ts";
import type { BinaryRequest } from "./request.ts";

const MECHANISMS = ascii("PLAIN");
const AUTHENTICATED = ascii("Authenticated");

export function saslList(request: BinaryRequest): void {
  if (request.parts.credentials === undefined) request.fail(Op.UNKNOWN_COMMAND);
  else request.succeed(MECHANISMS);
}

/** SASL_AUTH and SASL_STEP: the key names the mechanism, the value is the secret. */
export function saslAuth(request: BinaryRequest): void {
  const { session, bytes, keyFrom, keyTo } = request;
  const { credentials, stats } = request.parts;
  if (credentials === undefined) {
    request.fail(Op.UNKNOWN_COMMAND);
    return;
  }
  const secret = bytes.subarray(keyTo, request.valueTo);
  // Identity, name and password, with a zero byte between them.
  const first = secret.indexOf(0);
  const second = first < 0 ? -1 : secret.indexOf(0, first + 1);
  session.authenticated =
    second >= 0 &&
    equals(bytes, keyFrom, keyTo, MECHANISMS) &&
    credentials.allows(secret.subarray(first + 1, second), secret.subarray(second + 1));
  stats.countAuth(session.authenticated);
  if (session.authenticated) request.succeed(AUTHENTICATED);
  else request.fail(Op.AUTH_ERROR);
}
