// The colours of the memory map, its legend, and its tables.
import { formatBytes } from "../base/units.ts";
import { FRAME_USES, type FrameMap } from "./api.ts";
import { COLOURS, GREY, scaleColour, sizeColour, styleColour } from "./colours.ts";
import { table } from "./dom.ts";
import { count, percent } from "./format.ts";
import { type Cell, className } from "./map_cells.ts";

export type MapMode = "class" | "use" | "fullness";

/** Colours of uses, in the order of FRAME_USES. */
const USE_COLOURS = [
  "",
  "#57606a",
  COLOURS[0],
  COLOURS[5],
  COLOURS[4],
  "#8d6e4a",
  COLOURS[1],
  GREY,
] as const;
const OBJECT_USES = [2, 3];
/** Sizes in the legend, as shares of a page. */
const LEGEND_SIZES = [1 / 64, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1];
const BUDDIES = [1, 2, 3];
const LEVELS = [0.25, 0.5, 0.75, 1];

export function useColour(use: number): string {
  return use === 0 ? styleColour("--free") : (USE_COLOURS[use] ?? GREY);
}

function classColour(map: FrameMap, objectClass: number): string {
  if (map.classes === "slot") return sizeColour(objectClass / map.pageSizeBytes);
  return scaleColour(objectClass / BUDDIES.length);
}

/** Red is empty, green is full. */
function fullnessColour(share: number): string {
  return `hsl(${Math.round(share * 130)} 60% 48%)`;
}

export function colourOfCell(cell: Cell, map: FrameMap, mode: MapMode): string {
  if (mode === "use" || map.classes === "") return useColour(cell.use === 0 ? 2 : cell.use);
  return mode === "class" ? classColour(map, cell.class) : fullnessColour(cell.fullness);
}

/** Colours and names for the legend; uses without a frame are left out. */
export function legendOf(map: FrameMap, mode: MapMode): [colour: string, name: string][] {
  const uses = FRAME_USES.flatMap((name, use): [string, string][] => {
    const isShown = map.uses[use]! > 0 && (mode === "use" || !OBJECT_USES.includes(use));
    return isShown ? [[useColour(use), name]] : [];
  });
  if (mode === "use") return uses;
  if (mode === "fullness") {
    const levels = LEVELS.map((share): [string, string] => [
      fullnessColour(share),
      `${share * 100} % full`,
    ]);
    return [...levels, ...uses];
  }
  const classes =
    map.classes === "buddies"
      ? BUDDIES.map((objects): [string, string] => [
          classColour(map, objects),
          className(map, objects),
        ])
      : LEGEND_SIZES.map((share): [string, string] => {
          const bytes = share * map.pageSizeBytes;
          return [
            sizeColour(share),
            share === 1 ? "a whole page" : `slots of ${count(bytes)} bytes`,
          ];
        });
  return [...classes, ...uses];
}

/** Two tables: frames by use, and frames by class. */
export function classTable(map: FrameMap): HTMLElement[] {
  const all = Math.max(1, map.to - map.from);
  const uses = FRAME_USES.flatMap((name, use) => {
    const frames = map.uses[use]!;
    return frames === 0 ? [] : [[name, count(frames), percent(frames / all)]];
  });
  const classes = map.byClass.map((one) => {
    const share = one.fullness / one.frames;
    const empty = Math.round((one.frames - one.fullness) * map.pageSizeBytes);
    const name = className(map, one.class) || String(one.class);
    return [name, count(one.frames), percent(share), formatBytes(empty)];
  });
  return [
    table("Frames by use", ["use", "frames", "share"], uses),
    table("Frames by class", ["class", "frames", "full", "unused"], classes),
  ];
}
