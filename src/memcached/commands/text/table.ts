// The commands of the text protocol by name. To add one, write a function of a request in a file of
// this folder (or of ../meta) and name it here.
import { ascii, equals } from "../../protocol/text.ts";
import { ma } from "../meta/ma.ts";
import { md } from "../meta/md.ts";
import { me, mn } from "../meta/me.ts";
import { mg } from "../meta/mg.ts";
import { ms } from "../meta/ms.ts";
import type { MetaRequest } from "../meta/request.ts";
import * as Admin from "./admin.ts";
import { deleteKey } from "./delete.ts";
import { flushAll } from "./flush_all.ts";
import { gat, gats, get, gets } from "./get.ts";
import { decr, incr } from "./incr.ts";
import { lruCrawler } from "./lru_crawler.ts";
import { add, append, cas, prepend, replace, set } from "./set.ts";
import { quit, shutdown } from "./shutdown.ts";
import { stats } from "./stats.ts";
import { touch } from "./touch.ts";
import { watch } from "./watch.ts";

/**
 * Executes a command whose line is complete, and writes its reply, for which REPLY_BYTES_MAX bytes
 * are free; a longer reply makes room for itself.
 * @returns bytes used; 0 if the value behind the line is not complete
 */
export type TextCommand = (request: MetaRequest) => number;

const COMMANDS: Readonly<Record<string, TextCommand>> = {
  // Items.
  ...{ get, gets, gat, gats },
  // Undocumented, and older than all clients; memcached still takes it for `get`.
  bget: get,
  ...{ set, add, replace, append, prepend, cas },
  delete: deleteKey,
  ...{ incr, decr, touch },
  // Meta commands.
  ...{ mg, ms, md, ma, mn, me },
  // The server.
  ...{ stats, watch, quit, shutdown },
  flush_all: flushAll,
  lru_crawler: lruCrawler,
  version: Admin.version,
  verbosity: Admin.verbosity,
  cache_memlimit: Admin.cacheMemlimit,
  slabs: Admin.slabs,
  lru: Admin.lru,
  debugtime: Admin.debugtime,
  refresh_certs: Admin.refreshCerts,
};

interface NamedCommand {
  readonly name: Uint8Array;
  readonly command: TextCommand;
}

const NAME_BYTES_MAX = Math.max(...Object.keys(COMMANDS).map((name) => name.length));

/** The commands by the length of their names: a look-up compares a handful of names. */
const BY_LENGTH: readonly (readonly NamedCommand[])[] = Array.from(
  { length: NAME_BYTES_MAX + 1 },
  (_, length) =>
    Object.entries(COMMANDS)
      .filter(([name]) => name.length === length)
      .map(([name, command]) => ({ name: ascii(name), command })),
);

/** The command that the bytes at [from, to) name. */
export function commandOf(bytes: Uint8Array, from: number, to: number): TextCommand | undefined {
  if (to - from > NAME_BYTES_MAX) return undefined;
  const named = BY_LENGTH[to - from]!;
  for (let i = 0; i < named.length; i++) {
    if (equals(bytes, from, to, named[i]!.name)) return named[i]!.command;
  }
  return undefined;
}
