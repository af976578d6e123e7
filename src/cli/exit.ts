// Exit codes and error output. An expected error is one line on stderr that says what is wrong and
// what is allowed; only a bug (an AssertionError or any other unexpected error) has a stack trace.
import { CommanderError } from "commander";
import { type ErrorCode, ZcacheError } from "../base/errors.ts";
import { printable, printableLines } from "../base/printable.ts";

/** A file, a connection or the work itself failed, or there was nothing to measure. */
export const EXIT_FAILED = 1;
/** The command line or the configuration is invalid. */
export const EXIT_USAGE = 2;
/** Ended by a signal: 128 + the number of the signal, as in shells. */
export const EXIT_SIGHUP = 129;
export const EXIT_SIGINT = 130;
export const EXIT_SIGTERM = 143;

const USAGE_CODES: readonly ErrorCode[] = [
  "ERR_OPTION",
  "ERR_POOL_UNKNOWN",
  "ERR_CODEC_UNKNOWN",
  "ERR_CODEC_UNAVAILABLE",
];

/** Writes one line to stderr, without control characters. */
export function complain(message: string): void {
  process.stderr.write(`zcache: ${printable(message)}\n`);
}

/** Reports an error on stderr. @returns the exit code */
export function reportError(error: unknown): number {
  // Commander has already written its error line or the help text.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (!(error instanceof ZcacheError)) {
    const stack = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`zcache: a bug in zcache: ${printableLines(String(stack))}\n`);
    return EXIT_FAILED;
  }
  complain(error.message);
  return USAGE_CODES.includes(error.code) ? EXIT_USAGE : EXIT_FAILED;
}

/** Exits with 130 or 143 on a signal, after `clean` has restored the terminal. */
export function endOnSignals(clean: () => void): void {
  const end = (code: number) => () => {
    clean();
    process.exit(code);
  };
  process.once("SIGINT", end(EXIT_SIGINT));
  process.once("SIGTERM", end(EXIT_SIGTERM));
}
