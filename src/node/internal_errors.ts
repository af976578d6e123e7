// Unexpected errors of a server: bugs, and failures of the system that the code does not handle.
// Such an error ends the smallest unit that it can end (a request, a connection, a task), is
// counted and logged with its stack, and the process goes on.
import { writeSync } from "node:fs";
import { printableLines } from "../base/printable.ts";

/** Distinct errors that are logged; further ones are only counted, so that the log is bounded. */
const LOGGED_MAX = 100;
/** The longest text of an error with its causes, in characters; the rest is cut off. */
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
  /** Takes the texts. */
  readonly log: (text: string) => void;
  readonly #onError: (() => void) | undefined;

  constructor({ log = writeToStderr, onError }: InternalErrorsOptions = {}) {
    this.log = log;
    this.#onError = onError;
  }

  /** Errors reported so far, logged or not. */
  get count(): number {
    return this.#count;
  }

  /**
   * Counts an error, and logs it unless an error from the same place in the code was logged before.
   * @param unit what the error has ended, such as "memcached: a connection"
   * @param error any thrown value
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

  /** Calls `work`, and reports an error that it throws. */
  run(unit: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.report(unit, error);
    }
  }

  /** Reports the rejection of a promise that no other code awaits. */
  watch(unit: string, promise: Promise<unknown>): void {
    promise.catch((error: unknown) => this.report(unit, error));
  }
}

/** Identifies the place of an error by its stack, without the message, which may vary. */
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

/** Escapes a text, which may contain bytes that a client has sent. */
function shown(text: string): string {
  return printableLines(text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)} …` : text);
}

/** Writes without process.stderr, which emits an error of its own if its reader is gone. */
function writeToStderr(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // There is no other place for the text.
  }
}
