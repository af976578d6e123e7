// The fixed lines of the text protocol, in memcached's words.
import type { Outcome } from "../items/outcomes.ts";
import * as Done from "../items/outcomes.ts";
import { ascii } from "../protocol/text.ts";

function line(text: string): Uint8Array {
  return ascii(`${text}\r\n`);
}

export const CRLF = line("");
export const END = line("END");
export const OK = line("OK");
export const ERROR = line("ERROR");
export const STORED = line("STORED");
export const DELETED = line("DELETED");
export const NOT_FOUND = line("NOT_FOUND");
export const TOUCHED = line("TOUCHED");
export const RESET = line("RESET");
export const MN = line("MN");
export const EN = line("EN");
export const NO_VALUE = ascii("EN");
export const VALUE = ascii("VALUE ");
export const BAD_FORMAT = line("CLIENT_ERROR bad command line format");
export const BAD_CHUNK = line("CLIENT_ERROR bad data chunk");
export const BAD_EXPTIME = line("CLIENT_ERROR invalid exptime argument");
export const BAD_DELTA = line("CLIENT_ERROR invalid numeric delta argument");
export const NON_NUMERIC = line("CLIENT_ERROR cannot increment or decrement non-numeric value");
export const TOO_LARGE = line("SERVER_ERROR object too large for cache");
export const NO_MEMORY = line("SERVER_ERROR out of memory storing object");
export const NO_PENDING = line("SERVER_ERROR out of memory reading request");
export const DELETE_USAGE = line(
  "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
);
export const FLUSH_REFUSED = line("CLIENT_ERROR flush_all not allowed");
export const SHUTDOWN_REFUSED = line("ERROR: shutdown not enabled");
export const SHUTDOWN_MODE = line("CLIENT_ERROR invalid shutdown mode");
export const UNAUTHENTICATED = line("CLIENT_ERROR unauthenticated");
export const AUTH_FORMAT = line("CLIENT_ERROR bad authentication token format");
export const AUTH_FAILED = line("CLIENT_ERROR authentication failure");
export const AUTH_ENDING = line("CLIENT_ERROR bad command line termination");
export const TOO_MANY = line("ERROR Too many open connections");
export const DETAIL_USAGE = line("CLIENT_ERROR usage: stats detail on|off|dump");
export const DUMP_REFUSED = line("CLIENT_ERROR stats cachedump not allowed");
export const METADUMP_REFUSED = line("ERROR metadump not allowed");
export const METADUMP_PIPELINED = line("ERROR cannot pipeline other commands before metadump");
export const MGDUMP_REFUSED = line("ERROR mgdump not allowed");
export const MGDUMP_PIPELINED = line("ERROR cannot pipeline other commands before mgdump");
export const BAD_CLASS = line("BADCLASS invalid class id");
export const BAD_CLASS_ID = line("CLIENT_ERROR Illegal slab id");
export const SLEEP_TOO_LONG = line("CLIENT_ERROR sleep must be one second or less");
export const WATCH_REFUSED = line("CLIENT_ERROR watch commands not allowed");
export const WATCH_PIPELINED = line("ERROR cannot pipeline other commands before watch");
export const WATCHERS_TOO_MANY = line("WATCHER_TOO_MANY log watcher limit reached");
export const WATCHER_FAILED = line("WATCHER_FAILED failed to add log watcher");
export const BAD_LINE = line("CLIENT_ERROR bad command line");
export const MEMLIMIT_SMALL = line("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
export const MEMLIMIT_FAILED = line("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust");
export const FLAGS_TOO_LONG = line("CLIENT_ERROR options flags are too long");
export const FLAG_WRONG = line("CLIENT_ERROR invalid or duplicate flag");
export const FLAG_TWICE = line("CLIENT_ERROR duplicate flag");
export const FLAG_UNKNOWN = line("CLIENT_ERROR invalid flag");
export const FLAG_BAD_TOKEN = line("CLIENT_ERROR bad token in command line format");
export const FLAG_BAD_MODE_LENGTH = line("CLIENT_ERROR incorrect length for M token");
export const FLAG_BAD_INITIAL = line("CLIENT_ERROR invalid numeric initial value");
export const FLAG_BAD_DELTA = line("CLIENT_ERROR invalid numeric delta value");
export const FLAG_LONG_OPAQUE = line("CLIENT_ERROR opaque token too long");
export const FLAG_BAD_KEY = line("CLIENT_ERROR error decoding key");
export const BAD_SET_MODE = line("CLIENT_ERROR invalid mode for ms M token");
export const BAD_DELTA_MODE = line("CLIENT_ERROR invalid mode for ma M token");

/** What storage commands say of each outcome. */
export const STORE_REPLY: Readonly<Record<Outcome, Uint8Array>> = {
  [Done.DONE]: STORED,
  [Done.NOT_STORED]: line("NOT_STORED"),
  [Done.EXISTS]: line("EXISTS"),
  [Done.NOT_FOUND]: NOT_FOUND,
  [Done.TOO_LARGE]: TOO_LARGE,
  [Done.NO_MEMORY]: NO_MEMORY,
  [Done.NOT_NUMBER]: NON_NUMERIC,
};

/** What meta commands say of each outcome that is not an error. */
export const META_REPLY: Readonly<Partial<Record<Outcome, Uint8Array>>> = {
  [Done.DONE]: ascii("HD"),
  [Done.NOT_STORED]: ascii("NS"),
  [Done.EXISTS]: ascii("EX"),
  [Done.NOT_FOUND]: ascii("NF"),
};
