// The binary protocol, which memcached calls deprecated and memjs, spymemcached and libmemcached
// still speak: reads the header of a request, checks the form of the request, and calls its
// command. The header is drawn in ../../protocol/binary.ts.
import { refuseTooLarge } from "../../items/set.ts";
import * as Op from "../../protocol/binary.ts";
import { type BinaryHeader, HEADER_BYTES } from "../../protocol/binary.ts";
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import { KEY_BYTES_MAX } from "../../protocol/text.ts";
import type { Session } from "../../session.ts";
import type { CommandParts, Protocol, Turn } from "../contract.ts";
import { BinaryRequest } from "./request.ts";
import { type BinaryCommand, COMMANDS, NONE, REQUIRED } from "./table.ts";

/** Name, password and identity of SASL PLAIN. */
const SECRET_BYTES_MAX = 1024;

export class BinaryProtocol implements Protocol {
  readonly #request: BinaryRequest;

  constructor(turn: Turn, parts: CommandParts) {
    this.#request = new BinaryRequest(turn, parts);
  }

  execute(session: Session, bytes: Uint8Array, from: number, to: number): number {
    const request = this.#request;
    const { header } = request;
    if (to - from < HEADER_BYTES) {
      if (bytes[from] === Op.REQUEST) return 0;
      session.closing = true;
      return to - from;
    }
    header.read(bytes, from);
    if (header.magic !== Op.REQUEST) {
      session.closing = true;
      return to - from;
    }
    request.session = session;
    request.bytes = bytes;
    request.from = from;
    session.lastCommandAt = request.items.now;
    request.reply.room(REPLY_BYTES_MAX);
    const { keyBytes, extrasBytes, bodyBytes } = header;
    if (keyBytes + extrasBytes > bodyBytes) return hangUp(request, Op.UNKNOWN_COMMAND);
    if (keyBytes > KEY_BYTES_MAX) return hangUp(request, Op.INVALID);
    const command = COMMANDS[header.operation];
    if (!session.authenticated && command?.isPublic !== true) {
      return hangUp(request, Op.AUTH_ERROR);
    }
    if (command === undefined) return unknown(request);
    if (!isWellFormed(header, command)) return hangUp(request, Op.INVALID);
    if (header.valueBytes > 0 && !fits(request)) return refuseValue(request, to);
    const whole = HEADER_BYTES + bodyBytes;
    if (to - from < whole) {
      session.need = whole;
      return 0;
    }
    command.execute(request);
    return whole;
  }

  fail(): number {
    const request = this.#request;
    request.fail(Op.NO_ANSWER);
    return HEADER_BYTES + request.header.bodyBytes;
  }
}

/** Whether extras, key and value have the lengths that the command's requests have. */
function isWellFormed(header: BinaryHeader, command: BinaryCommand): boolean {
  const { extrasBytes, keyBytes, valueBytes } = header;
  if (extrasBytes !== command.extrasBytes && !(command.extrasOptional && extrasBytes === 0)) {
    return false;
  }
  if (command.key === REQUIRED ? keyBytes === 0 : command.key === NONE && keyBytes > 0) {
    return false;
  }
  return command.hasValue || valueBytes === 0;
}

function hangUp(request: BinaryRequest, status: number): number {
  request.fail(status);
  request.session.closing = true;
  return HEADER_BYTES;
}

function unknown(request: BinaryRequest): number {
  request.fail(Op.UNKNOWN_COMMAND);
  request.session.swallow = request.header.bodyBytes;
  return HEADER_BYTES;
}

function isSasl({ operation }: BinaryHeader): boolean {
  return operation === Op.SASL_AUTH || operation === Op.SASL_STEP;
}

function fits({ header, items }: BinaryRequest): boolean {
  const { keyBytes, valueBytes } = header;
  return isSasl(header) ? valueBytes <= SECRET_BYTES_MAX : items.fits(keyBytes, valueBytes);
}

/** Refuses a value that is too large. Its key must have come, so that the old item is removed. */
function refuseValue(request: BinaryRequest, to: number): number {
  const { header, session, items, bytes, from, keyFrom, keyTo } = request;
  const keyed = HEADER_BYTES + header.extrasBytes + header.keyBytes;
  if (to - from < keyed) {
    session.need = keyed;
    return 0;
  }
  if (!isSasl(header)) refuseTooLarge(items, bytes, keyFrom, keyTo);
  request.fail(Op.VALUE_TOO_LARGE);
  session.swallow = HEADER_BYTES + header.bodyBytes - keyed;
  return keyed;
}
