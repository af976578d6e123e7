// Fixed replies that several commands of the text protocol share, in memcached's words. A reply
// that one command alone gives stands in that command's file.
import * as Done from "../../items/requests.ts";
import { ascii } from "../../protocol/text.ts";

function line(text: string): Uint8Array {
  return ascii(`${text}\r\n`);
}

export const CRLF = line("");
export const END = line("END");
export const OK = line("OK");
export const ERROR = line("ERROR");
export const STORED = line("STORED");
export const NOT_FOUND = line("NOT_FOUND");
export const EN = line("EN");
export const BAD_FORMAT = line("CLIENT_ERROR bad command line format");
export const BAD_CHUNK = line("CLIENT_ERROR bad data chunk");
export const BAD_EXPTIME = line("CLIENT_ERROR invalid exptime argument");
export const TOO_LARGE = line("SERVER_ERROR object too large for cache");
export const NO_PENDING = line("SERVER_ERROR out of memory reading request");
export const NO_ANSWER = line("SERVER_ERROR other machines have not answered");
export const TOO_MANY = line("ERROR Too many open connections");

/** What storage commands say of each outcome. */
export const STORE_REPLY: Readonly<Record<Done.Outcome, Uint8Array>> = {
  [Done.DONE]: STORED,
  [Done.NOT_STORED]: line("NOT_STORED"),
  [Done.EXISTS]: line("EXISTS"),
  [Done.NOT_FOUND]: NOT_FOUND,
  [Done.TOO_LARGE]: TOO_LARGE,
  [Done.NO_MEMORY]: line("SERVER_ERROR out of memory storing object"),
  [Done.NOT_NUMBER]: line("CLIENT_ERROR cannot increment or decrement non-numeric value"),
};

/** What meta commands say of each outcome that is not an error. */
export const META_REPLY: Readonly<Partial<Record<Done.Outcome, Uint8Array>>> = {
  [Done.DONE]: ascii("HD"),
  [Done.NOT_STORED]: ascii("NS"),
  [Done.EXISTS]: ascii("EX"),
  [Done.NOT_FOUND]: ascii("NF"),
};
