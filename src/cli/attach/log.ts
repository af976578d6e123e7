// The log of a device: the output of its daemon and of nbdfuse.
import { readFileSync } from "node:fs";

/** What the daemon writes before its errors. */
const ERROR = /^zcache: (?!warning: )/;

/** The line that says why a program has ended: its last error, or its last line. */
export function lastLine(log: string): string {
  let lines: string[];
  try {
    lines = readFileSync(log, "utf8").split("\n");
  } catch {
    return "no log";
  }
  const written = lines.filter((line) => line.trim() !== "");
  const line = written.findLast((one) => ERROR.test(one)) ?? written.at(-1) ?? "without a word";
  return line.replace(ERROR, "");
}
