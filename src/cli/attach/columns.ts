// The table of `zcache list`. Columns, options and the forms of sizes are those of zramctl and
// lsblk of util-linux; the last columns are ours.
import { ZcacheError } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { GIB, KIB, MIB } from "../../base/units.ts";
import { alignTable } from "../../lab/report/text.ts";
import type { DeviceFigures } from "./device_figures.ts";

/** A size in bytes, a plain number, or text; null if it is unknown. */
type Cell = { readonly bytes: number } | number | string | null;

interface Column {
  readonly describe: string;
  readonly isDefault?: true;
  /** Text is on the left, numbers are on the right. */
  readonly isText?: true;
  cell(figures: DeviceFigures): Cell;
}

// Fields of mm_stat.
const [ORIG, COMPR, USED, , USED_MAX, SAME, COMPACTED] = [0, 1, 2, 3, 4, 5, 6];

function bytesAt(field: number) {
  return ({ memory }: DeviceFigures): Cell =>
    memory === undefined ? null : { bytes: memory[field]! };
}

function countAt(field: number) {
  return ({ memory }: DeviceFigures): Cell => (memory === undefined ? null : memory[field]!);
}

const COLUMNS: Readonly<Record<string, Column>> = {
  NAME: {
    describe: "block device; the ID until it has one",
    isDefault: true,
    isText: true,
    cell: ({ record }) => record.device ?? record.id,
  },
  ALGORITHM: {
    describe: "codec for new pages",
    isDefault: true,
    isText: true,
    cell: ({ record }) => record.codec,
  },
  DISKSIZE: {
    describe: "size of the device",
    isDefault: true,
    cell: ({ record }) => ({ bytes: record.sizeBytes }),
  },
  DATA: { describe: "uncompressed size of stored data", isDefault: true, cell: bytesAt(ORIG) },
  COMPR: { describe: "compressed size of stored data", isDefault: true, cell: bytesAt(COMPR) },
  TOTAL: {
    describe: "memory in use, with metadata and what the allocator wastes",
    isDefault: true,
    cell: bytesAt(USED),
  },
  STREAMS: {
    describe: "threads that compress",
    isDefault: true,
    cell: ({ record }) => record.threads,
  },
  "ZERO-PAGES": { describe: "pages that repeat one word, without memory", cell: countAt(SAME) },
  "MEM-LIMIT": {
    describe: "memory limit",
    cell: ({ record }) => ({ bytes: record.memoryMax }),
  },
  "MEM-USED": { describe: "most memory in use so far", cell: bytesAt(USED_MAX) },
  MIGRATED: { describe: "objects moved by compaction", cell: countAt(COMPACTED) },
  STATE: {
    describe: "attaching, active, failed, hung, detaching or interrupted",
    isDefault: true,
    isText: true,
    cell: ({ state }) => state,
  },
  MOUNTPOINT: {
    describe: "where the device is mounted, or [SWAP]",
    isDefault: true,
    isText: true,
    cell: ({ mountPoint }) => mountPoint ?? null,
  },
  ID: { describe: "name for `zcache detach`", isText: true, cell: ({ record }) => record.id },
  DRIVER: { describe: "nbd or nbdfuse", isText: true, cell: ({ record }) => record.driver },
  PID: { describe: "the daemon", cell: ({ record }) => record.server?.pid ?? null },
  SINCE: {
    describe: "when the device was attached",
    isText: true,
    cell: ({ record }) => record.since,
  },
  LOG: { describe: "output of the daemon", isText: true, cell: ({ log }) => log },
};

export const ALL_COLUMNS = Object.keys(COLUMNS);
export const DEFAULT_COLUMNS = ALL_COLUMNS.filter((name) => COLUMNS[name]!.isDefault);

/** The columns with their descriptions, for the help text. */
export function describeColumns(): string {
  const width = Math.max(...ALL_COLUMNS.map((name) => name.length)) + 2;
  const lines = ALL_COLUMNS.map(
    (name) => `${" ".repeat(width - name.length)}${name}  ${COLUMNS[name]!.describe}`,
  );
  return `\nColumns:\n${lines.join("\n")}`;
}

/**
 * Reads `NAME,DATA`, or `+LOG` for the default columns and further ones, as lsblk does.
 * @throws ZcacheError ERR_OPTION
 */
export function parseColumns(text: string): string[] {
  const added = text.startsWith("+");
  const names = (added ? text.slice(1) : text).split(",").map((name) => name.trim().toUpperCase());
  for (const name of names) {
    if (Object.hasOwn(COLUMNS, name)) continue;
    throw new ZcacheError(
      "ERR_OPTION",
      `--output: "${name}" is not a column; write ${ALL_COLUMNS.join(", ")}`,
    );
  }
  return added ? [...DEFAULT_COLUMNS, ...names] : names;
}

export interface TableStyle {
  readonly columns: readonly string[];
  /** Sizes in bytes, instead of `1.2G`. */
  readonly bytes: boolean;
  readonly headings: boolean;
  /** Columns are separated by one space, and spaces in them are written `\x20`. */
  readonly raw: boolean;
}

export function tableOf(
  devices: readonly DeviceFigures[],
  { columns, bytes, headings, raw }: TableStyle,
): string {
  if (devices.length === 0) return "";
  const texts = columns.map((name) =>
    devices.map((one) => textOf(COLUMNS[name]!.cell(one), bytes)),
  );
  const rows = devices.map((_, row) => texts.map((column) => column[row]!));
  if (raw) {
    const all = headings ? [[...columns], ...rows] : rows;
    return lines(all.map((cells) => cells.map((cell) => cell.replaceAll(" ", "\\x20")).join(" ")));
  }
  // Each cell is padded here, because columns of text and of numbers take turns.
  const head = headings ? [...columns] : columns.map(() => "");
  const widths = columns.map((_, at) => Math.max(...[head, ...rows].map((row) => row[at]!.length)));
  const aligned = [head, ...rows].map((row) =>
    row.map((cell, at) =>
      COLUMNS[columns[at]!]!.isText ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!),
    ),
  );
  const [first = [], ...others] = aligned;
  const table = alignTable({ head: first, rows: others, names: columns.length });
  return lines(headings ? table : table.slice(1));
}

function lines(all: readonly string[]): string {
  return `${all.join("\n")}\n`;
}

/** One object for each device, with the columns in lower case, as in lsblk. */
export function jsonOf(
  devices: readonly DeviceFigures[],
  { columns, bytes }: Pick<TableStyle, "columns" | "bytes">,
): object {
  const rows = devices.map((one) =>
    Object.fromEntries(
      columns.map((name) => {
        const cell = COLUMNS[name]!.cell(one);
        const isSize = typeof cell === "object" && cell !== null;
        return [name.toLowerCase(), isSize ? (bytes ? cell.bytes : humanSize(cell.bytes)) : cell];
      }),
    ),
  );
  return { devices: rows };
}

function textOf(cell: Cell, bytes: boolean): string {
  if (cell === null) return "";
  if (typeof cell === "object") return bytes ? String(cell.bytes) : humanSize(cell.bytes);
  return printable(String(cell));
}

const UNITS = [
  ["T", 1024 * GIB],
  ["G", GIB],
  ["M", MIB],
  ["K", KIB],
] as const;

/** A size as util-linux prints it: `8G`, `12.3M`, `74B`. */
export function humanSize(bytes: number): string {
  for (const [index, [unit, factor]] of UNITS.entries()) {
    if (bytes < factor) continue;
    const tenths = Math.round((bytes / factor) * 10);
    const [larger] = UNITS[index - 1] ?? [];
    if (tenths >= 10_240 && larger !== undefined) return `1${larger}`;
    return `${tenths / 10}${unit}`;
  }
  return `${bytes}B`;
}
