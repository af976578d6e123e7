// Colours, the same as in the report of `zcache analyze --html` (lab/report/charts.ts). They can be
// told apart with most colour vision deficiencies, on light and on dark ground.

export const COLOURS = ["#4269d0", "#e08a00", "#3ca951", "#c0507f", "#9c6ade", "#00a3b4"] as const;
export const GREY = "#8b949e";

export function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length]!;
}

/** Colours from the smallest objects to the largest, which fill a page. */
const SIZES = [
  [66, 105, 208],
  [0, 163, 180],
  [60, 169, 81],
  [224, 168, 0],
  [224, 104, 47],
  [192, 80, 127],
] as const;

/** All sizes below this share of a page have the same colour. */
const SIZE_MIN = 1 / 64;

/** The colour of a size, given as a share of a page; logarithmic, because most sizes are small. */
export function sizeColour(share: number): string {
  const size = Math.max(SIZE_MIN, Math.min(1, share));
  return scaleColour(1 - Math.log2(size) / Math.log2(SIZE_MIN));
}

/** A colour of the scale, from 0 to 1. */
export function scaleColour(level: number): string {
  const place = Math.max(0, Math.min(1, level)) * (SIZES.length - 1);
  const low = Math.min(SIZES.length - 2, Math.floor(place));
  const mixed = SIZES[low]!.map((from, i) => {
    const to = SIZES[low + 1]![i]!;
    return Math.round(from + (to - from) * (place - low));
  });
  return `rgb(${mixed.join(" ")})`;
}

/** A colour of the style sheet in the current scheme, light or dark. */
export function styleColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
