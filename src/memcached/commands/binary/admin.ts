// Commands about the server: FLUSH, STAT, VERSION, QUIT, and NOOP and VERBOSITY, which only reply.
import * as Op from "../../protocol/binary.ts";
import { REPLY_BYTES_MAX } from "../../protocol/reply.ts";
import { ascii } from "../../protocol/text.ts";
import { STATS_UNITS, VERSION } from "../statistics.ts";
import type { BinaryRequest } from "./request.ts";

const VERSION_TEXT = ascii(VERSION);
const DELAY_BYTES = 4;

/** The delay is an extra; without it, or with 0, all items are gone at once. */
export function flush(request: BinaryRequest): void {
  const { items, parts, header } = request;
  if (!parts.settings.flushEnabled) {
    request.fail(Op.AUTH_ERROR);
    return;
  }
  const isDelayed = header.extrasBytes === DELAY_BYTES && request.extra(0) > 0;
  items.flush(isDelayed ? request.expiry(0) : 0);
  request.succeedUnlessQuiet();
}

export function noop(request: BinaryRequest): void {
  request.succeedUnlessQuiet();
}

export function quit(request: BinaryRequest): void {
  request.session.closing = true;
  request.session.endsFor = "normal";
  request.succeedUnlessQuiet();
}

export function version(request: BinaryRequest): void {
  request.succeed(VERSION_TEXT);
}

/** A reply for each figure, and an empty one at the end. */
export function stat(request: BinaryRequest): void {
  const { reply, header, bytes, keyFrom, keyTo } = request;
  const { stats } = request.parts;
  request.turn.spend(STATS_UNITS);
  const key = String.fromCharCode(...bytes.subarray(keyFrom, keyTo));
  const [kind = "", what = ""] = key.split(" ");
  if (kind === "reset") stats.reset();
  else if (kind === "detail" && (what === "on" || what === "off")) stats.detailed = what === "on";
  else if (kind === "detail" && what === "dump") {
    replyFigure(request, "detailed", [...stats.prefixLines()].join(""));
  } else if (!stats.add(kind, (name, value) => replyFigure(request, name, String(value)))) {
    request.fail(Op.KEY_NOT_FOUND);
    return;
  }
  reply.room(REPLY_BYTES_MAX);
  header.writeReply(reply, Op.OK, 0, 0, 0);
}

function replyFigure({ reply, header }: BinaryRequest, name: string, value: string): void {
  const bodyBytes = name.length + value.length;
  reply.room(bodyBytes + REPLY_BYTES_MAX);
  header.writeReply(reply, Op.OK, name.length, 0, bodyBytes);
  reply.literal(ascii(name));
  reply.literal(ascii(value));
}
