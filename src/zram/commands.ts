// Commands on chosen pages of block devices, in the words of the kernel's files:
//
//   recompress   type=idle|huge|huge_idle threshold=BYTES max_pages=N algo=NAME priority=1
//   writeback    type=idle|huge|huge_idle|incompressible page_index=N page_indexes=A-B
//
// The words are divided by spaces, in any order; each may be missing. A text without "=" is no
// command, but a setting of the idle scan.
import { ZcacheError } from "../base/errors.ts";
import type { IdleScanSettings } from "./idle_scan.ts";
import { ALL_PAGES, type PageFilter, type PageRange, type PostProcess } from "./post_process.ts";
import type { Zram } from "./zram.ts";

const FILTERS: Readonly<Record<string, PageFilter>> = {
  idle: { idle: true },
  huge: { huge: true },
  huge_idle: { huge: true, idle: true },
  incompressible: { incompressible: true },
};
const RECOMPRESS_TYPES = ["idle", "huge", "huge_idle"];
/** The only priority of recompression; the kernel's 0 is the codec of new pages, and means 1. */
const PRIORITIES = ["0", "1"];

export interface Commands {
  readonly process: PostProcess;
  readonly settings: IdleScanSettings;
  readonly denseCodec: string;
  /** Units of 4 KiB in a page. */
  readonly unit: number;
}

export function isCommand(text: string): boolean {
  return text.includes("=");
}

/** @returns what was done, in one line; rejects as PostProcess */
export async function recompressCommand(
  { process, denseCodec }: Commands,
  devices: readonly Zram[],
  text: string,
): Promise<string> {
  let filter: PageFilter = {};
  let threshold = 0;
  let pagesMax = Number.POSITIVE_INFINITY;
  const known = ["type", "threshold", "max_pages", "algo", "priority"];
  for (const [name, value] of wordsOf("recompress", text, known)) {
    const what = `recompress ${name}`;
    if (name === "type") filter = filterOf(what, value, RECOMPRESS_TYPES);
    else if (name === "threshold") threshold = wholeOf(what, value, 1, process.packedMax);
    else if (name === "max_pages") pagesMax = wholeOf(what, value, 1, Number.MAX_SAFE_INTEGER);
    else oneOf(what, value, name === "algo" ? [denseCodec] : PRIORITIES);
  }
  const done = await process.recompress(devices, { filter, threshold, pagesMax });
  const { tried, recompressed, bytesBefore, bytesAfter } = done;
  return `${recompressed} of ${tried} pages recompressed, ${bytesBefore} to ${bytesAfter} bytes`;
}

/** @returns what was done, in one line; rejects as PostProcess */
export async function writeBackCommand(
  { process, settings, unit }: Commands,
  devices: readonly Zram[],
  text: string,
): Promise<string> {
  let filter: PageFilter = {};
  const ranges: PageRange[] = [];
  const end = Math.max(...devices.map((one) => Math.ceil(one.sizeBytes / one.pageSize)));
  const words = wordsOf("writeback", text, ["type", "page_index", "page_indexes"]);
  for (const [name, value] of words) {
    const what = `writeback ${name}`;
    if (name === "type") filter = filterOf(what, value, Object.keys(FILTERS));
    else if (name === "page_indexes") ranges.push(rangeOf(what, value, end - 1));
    else {
      const page = wholeOf(what, value, 0, end - 1);
      ranges.push({ first: page, last: page });
    }
  }
  const { written, stopped } = await process.writeBack(devices, {
    filter,
    ranges: ranges.length === 0 ? [ALL_PAGES] : ranges,
    take: () => {
      if (!settings.writeBackLimited) return true;
      if (settings.writeBackLimit < unit) return false;
      settings.writeBackLimit -= unit;
      return true;
    },
    giveBack: () => {
      if (settings.writeBackLimited) settings.writeBackLimit += unit;
    },
  });
  const why = { limit: "; writeback_limit is used up", file: "; the file takes no more pages" };
  return `${written} pages written${stopped === undefined ? "" : why[stopped]}`;
}

/** The words NAME=VALUE of a command. @throws ZcacheError ERR_OPTION */
function wordsOf(command: string, text: string, known: readonly string[]): [string, string][] {
  return text
    .trim()
    .split(/\s+/)
    .map((word) => {
      const at = word.indexOf("=");
      const name = word.slice(0, at);
      if (at > 0 && known.includes(name)) return [name, word.slice(at + 1)];
      const all = known.map((one) => `${one}=`).join(", ");
      throw new ZcacheError("ERR_OPTION", `${command} "${word}": each word must be one of ${all}`);
    });
}

function filterOf(what: string, value: string, types: readonly string[]): PageFilter {
  return FILTERS[oneOf(what, value, types)]!;
}

function oneOf(what: string, value: string, allowed: readonly string[]): string {
  if (allowed.includes(value)) return value;
  throw new ZcacheError("ERR_OPTION", `${what} "${value}": must be ${allowed.join(" or ")}`);
}

/** @throws ZcacheError ERR_OPTION */
export function wholeOf(what: string, text: string, min: number, max: number): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new ZcacheError("ERR_OPTION", `${what} "${text}": must be from ${min} to ${max}`);
}

/**
 * Two numbers of pages, both included.
 * @param most pages of the range
 * @throws ZcacheError ERR_OPTION
 */
export function rangeOf(
  what: string,
  text: string,
  max: number,
  most: number = Number.POSITIVE_INFINITY,
): PageRange {
  const [, from, to] = /^(\d{1,16})-(\d{1,16})$/.exec(text) ?? [];
  const range = { first: Number(from), last: Number(to) };
  const isRange = range.first <= range.last && range.last <= max;
  if (isRange && range.last - range.first < most) return range;
  const limit = Number.isFinite(most) ? `, of at most ${most} pages` : "";
  throw new ZcacheError(
    "ERR_OPTION",
    `${what} "${text}": must be A-B, from 0-0 to 0-${max}${limit}`,
  );
}
