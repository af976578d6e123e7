// The commands of the text protocol, by number.
import { ascii, equals } from "./text.ts";

export const UNKNOWN = 0;
export const GET = 1;
export const GETS = 2;
export const GAT = 3;
export const GATS = 4;
export const SET = 5;
export const ADD = 6;
export const REPLACE = 7;
export const APPEND = 8;
export const PREPEND = 9;
export const CAS = 10;
export const DELETE = 11;
export const INCR = 12;
export const DECR = 13;
export const TOUCH = 14;
export const FLUSH_ALL = 15;
export const VERBOSITY = 16;
export const VERSION = 17;
export const STATS = 18;
export const QUIT = 19;
export const SHUTDOWN = 20;
export const META_GET = 21;
export const META_SET = 22;
export const META_DELETE = 23;
export const META_ARITHMETIC = 24;
export const META_NOOP = 25;
export const META_DEBUG = 26;
export const CACHE_MEMLIMIT = 27;
export const SLABS = 28;
export const LRU = 29;
export const LRU_CRAWLER = 30;
export const WATCH = 31;
export const DEBUGTIME = 32;
export const REFRESH_CERTS = 34;

const NAMES: readonly (readonly [name: string, command: number])[] = [
  ["get", GET],
  ["gets", GETS],
  ["gat", GAT],
  ["gats", GATS],
  // Undocumented, and older than all clients; memcached still takes it for `get`.
  ["bget", GET],
  ["set", SET],
  ["add", ADD],
  ["replace", REPLACE],
  ["append", APPEND],
  ["prepend", PREPEND],
  ["cas", CAS],
  ["delete", DELETE],
  ["incr", INCR],
  ["decr", DECR],
  ["touch", TOUCH],
  ["flush_all", FLUSH_ALL],
  ["verbosity", VERBOSITY],
  ["version", VERSION],
  ["stats", STATS],
  ["quit", QUIT],
  ["shutdown", SHUTDOWN],
  ["mg", META_GET],
  ["ms", META_SET],
  ["md", META_DELETE],
  ["ma", META_ARITHMETIC],
  ["mn", META_NOOP],
  ["me", META_DEBUG],
  ["cache_memlimit", CACHE_MEMLIMIT],
  ["slabs", SLABS],
  ["lru", LRU],
  ["lru_crawler", LRU_CRAWLER],
  ["watch", WATCH],
  ["debugtime", DEBUGTIME],
  ["refresh_certs", REFRESH_CERTS],
];

interface Named {
  readonly name: Uint8Array;
  readonly command: number;
}

const LONGEST = 14;

/** The few names of each length, so that at most a handful is compared. */
const BY_LENGTH: readonly (readonly Named[])[] = Array.from({ length: LONGEST + 1 }, (_, length) =>
  NAMES.filter(([name]) => name.length === length).map(([name, command]) => ({
    name: ascii(name),
    command,
  })),
);

/** Which command a token names, UNKNOWN if none. */
export function commandOf(bytes: Uint8Array, from: number, to: number): number {
  if (to - from > LONGEST) return UNKNOWN;
  const named = BY_LENGTH[to - from]!;
  for (let i = 0; i < named.length; i++) {
    if (equals(bytes, from, to, named[i]!.name)) return named[i]!.command;
  }
  return UNKNOWN;
}
