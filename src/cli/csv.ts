// Rows as CSV (RFC 4180, lines end with a line feed): what spreadsheets and data frames read.
import { ZcacheError } from "../base/errors.ts";

/** A name may hold anything but a line break: it is quoted where CSV wants that. */
export function csvCell(value: unknown): string {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * A header and one line for each row. A field that holds an object becomes one column for each of
 * the object's fields (`put_ns.median`). All rows have the fields of the first one.
 */
export function csvText(rows: readonly object[]): string {
  const flat = rows.map((row) => Object.fromEntries(cellsOf("", row)));
  const columns = Object.keys(flat[0] ?? {});
  const lines = flat.map((row) => columns.map((column) => csvCell(row[column])).join(","));
  return [columns.join(","), ...lines, ""].join("\n");
}

function cellsOf(prefix: string, row: object): [name: string, value: unknown][] {
  return Object.entries(row).flatMap(([name, value]) =>
    typeof value === "object" && value !== null
      ? cellsOf(`${prefix}${name}.`, value)
      : [[`${prefix}${name}`, value] as [string, unknown]],
  );
}

/** Standard output has one form. */
export function checkOneForm(args: { readonly json?: true; readonly csv?: true }): void {
  if (args.json !== true || args.csv !== true) return;
  throw new ZcacheError("ERR_OPTION", "--csv and --json: the output is one of them; leave one out");
}
