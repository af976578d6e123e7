// Compares divisions into size classes for the dense pool. For a distribution of sizes and a number
// of objects, it prints the share of memory that is payload: slots are larger than objects, and the
// last page frame of a class is half full on average. The divisions are equal steps, and classes
// fitted to the distribution by dynamic programming, which is the optimum for their number.
import { Xorshift32 } from "../../src/base/random.ts";
import type { SizeDistribution } from "./workload.ts";

const PAGE = 4096;
/** Sizes are multiples of 8 bytes, as in the pool. */
const GRANULE = 8;
const GRANULES = PAGE / GRANULE;
const SAMPLES = 200_000;

/** Sizes as shares, and the mean size of the objects in each granule's range. */
interface Profile {
  /** Share of the objects with at most this many granules. */
  readonly cumulative: Float64Array;
  readonly meanBytes: number;
}

function profileOf(sizes: SizeDistribution): Profile {
  const random = new Xorshift32(99);
  const counts = new Float64Array(GRANULES + 1);
  let sum = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const size = sizes.draw(random);
    sum += size;
    counts[Math.ceil(size / GRANULE)]!++;
  }
  let seen = 0;
  const cumulative = counts.map((count) => {
    seen += count / SAMPLES;
    return seen;
  });
  return { cumulative, meanBytes: sum / SAMPLES };
}

/** Bytes that the objects of the granules above `floor` up to `top` take in one class. */
function classBytes(profile: Profile, objects: number, floor: number, top: number): number {
  const share = profile.cumulative[top]! - profile.cumulative[floor]!;
  // A class without objects has no frame.
  return share === 0 ? 0 : share * objects * top * GRANULE + PAGE / 2;
}

function payload(profile: Profile, objects: number, bytes: number): number {
  return (100 * profile.meanBytes * objects) / bytes;
}

function fixed(profile: Profile, objects: number, width: number): number {
  let bytes = 0;
  for (let top = width; top <= GRANULES; top += width) {
    bytes += classBytes(profile, objects, top - width, top);
  }
  return payload(profile, objects, bytes);
}

/** The best division into at most k classes: best[k][top] = bytes of all objects up to `top`. */
function fitted(profile: Profile, objects: number, classes: number): number {
  let best = new Float64Array(GRANULES + 1).fill(Number.POSITIVE_INFINITY);
  best[0] = 0;
  for (let k = 1; k <= classes; k++) {
    const next = Float64Array.from(best);
    for (let top = 1; top <= GRANULES; top++) {
      for (let floor = 0; floor < top; floor++) {
        const bytes = best[floor]! + classBytes(profile, objects, floor, top);
        if (bytes < next[top]!) next[top] = bytes;
      }
    }
    best = next;
  }
  return payload(profile, objects, best[GRANULES]!);
}

export const FIXED_BYTES = [8, 16, 32, 64];
export const FITTED_CLASSES = [32, 64, 128, 256];

/** One line for a distribution and a number of objects. */
export function classesLine(sizes: SizeDistribution, objects: number): string {
  const profile = profileOf(sizes);
  const cells = [
    ...FIXED_BYTES.map((bytes) => fixed(profile, objects, bytes / GRANULE)),
    ...FITTED_CLASSES.map((classes) => fitted(profile, objects, classes)),
  ];
  return cells.map((value) => value.toFixed(2).padStart(7)).join("");
}
