// `lru_crawler`: its commands search for expired items, and list all items. All items are in one
// class, and the search for expired items has no thread of its own.
import { ascii } from "../../protocol/text.ts";
import { Crawl, ITEM_CLASS, ITEM_CLASSES_END, metaDump, metaGetDump } from "./long_reply.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const SLEEP_MAX_US = 1_000_000;
const SLEEP_TOO_LONG = ascii("CLIENT_ERROR sleep must be one second or less\r\n");
const METADUMP_REFUSED = ascii("ERROR metadump not allowed\r\n");
const METADUMP_PIPELINED = ascii("ERROR cannot pipeline other commands before metadump\r\n");
const MGDUMP_REFUSED = ascii("ERROR mgdump not allowed\r\n");
const MGDUMP_PIPELINED = ascii("ERROR cannot pipeline other commands before mgdump\r\n");
const BAD_CLASS = ascii("BADCLASS invalid class id\r\n");

export function lruCrawler(request: TextRequest): number {
  const words = request.words();
  const [, what = "", which = ""] = words;
  if (words.length === 2 && (what === "enable" || what === "disable")) {
    request.parts.stats.sweeps = what === "enable";
    return request.say(Say.OK);
  }
  if (words.length !== 3) return request.say(Say.ERROR);
  if (what === "sleep" || what === "tocrawl") return configure(request, what, which);
  if (what === "crawl" || what === "metadump" || what === "mgdump") {
    return walk(request, what, which);
  }
  return request.say(Say.ERROR);
}

/** Checks the number as memcached does; it changes nothing here. */
function configure(request: TextRequest, what: "sleep" | "tocrawl", which: string): number {
  const number = /^\d{1,9}$/.test(which) ? Number(which) : Number.NaN;
  if (Number.isNaN(number)) return request.say(Say.BAD_FORMAT);
  return request.say(what === "sleep" && number > SLEEP_MAX_US ? SLEEP_TOO_LONG : Say.OK);
}

function walk(request: TextRequest, what: "crawl" | "metadump" | "mgdump", which: string): number {
  const { reply, session, parts } = request;
  const isDump = what !== "crawl";
  const hasItems = hasItemClass(which, isDump);
  if (isDump && !parts.settings.dumpEnabled) {
    return request.say(what === "metadump" ? METADUMP_REFUSED : MGDUMP_REFUSED);
  }
  if (isDump && reply.at > 0) {
    return request.say(what === "metadump" ? METADUMP_PIPELINED : MGDUMP_PIPELINED);
  }
  if (hasItems === undefined) return request.say(BAD_CLASS);
  if (!hasItems) return request.say(what === "metadump" ? Say.END : isDump ? Say.EN : Say.OK);
  if (what === "crawl") session.longReply = new Crawl(request);
  else session.longReply = what === "metadump" ? metaDump(request) : metaGetDump(request);
  return request.lineBytes;
}

/**
 * @param which classes by number, with commas between, or all
 * @returns whether the items' class is among them; undefined if that is no list of classes
 */
function hasItemClass(which: string, isDump: boolean): boolean | undefined {
  if (which === "all" || (which === "hash" && isDump)) return true;
  const classes = which.split(",").map((one) => (/^\d{1,3}$/.test(one) ? Number(one) : 0));
  if (classes.some((one) => one < 1 || one >= ITEM_CLASSES_END)) return undefined;
  return classes.includes(ITEM_CLASS);
}
