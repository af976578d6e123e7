// Small commands about the server: `version`, `verbosity`, `cache_memlimit`, `slabs`, `lru`,
// `debugtime` and `refresh_certs`. Those about parts that only memcached has check their arguments
// as memcached does.
import { limitMemory } from "../../items/memory.ts";
import { ascii, parseSigned, parseU32 } from "../../protocol/text.ts";
import { VERSION } from "../statistics.ts";
import * as Say from "./replies.ts";
import type { TextRequest } from "./request.ts";

const VERSION_LINE = ascii(`VERSION ${VERSION}\r\n`);
const NO_SLABS = ascii("CLIENT_ERROR memory is not managed in slabs here\r\n");
const MEGABYTE = 1024 * 1024;
const MEMLIMIT_MIN_MB = 8;
const MEMLIMIT_SMALL = ascii("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n");
const MEMLIMIT_FAILED = ascii("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n");

export function version(request: TextRequest): number {
  return request.say(VERSION_LINE);
}

/** `verbosity LEVEL [noreply]`: there is no log whose length it could change. */
export function verbosity(request: TextRequest): number {
  const { tokens, bytes } = request;
  request.readNoreply();
  if (tokens.count < 2 || tokens.count > 3) return request.say(Say.ERROR);
  const level = parseU32(bytes, tokens.from[1]!, tokens.to[1]!);
  return request.say(Number.isNaN(level) ? Say.BAD_FORMAT : Say.OK);
}

/** `cache_memlimit MEGABYTES [noreply]`: changes the memory limit. */
export function cacheMemlimit(request: TextRequest): number {
  const { tokens, bytes, items } = request;
  request.readNoreply();
  if (tokens.count < 2 || tokens.count > 3) return request.say(Say.ERROR);
  const megabytes = parseU32(bytes, tokens.from[1]!, tokens.to[1]!);
  if (Number.isNaN(megabytes)) return request.say(Say.ERROR);
  if (megabytes < MEMLIMIT_MIN_MB) return request.say(MEMLIMIT_SMALL);
  return request.say(limitMemory(items.shards, megabytes * MEGABYTE) ? Say.OK : MEMLIMIT_FAILED);
}

/** `slabs reassign FROM TO` and the like. */
export function slabs(request: TextRequest): number {
  const { tokens, bytes } = request;
  if (tokens.count < 3) return request.say(Say.ERROR);
  const number = parseU32(bytes, tokens.from[2]!, tokens.to[2]!);
  return request.say(Number.isNaN(number) ? Say.BAD_FORMAT : NO_SLABS);
}

/** `lru`: there are no LRU segments to be configured. */
export function lru(request: TextRequest): number {
  return request.say(Say.ERROR);
}

/** `debugtime SECONDS` moves the clock of all threads; `p` and `r` are accepted and do nothing. */
export function debugtime(request: TextRequest): number {
  const { tokens, bytes, items, parts } = request;
  if (!parts.settings.debugTime || tokens.count < 2) return request.say(Say.ERROR);
  const seconds = parseSigned(bytes, tokens.from[1]!, tokens.to[1]!);
  if (!Number.isNaN(seconds)) {
    items.shared.moveClock(seconds);
    items.now += seconds;
    items.settle();
  }
  return request.say(Say.OK);
}

/** `refresh_certs`: reads the TLS certificate and key again. */
export function refreshCerts(request: TextRequest): number {
  return request.say(request.parts.hooks.refreshCertificates() ? Say.OK : Say.ERROR);
}
