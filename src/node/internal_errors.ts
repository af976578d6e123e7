// Errors that nobody expected while a server served: a bug, or a failure of the system that the
// code has no answer to. Such an error ends the smallest unit that it can end (a connection, a
// request, a task), is counted, and is logged with its stack; the process goes on.
import { writeSync } from "node:fs";
import { printableLines } from "../base/printable.ts";

/** Distinct errors that are logged. What comes beyond is counted only: a log stays bounded. */
const LOGGED_MAX = 100;
/** A stack with the messages of its causes is cut off behind this many characters. */
const TEXT_MAX = 8192;
const STDERR = 2;

export interface InternalErrorsOptions {
  /** Takes one text of several lines (default: writes it to stderr). Must not throw. */
  readonly log?: ((text: string) => void) | undefined;
  /** Called for each error, logged or not. Must not throw. */
  readonly onError?: (() => void) | undefined;
}

export class InternalErrors {
  #count = 0;
  readonly #logged = new Set<string>();
  /** Where the texts go. */
  readonly log: (text: string) => void;
  readonly #onError: (() => void) | undefined;

  constructor({ log = writeToStderr, onError }: InternalErrorsOptions = {}) {
    this.log = log;
    this.#onError = onError;
  }

  /** Errors reported so far, also those that were not logged again. */
  get count(): number {
    return this.#count;
  }

  /**
   * Counts an error, and logs it unless one from the same place in the code has been logged.
   * @param unit what the error ended, such as "memcached: a connection"
   * @param error whatever was thrown
   */
  report(unit: string, error: unknown): void {
    this.#count++;
    this.#onError?.();
    const place = placeOf(unit, error);
    if (this.#logged.has(place) || this.#logged.size >= LOGGED_MAX) return;
    this.#logged.add(place);
    const last = this.#logged.size === LOGGED_MAX ? "; further ones are only counted" : "";
    this.log(`zcache: internal error, ended ${unit}${last}: ${shown(textOf(error))}\n`);
  }

  /** Calls `work`; an error that it throws is reported and does not come out. */
  run(unit: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.report(unit, error);
    }
  }

  /** Reports the error of a promise that nobody else waits for. */
  watch(unit: string, promise: Promise<unknown>): void {
    promise.catch((error: unknown) => this.report(unit, error));
  }
}

/** The frames of the stack without the message, which may differ each time. */
function placeOf(unit: string, error: unknown): string {
  if (!(error instanceof Error)) return `${unit} ${typeof error}`;
  const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return `${unit} ${error.name} ${frames.join("\n")}`;
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause === undefined ? own : `${own}\ncaused by ${textOf(error.cause)}`;
}

/** A message may contain what a client has sent. */
function shown(text: string): string {
  return printableLines(text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)} …` : text);
}

/** Not by process.stderr: a reader that has gone away makes that emit an error of its own. */
function writeToStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // There is nobody to be told.
  }
}
