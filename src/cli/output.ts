// Output of commands: text and JSON on stdout, without characters that control a terminal and at
// the pace of its reader, and reports as files (`--html FILE`).
import { accessSync, constants, writeFileSync } from "node:fs";
import { dirname, resolve as resolvePath } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { printableJson, printableLines } from "../base/printable.ts";
import { reasonOf } from "../node/inputs.ts";
import { complain, EXIT_FAILED } from "./exit.ts";

/** Whether the program ends when its output can't be written; a server goes on. */
let endsWithOutput = true;

/**
 * Handles errors of stdout and stderr; called once, before any output. A reader that has gone
 * (`| head`) ends the program without an error, any other reason is an error.
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
  // A failing stderr leaves no way to report anything.
  process.stderr.on("error", () => {});
}

/** Lets the program go on when its output can't be written. */
export function goOnWithoutOutput(): void {
  endsWithOutput = false;
}

/** Writes text without control characters, and waits until the system has taken it. */
export function write(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(printableLines(text), () => resolve());
  });
}

/** Writes a value as JSON, in the same way. */
export function writeJson(value: unknown): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.write(`${printableJson(value, 2)}\n`, () => resolve());
  });
}

/** Checks before the work, not after it, whether the page can be written. */
export function checkFolder(file: string): void {
  const folder = dirname(resolvePath(file));
  try {
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new ZcacheError("ERR_OPTION", `--html: can't write to ${folder}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** @throws ZcacheError ERR_IO naming the file */
export function writePage(file: string, page: string): void {
  try {
    writeFileSync(file, page);
  } catch (cause) {
    throw new ZcacheError("ERR_IO", `can't write ${file}: ${reasonOf(cause)}`, { cause });
  }
}
