// The cells of a memory map, decoded and described in words. Nothing is drawn here, so the file can
// be tested without a browser.
import { formatBytes } from "../base/units.ts";
import { FRAME_USES, type FrameMap } from "./api.ts";
import { count, percent } from "./format.ts";

export interface Cell {
  /** The use of most of its frames, as an index into FRAME_USES. */
  readonly use: number;
  /** Shares of its frames that are free and that hold objects, 0 … 1. */
  readonly freeShare: number;
  readonly objectShare: number;
  /** Mean fullness of the frames that hold objects. */
  readonly fullness: number;
  /** The class of most of these. */
  readonly class: number;
  readonly isMixed: boolean;
}

const FULL = 255;

export function cellAt(cells: Uint8Array, cellBytes: number, nth: number): Cell {
  const at = nth * cellBytes;
  return {
    use: cells[at]!,
    freeShare: cells[at + 1]! / FULL,
    objectShare: cells[at + 2]! / FULL,
    fullness: cells[at + 3]! / FULL,
    class: cells[at + 4]! | (cells[at + 5]! << 8) | (cells[at + 6]! << 16),
    isMixed: cells[at + 7] !== 0,
  };
}

/** A class in words. */
export function className(map: FrameMap, objectClass: number): string {
  if (map.classes === "slot") return `slots of ${count(objectClass)} bytes`;
  if (map.classes === "buddies") return objectClass === 1 ? "1 object" : `${objectClass} objects`;
  return "";
}

/** A cell described in a sentence. */
export function describeCell(cell: Cell, map: FrameMap, nth: number): string {
  const first = map.from + nth * map.perCell;
  const last = Math.min(map.to, first + map.perCell) - 1;
  const at = `at ${formatBytes(first * map.pageSizeBytes)}`;
  const use = FRAME_USES[cell.use] ?? "other";
  const held = className(map, cell.class);
  if (first === last) {
    const of = held === "" ? "" : `, ${held}`;
    const what = cell.objectShare > 0 ? `${use}${of}, ${percent(cell.fullness)} full` : use;
    return `Frame ${count(first)}, ${at}: ${what}.`;
  }
  const parts = [
    `${cell.isMixed ? "mostly " : ""}${use}`,
    ...(cell.freeShare > 0 && cell.use !== 0 ? [`${percent(cell.freeShare)} free`] : []),
    ...(cell.objectShare > 0
      ? [
          `${percent(cell.objectShare)} hold objects${held === "" ? "" : `, mostly ${held}`}`,
          `these are ${percent(cell.fullness)} full`,
        ]
      : []),
  ];
  return `Frames ${count(first)} to ${count(last)}, ${at}: ${parts.join("; ")}.`;
}

/** The number of frames that hold objects, and how full they are on average. */
export function fullnessOf({ byClass }: FrameMap): { frames: number; share: number } {
  const frames = byClass.reduce((sum, one) => sum + one.frames, 0);
  const filled = byClass.reduce((sum, one) => sum + one.fullness, 0);
  return { frames, share: frames === 0 ? 0 : filled / frames };
}

/** The map summarised in two sentences. */
export function summarise(map: FrameMap): string {
  const { frames, share } = fullnessOf(map);
  const all = Math.max(1, map.to - map.from);
  const free = `${percent(map.uses[0]! / all)} of the frames shown are free.`;
  if (frames === 0) return `No frame holds objects yet; ${free}`;
  const empty = formatBytes(Math.round(frames * (1 - share) * map.pageSizeBytes));
  const hold = `${count(frames)} frames hold objects and are ${percent(share)} full`;
  return `${hold}, so ${empty} in them is unused. ${free}`;
}
