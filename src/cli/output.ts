// Standard output and standard error: what a terminal may be given, at the pace of whoever reads.
import { printableJson, printableLines } from "../base/printable.ts";
import { complain, EXIT_FAILED } from "./exit.ts";

/** Whether a command ends when nobody can be told anything any more; a server does not. */
let endsWithOutput = true;

/**
 * Sees to what can't be written. Once, before anything is. A reader that has gone (`| head`) is no
 * error, any other reason is one.
 */
export function watchOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (!endsWithOutput) return;
    if (error.code !== "EPIPE") {
      complain(`can't write the output: ${error.message}`);
      process.exitCode = EXIT_FAILED;
    }
    process.exit(process.exitCode ?? 0);
  });
  // There is nobody left to be told.
  process.stderr.on("error", () => {});
}

/** From now on the program goes on, whatever becomes of its output. */
export function goOnWithoutOutput(): void {
  endsWithOutput = false;
}

/** Writes text without what a terminal would obey, and waits until it has been handed on. */
export function write(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(printableLines(text), () => resolve());
  });
}

/** Writes a value as JSON, likewise. */
export function writeJson(value: unknown): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(`${printableJson(value, 2)}\n`, () => resolve());
  });
}
