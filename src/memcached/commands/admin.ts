// The commands about the server: stats, flush_all, version and the like. They are rare, so here
// strings are made without a thought.

import type { Engine, EngineParts } from "../engine.ts";
import { expiryOf } from "../items/expiry.ts";
import * as Command from "../protocol/commands.ts";
import { REPLY_BYTES_MAX } from "../protocol/reply.ts";
import { ascii, equals, parseSigned, parseU32 } from "../protocol/text.ts";
import type { Tokens } from "../protocol/tokens.ts";
import type { Session } from "../session.ts";
import { watchFlagsOf } from "../watch/records.ts";
import type { WatchRefusal } from "../watch/watch.ts";
import {
  Crawl,
  cacheDump,
  type LongReplyParts,
  metaDump,
  metaGetDump,
  PrefixDump,
} from "./long_reply.ts";
import * as Say from "./replies.ts";
import { VERSION } from "./stats.ts";

const NOREPLY = ascii("noreply");
const VERSION_LINE = ascii(`VERSION ${VERSION}\r\n`);
const NO_SLABS = ascii("CLIENT_ERROR memory is not managed in slabs here\r\n");
/** All items are of this one, of the numbers that memcached has. */
const ITEM_CLASS = 1;
const CLASSES_END = 64;
const SLEEP_MAX_US = 1_000_000;
/** Figures of the whole store take as long as so many bytes of a reply. */
const STATS_UNITS = 32_768;
/** `stats cachedump` lists at most so many keys. */
const DUMP_MAX = 1000;
const WATCH_REFUSALS: Readonly<Record<WatchRefusal, Uint8Array>> = {
  "too many": Say.WATCHERS_TOO_MANY,
  "no room": Say.WATCHER_FAILED,
};
const MEGABYTE = 1024 * 1024;
const MEMLIMIT_MIN_MB = 8;

export class AdminCommands {
  readonly #parts: EngineParts;
  readonly #tokens: Tokens;
  readonly #longParts: LongReplyParts;
  #silent = false;

  constructor(engine: Engine, parts: EngineParts, tokens: Tokens) {
    this.#parts = parts;
    const { items, reply } = parts;
    this.#longParts = { items, reply, spend: (units) => engine.spend(units) };
    this.#tokens = tokens;
  }

  /** As TextCommands.execute, for a command whose line is whole. @returns `used` */
  execute(command: number, session: Session, bytes: Uint8Array, used: number): number {
    const words = this.#words(bytes);
    const last = this.#tokens.count - 1;
    // Others pass over the word, and answer.
    this.#silent =
      (command === Command.FLUSH_ALL ||
        command === Command.VERBOSITY ||
        command === Command.CACHE_MEMLIMIT) &&
      equals(bytes, this.#tokens.from[last]!, this.#tokens.to[last]!, NOREPLY);
    switch (command) {
      case Command.STATS:
        this.#stats(session, words);
        break;
      case Command.FLUSH_ALL:
        this.#flushAll(bytes);
        break;
      case Command.VERSION:
        this.#say(VERSION_LINE);
        break;
      case Command.VERBOSITY:
        this.#verbosity(bytes);
        break;
      case Command.QUIT:
        session.closing = true;
        session.endsFor = "normal";
        break;
      case Command.SHUTDOWN:
        this.#shutdown(session, words);
        break;
      case Command.CACHE_MEMLIMIT:
        this.#memoryLimit(bytes);
        break;
      case Command.SLABS:
        this.#slabs(bytes);
        break;
      case Command.LRU_CRAWLER:
        this.#crawler(session, words);
        break;
      case Command.WATCH:
        this.#watch(session, words.slice(1));
        break;
      case Command.DEBUGTIME:
        this.#debugTime(bytes);
        break;
      case Command.REFRESH_CERTS:
        this.#say(this.#parts.hooks.refreshCertificates() ? Say.OK : Say.ERROR);
        break;
      default:
        // lru: about a part of memcached that there is none of here.
        this.#say(Say.ERROR);
    }
    return used;
  }

  #say(line: Uint8Array): void {
    if (!this.#silent) this.#text(line);
  }

  #text(line: Uint8Array): void {
    const { reply } = this.#parts;
    reply.room(line.length + REPLY_BYTES_MAX);
    reply.literal(line);
  }

  #words(bytes: Uint8Array): string[] {
    const { count, from, to } = this.#tokens;
    return Array.from({ length: count }, (_, i) =>
      String.fromCharCode(...bytes.subarray(from[i]!, to[i]!)),
    );
  }

  #stats(session: Session, words: readonly string[]): void {
    const { stats } = this.#parts;
    this.#longParts.spend(STATS_UNITS);
    const kind = words[1] ?? "";
    if (kind === "reset") {
      stats.reset();
      this.#say(Say.RESET);
    } else if (kind === "detail") this.#detail(session, words[2] ?? "");
    else if (kind === "cachedump") this.#cacheDump(session, words);
    else {
      const told = stats.tell(kind, (name, value) =>
        this.#text(ascii(`STAT ${name} ${value}\r\n`)),
      );
      this.#say(told ? Say.END : Say.ERROR);
    }
  }

  #detail(session: Session, what: string): void {
    const { stats } = this.#parts;
    if (what === "on" || what === "off") {
      stats.detailed = what === "on";
      this.#say(Say.OK);
    } else if (what === "dump") {
      session.longReply = new PrefixDump(this.#longParts, stats.prefixLines());
    } else this.#say(Say.DETAIL_USAGE);
  }

  #cacheDump(session: Session, words: readonly string[]): void {
    const { settings } = this.#parts;
    const which = Number(words[2]);
    const limit = Number(words[3]);
    if (!settings.dumpEnabled) this.#say(Say.DUMP_REFUSED);
    else if (words.length < 4) this.#say(Say.BAD_LINE);
    else if (!/^\d+$/.test(`${words[2]}${words[3]}`)) this.#say(Say.BAD_FORMAT);
    else {
      const itemsMax = Math.min(limit === 0 ? DUMP_MAX : limit, DUMP_MAX);
      if (which === ITEM_CLASS) session.longReply = cacheDump(this.#longParts, itemsMax);
      else this.#say(which < CLASSES_END ? Say.END : Say.BAD_CLASS_ID);
    }
  }

  /** There is one class of items, 1, and looking for dead ones takes no thread of its own. */
  #crawler(session: Session, words: readonly string[]): void {
    const { stats } = this.#parts;
    const [, what = "", which = ""] = words;
    if (words.length === 2 && (what === "enable" || what === "disable")) {
      stats.sweeps = what === "enable";
      this.#say(Say.OK);
    } else if (words.length !== 3) this.#say(Say.ERROR);
    else if (what === "sleep" || what === "tocrawl") {
      const number = /^\d{1,9}$/.test(which) ? Number(which) : Number.NaN;
      if (Number.isNaN(number)) this.#say(Say.BAD_FORMAT);
      else this.#say(what === "sleep" && number > SLEEP_MAX_US ? Say.SLEEP_TOO_LONG : Say.OK);
    } else if (what === "crawl" || what === "metadump" || what === "mgdump") {
      this.#walk(session, what, which);
    } else this.#say(Say.ERROR);
  }

  #walk(session: Session, what: "crawl" | "metadump" | "mgdump", which: string): void {
    const { settings, reply } = this.#parts;
    const isDump = what !== "crawl";
    const hasItems = hasItemClass(which, isDump);
    if (isDump && !settings.dumpEnabled) {
      this.#say(what === "metadump" ? Say.METADUMP_REFUSED : Say.MGDUMP_REFUSED);
    } else if (isDump && reply.at > 0) {
      this.#say(what === "metadump" ? Say.METADUMP_PIPELINED : Say.MGDUMP_PIPELINED);
    } else if (hasItems === undefined) this.#say(Say.BAD_CLASS);
    else if (!hasItems) this.#say(what === "metadump" ? Say.END : isDump ? Say.EN : Say.OK);
    else if (what === "crawl") session.longReply = new Crawl(this.#longParts);
    else if (what === "metadump") session.longReply = metaDump(this.#longParts);
    else session.longReply = metaGetDump(this.#longParts);
  }

  /** From here on the connection reads log lines, and what it sends is passed over. */
  #watch(session: Session, words: readonly string[]): void {
    const { settings, reply, hooks } = this.#parts;
    const flags = watchFlagsOf(words);
    if (!settings.watchEnabled) this.#say(Say.WATCH_REFUSED);
    else if (reply.at > 0) this.#say(Say.WATCH_PIPELINED);
    else if (flags === undefined) this.#say(Say.ERROR);
    else {
      const refusal = hooks.watch(flags);
      if (refusal === undefined) session.swallow = Number.POSITIVE_INFINITY;
      this.#say(refusal === undefined ? Say.OK : WATCH_REFUSALS[refusal]);
    }
  }

  #flushAll(bytes: Uint8Array): void {
    const { items, settings } = this.#parts;
    const { count, from, to } = this.#tokens;
    if (count > 3) {
      this.#say(Say.ERROR);
      return;
    }
    if (!settings.flushEnabled) {
      this.#say(Say.FLUSH_REFUSED);
      return;
    }
    let due = 0;
    if (count > (this.#silent ? 2 : 1)) {
      const delay = parseSigned(bytes, from[1]!, to[1]!);
      if (Number.isNaN(delay)) {
        this.#say(Say.BAD_EXPTIME);
        return;
      }
      due = delay > 0 ? expiryOf(delay, items.now) : 0;
    }
    items.flush(due);
    this.#say(Say.OK);
  }

  /** Checked and answered as by memcached; there is no log whose length it could change. */
  #verbosity(bytes: Uint8Array): void {
    const { count, from, to } = this.#tokens;
    if (count < 2 || count > 3) {
      this.#say(Say.ERROR);
      return;
    }
    const level = parseU32(bytes, from[1]!, to[1]!);
    this.#say(Number.isNaN(level) ? Say.BAD_FORMAT : Say.OK);
  }

  #shutdown(session: Session, words: readonly string[]): void {
    const { settings, hooks } = this.#parts;
    if (!settings.shutdownEnabled) {
      this.#say(Say.SHUTDOWN_REFUSED);
      return;
    }
    const graceful = words[1] === "graceful";
    if (words.length > 2 || (words.length === 2 && !graceful)) {
      this.#say(Say.SHUTDOWN_MODE);
      return;
    }
    session.closing = true;
    session.endsFor = "shutdown";
    hooks.shutdown(graceful);
  }

  #memoryLimit(bytes: Uint8Array): void {
    const { count, from, to } = this.#tokens;
    if (count < 2 || count > 3) {
      this.#say(Say.ERROR);
      return;
    }
    const megabytes = parseU32(bytes, from[1]!, to[1]!);
    if (Number.isNaN(megabytes)) {
      this.#say(Say.ERROR);
      return;
    }
    if (megabytes < MEMLIMIT_MIN_MB) {
      this.#say(Say.MEMLIMIT_SMALL);
      return;
    }
    const possible = this.#parts.items.store.limit(megabytes * MEGABYTE);
    this.#say(possible ? Say.OK : Say.MEMLIMIT_FAILED);
  }

  #slabs(bytes: Uint8Array): void {
    const { count, from, to } = this.#tokens;
    if (count < 3) {
      this.#say(Say.ERROR);
      return;
    }
    const number = parseU32(bytes, from[2]!, to[2]!);
    this.#say(Number.isNaN(number) ? Say.BAD_FORMAT : NO_SLABS);
  }

  /** Moves the clock of all threads; p and r, which stop and start it, are answered only. */
  #debugTime(bytes: Uint8Array): void {
    const { items, settings } = this.#parts;
    const { count, from, to } = this.#tokens;
    if (!settings.debugTime || count < 2) {
      this.#say(Say.ERROR);
      return;
    }
    const seconds = parseSigned(bytes, from[1]!, to[1]!);
    if (!Number.isNaN(seconds)) {
      items.shared.moveClock(seconds);
      items.now += seconds;
      items.settle();
    }
    this.#say(Say.OK);
  }
}

/**
 * @param which classes by number, with commas between, or all
 * @returns whether the items' class is among them; undefined if that is no list of classes
 */
function hasItemClass(which: string, isDump: boolean): boolean | undefined {
  if (which === "all" || (which === "hash" && isDump)) return true;
  const classes = which.split(",").map((one) => (/^\d{1,3}$/.test(one) ? Number(one) : 0));
  if (classes.some((one) => one < 1 || one >= CLASSES_END)) return undefined;
  return classes.includes(ITEM_CLASS);
}
