// `stats [KIND]`: statistics of the server, and of prefixes of keys; `stats cachedump` lists keys.
import { ascii } from "../../protocol/text.ts";
import { type AddStat, STATS_UNITS } from "../statistics.ts";
import { cacheDump, ITEM_CLASS, ITEM_CLASSES_END, PrefixDump } from "./long_reply.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const RESET = ascii("RESET\r\n");
const DETAIL_USAGE = ascii("CLIENT_ERROR usage: stats detail on|off|dump\r\n");
const DUMP_REFUSED = ascii("CLIENT_ERROR stats cachedump not allowed\r\n");
const BAD_LINE = ascii("CLIENT_ERROR bad command line\r\n");
const BAD_CLASS_ID = ascii("CLIENT_ERROR Illegal slab id\r\n");
/** `stats cachedump` lists at most so many keys. */
const DUMP_MAX = 1000;

export function stats(request: TextRequest): number {
  const words = request.words();
  const { stats: statistics } = request.parts;
  request.turn.spend(STATS_UNITS);
  const kind = words[1] ?? "";
  if (kind === "reset") {
    statistics.reset();
    return request.say(RESET);
  }
  if (kind === "detail") return detail(request, words[2] ?? "");
  if (kind === "cachedump") return dumpKeys(request, words);
  const addStat: AddStat = (name, value) => {
    request.sayMore(ascii(`STAT ${name} ${value}\r\n`));
  };
  return request.sayMore(statistics.add(kind, addStat) ? Say.END : Say.ERROR);
}

function detail(request: TextRequest, what: string): number {
  const { session, parts } = request;
  if (what === "on" || what === "off") {
    parts.stats.detailed = what === "on";
    return request.say(Say.OK);
  }
  if (what !== "dump") return request.say(DETAIL_USAGE);
  session.longReply = new PrefixDump(request, parts.stats.prefixLines());
  return request.lineBytes;
}

function dumpKeys(request: TextRequest, words: readonly string[]): number {
  const which = Number(words[2]);
  const limit = Number(words[3]);
  if (!request.parts.settings.dumpEnabled) return request.say(DUMP_REFUSED);
  if (words.length < 4) return request.say(BAD_LINE);
  if (!/^\d+$/.test(`${words[2]}${words[3]}`)) return request.say(Say.BAD_FORMAT);
  if (which !== ITEM_CLASS) {
    return request.say(which < ITEM_CLASSES_END ? Say.END : BAD_CLASS_ID);
  }
  const itemsMax = Math.min(limit === 0 ? DUMP_MAX : limit, DUMP_MAX);
  request.session.longReply = cacheDump(request, itemsMax);
  return request.lineBytes;
}
