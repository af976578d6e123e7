// Exit codes, and errors as one line on stderr: what was wrong and what is allowed. A stack trace
// is for bugs only, an AssertionError or anything else that nobody expected.
import { CommanderError } from "commander";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import { printable, printableLines } from "../base/printable.ts";

/** Nothing was measured, or something that was read, written or stored failed. */
export const EXIT_FAILED = 1;
/** The command line asks for something that can't be. */
export const EXIT_USAGE = 2;
/** As a shell says it: 128 + the number of the signal. */
export const EXIT_SIGHUP = 129;
export const EXIT_SIGINT = 130;
export const EXIT_SIGTERM = 143;

const USAGE_CODES: readonly ErrorCode[] = [
  "ERR_OPTION",
  "ERR_POOL_UNKNOWN",
  "ERR_CODEC_UNKNOWN",
  "ERR_CODEC_UNAVAILABLE",
];

/** Writes one line to stderr, without what a terminal would obey. */
export function complain(message: string): void {
  process.stderr.write(`zcache: ${printable(message)}\n`);
}

/** Says what happened. @returns the exit code */
export function reportError(error: unknown): number {
  // Commander has written its own line, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (!(error instanceof ZcacheError)) {
    const stack = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`zcache: a bug in zcache: ${printableLines(String(stack))}\n`);
    return EXIT_FAILED;
  }
  complain(error.message);
  return USAGE_CODES.includes(error.code) ? EXIT_USAGE : EXIT_FAILED;
}

/** Ends with 130 or 143 on a signal, after `clean` has tidied the terminal. */
export function endOnSignals(clean: () => void): void {
  const end = (code: number) => () => {
    clean();
    process.exit(code);
  };
  process.once("SIGINT", end(EXIT_SIGINT));
  process.once("SIGTERM", end(EXIT_SIGTERM));
}
