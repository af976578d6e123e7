// The commands about the server: stats, flush_all, version and the like. They are rare, so here
// strings are made without a thought.
import { expiryOf } from "../../front/items/expiry.ts";
import * as Item from "../../front/items/items.layout.ts";
import { sweep } from "../../front/items/sweep.ts";
import * as Command from "../../wire/memcached/commands.ts";
import { REPLY_BYTES_MAX } from "../../wire/memcached/reply.ts";
import { ascii, equals, parseSigned, parseU32 } from "../../wire/memcached/text.ts";
import type { Tokens } from "../../wire/memcached/tokens.ts";
import type { EngineParts } from "./engine.ts";
import { watchFlagsOf } from "./log_records.ts";
import * as Say from "./replies.ts";
import type { Session } from "./session.ts";
import { VERSION } from "./stats.ts";
import type { WatchRefusal } from "./watch.ts";

const NOREPLY = ascii("noreply");
const VERSION_LINE = ascii(`VERSION ${VERSION}\r\n`);
const NO_SLABS = ascii("CLIENT_ERROR memory is not managed in slabs here\r\n");
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
  #silent = false;

  constructor(parts: EngineParts, tokens: Tokens) {
    this.#parts = parts;
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
        this.#stats(words);
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

  #stats(words: readonly string[]): void {
    const { stats } = this.#parts;
    const kind = words[1] ?? "";
    if (kind === "reset") {
      stats.reset();
      this.#say(Say.RESET);
    } else if (kind === "detail") this.#detail(words[2] ?? "");
    else if (kind === "cachedump") this.#cacheDump(words);
    else {
      const told = stats.tell(kind, (name, value) =>
        this.#text(ascii(`STAT ${name} ${value}\r\n`)),
      );
      this.#say(told ? Say.END : Say.ERROR);
    }
  }

  #detail(what: string): void {
    const { stats } = this.#parts;
    if (what === "on" || what === "off") {
      stats.detailed = what === "on";
      this.#say(Say.OK);
    } else if (what === "dump") {
      for (const line of stats.prefixLines()) this.#text(ascii(line));
      this.#say(Say.END);
    } else this.#say(Say.DETAIL_USAGE);
  }

  #cacheDump(words: readonly string[]): void {
    const { items, settings } = this.#parts;
    const limit = Number(words[3]);
    if (!settings.dumpEnabled) this.#say(Say.DUMP_REFUSED);
    else if (words.length < 4) this.#say(Say.BAD_LINE);
    else if (!/^\d+$/.test(`${words[2]}${words[3]}`)) this.#say(Say.BAD_FORMAT);
    else {
      let left = Math.min(limit === 0 ? DUMP_MAX : limit, DUMP_MAX);
      let place = 0;
      while (place >= 0 && left > 0) {
        place = items.store.scan(place, (key) => {
          if (!items.isAlive() || left-- <= 0) return;
          const { valueBytes } = items.store;
          const expires = items.meta[Item.EXPIRES]!;
          const line = `ITEM ${String.fromCharCode(...key)} [${valueBytes} b; ${expires} s]\r\n`;
          this.#text(ascii(line));
        });
      }
      this.#say(Say.END);
    }
  }

  /** There is one class of items, 1, and looking for dead ones takes no thread of its own. */
  #crawler(session: Session, words: readonly string[]): void {
    const { items, stats, settings, reply } = this.#parts;
    const [, what = "", which = ""] = words;
    if (what === "enable" || what === "disable") {
      stats.sweeps = what === "enable";
      this.#say(Say.OK);
    } else if (what === "crawl" && which !== "") {
      for (let place = 0; place >= 0; ) place = sweep(items, place);
      this.#say(Say.OK);
    } else if ((what === "sleep" || what === "tocrawl") && /^\d+$/.test(which)) this.#say(Say.OK);
    else if (what !== "metadump" || which === "") this.#say(Say.ERROR);
    else if (!settings.dumpEnabled) this.#say(Say.METADUMP_REFUSED);
    else if (reply.at > 0) this.#say(Say.METADUMP_PIPELINED);
    else session.dumpAt = 0;
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

  /** Some lines of `lru_crawler metadump`, and at the end the word for it. */
  dumpSome(session: Session): void {
    const { items } = this.#parts;
    const { meta, store, now } = items;
    session.dumpAt = store.scan(session.dumpAt, (key) => {
      if (!items.isAlive()) return;
      const name = encodeURIComponent(String.fromCharCode(...key));
      const cas = (BigInt(meta[Item.CAS_HIGH]!) << 32n) | BigInt(meta[Item.CAS_LOW]!);
      const fetched = (meta[Item.BITS]! & Item.FETCHED) !== 0 ? "yes" : "no";
      const expires = meta[Item.EXPIRES] === 0 ? -1 : meta[Item.EXPIRES];
      const size = key.length + store.valueBytes;
      this.#text(
        ascii(
          `key=${name} exp=${expires} la=${Math.min(now, meta[Item.ACCESSED]!)} cas=${cas} ` +
            `fetch=${fetched} cls=1 size=${size}\n`,
        ),
      );
    });
    if (session.dumpAt < 0) this.#text(Say.END);
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
    const number = count < 3 ? Number.NaN : parseU32(bytes, from[2]!, to[2]!);
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
