// Traces of allocations and frees, as CSV: `op,slot,size` with `a` = alloc into a slot and `f` =
// free of a slot, and lines `#phase NAME` between. Other lines that begin with `#`, and blank
// ones, are comments.
import { ZcacheError } from "../base/errors.ts";

export type TraceStep =
  | { readonly op: "a"; readonly slot: number; readonly sizeBytes: number }
  | { readonly op: "f"; readonly slot: number }
  | { readonly op: "phase"; readonly name: string };

const HEADER = "op,slot,size";

/**
 * Reads one line.
 * @param line 1-based, for messages
 * @returns the step, or undefined for a header, a comment or a blank line
 * @throws ZcacheError ERR_TRACE naming the line
 */
export function parseTraceLine(text: string, line: number): TraceStep | undefined {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed === HEADER) return undefined;
  if (trimmed.startsWith("#")) {
    const phase = /^#phase\s+(.+)$/.exec(trimmed);
    return phase ? { op: "phase", name: phase[1]!.trim() } : undefined;
  }
  const match = /^(?:(a),(\d{1,15}),(\d{1,15})|(f),(\d{1,15})(?:,\d*)?)$/.exec(trimmed);
  if (match === null) {
    throw new ZcacheError(
      "ERR_TRACE",
      `line ${line}: "${trimmed.slice(0, 60)}" is not a trace step; a line must be ` +
        "a,SLOT,SIZE or f,SLOT or #phase NAME",
      { context: { line } },
    );
  }
  return match[1] === "a"
    ? { op: "a", slot: Number(match[2]), sizeBytes: Number(match[3]) }
    : { op: "f", slot: Number(match[5]) };
}
