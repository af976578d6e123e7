// Size classes: which sizes share a chain of frames, the length of the chain, and its fullness
// groups.
//
// The longer a chain, the more sizes divide it with little waste. There are two rules, that of 2012
// and that of Linux 6.12. Both produce tables of numbers, so that finding the class of a size takes
// one shift and one look-up.
import { assert } from "../../base/errors.ts";

/** Objects begin at multiples of this, so the first 8 bytes of an object never cross a frame. */
const ALIGN = 8;
/**
 * The smallest class. The kernel's rule is max(32, bytes of the longest chain ÷ objects that a
 * location can number); a location here numbers words, so that the second term is at most 8.
 */
const MIN_BYTES = 32;

export interface SizeClasses {
  /** Distinct classes, 0 … count − 1, from the smallest size to the largest. */
  readonly count: number;
  /** Fullness groups: 0 = empty … groups − 1 = full. */
  readonly groups: number;
  /** Bytes added to a request before its class is looked up. */
  readonly headerBytes: number;
  /** Bytes from one step of sizes to the next, as a shift. */
  readonly deltaShift: number;
  /** The class of each step of sizes, of which the first is MIN_BYTES. */
  readonly classOfStep: Uint16Array;
  // By class:
  /** Bytes from one object to the next. */
  readonly sizeBytes: Int32Array;
  /** Page frames of a chain. */
  readonly pages: Int32Array;
  /** Objects of a chain. */
  readonly objects: Int32Array;
  /** Bytes before an object's content; none in a class of one object per frame. */
  readonly ownerBytes: Int32Array;
  /** The largest content, in bytes. */
  readonly roomBytes: Int32Array;
  /** The fullness group of a chain with n live objects is `groupOf[groupAt[class] + n]`. */
  readonly groupAt: Int32Array;
  readonly groupOf: Uint8Array;
}

interface Rules {
  readonly pageSize: number;
  readonly delta: number;
  readonly headerBytes: number;
  readonly groups: number;
  /** Whether sizes with the same chain and number of objects become one class. */
  readonly merge: boolean;
  chainPages(sizeBytes: number): number;
  group(inUse: number, objects: number): number;
}

/** The classes of 2012: chains of up to 4 frames, nothing merged, no header. */
export function sizeClasses2012(pageSize: number): SizeClasses {
  return tabulate({
    pageSize,
    delta: pageSize >>> 8,
    headerBytes: 0,
    groups: 4,
    merge: false,
    chainPages: (sizeBytes) => chainByPercent(sizeBytes, pageSize),
    group: groupByQuarter,
  });
}

/**
 * The classes of Linux 6.12.
 * @param chainMax frames in a chain, at most: 4 … 16
 * @param delta bytes from one size to the next, a power of two
 */
export function sizeClasses(pageSize: number, chainMax: number, delta: number): SizeClasses {
  return tabulate({
    pageSize,
    delta,
    headerBytes: 8,
    groups: 12,
    merge: true,
    chainPages: (sizeBytes) => chainByWaste(sizeBytes, pageSize, chainMax),
    group: groupByTenth,
  });
}

/** The class of a request of `sizeBytes`, 1 … page size. */
export function classOf(classes: SizeClasses, sizeBytes: number): number {
  const above = sizeBytes + classes.headerBytes - MIN_BYTES;
  if (above <= 0) return classes.classOfStep[0]!;
  return classes.classOfStep[(above + (1 << classes.deltaShift) - 1) >>> classes.deltaShift]!;
}

/** The smallest request that gets a frame of its own: storing it compressed saves nothing. */
export function hugeSizeBytes(classes: SizeClasses): number {
  let cls = classes.count - 1;
  while (classes.objects[cls] === 1) cls--;
  return classes.roomBytes[cls]! + 1;
}

/**
 * The length of a chain by the rule of 2012: the highest percentage of used bytes, the shortest of
 * equal chains. Percentages are truncated as in the original (defect S2, which loses up to 1 % of a
 * class), because tests compare this allocator's page counts with the original's.
 */
function chainByPercent(sizeBytes: number, pageSize: number): number {
  let best = 1;
  let usedMax = 0;
  for (let pages = 1; pages <= 4; pages++) {
    const bytes = pages * pageSize;
    const used = Math.floor(((bytes - (bytes % sizeBytes)) * 100) / bytes);
    if (used <= usedMax) continue;
    usedMax = used;
    best = pages;
  }
  return best;
}

/**
 * The length of a chain by the rule of Linux 6.12: the fewest unused bytes, the shortest of equal
 * chains.
 */
function chainByWaste(sizeBytes: number, pageSize: number, chainMax: number): number {
  // A power of two divides one page already.
  if ((sizeBytes & (sizeBytes - 1)) === 0) return 1;
  let best = 1;
  let wasteMin = pageSize;
  for (let pages = 1; pages <= chainMax; pages++) {
    const waste = (pages * pageSize) % sizeBytes;
    if (waste >= wasteMin) continue;
    wasteMin = waste;
    best = pages;
  }
  return best;
}

/** Empty, almost empty (up to a quarter), almost full, full. */
function groupByQuarter(inUse: number, objects: number): number {
  if (inUse === 0) return 0;
  if (inUse === objects) return 3;
  return inUse <= objects >>> 2 ? 1 : 2;
}

/** Empty, ten groups of ten per cent each (the last up to 99), full. */
function groupByTenth(inUse: number, objects: number): number {
  if (inUse === 0) return 0;
  if (inUse === objects) return 11;
  return Math.floor((10 * inUse) / objects) + 1;
}

interface SizeClass {
  sizeBytes: number;
  pages: number;
  objects: number;
}

function tabulate(rules: Rules): SizeClasses {
  const { pageSize, delta, headerBytes, groups } = rules;
  assert(delta % ALIGN === 0, "classes are aligned");
  const steps = Math.ceil((pageSize - MIN_BYTES) / delta) + 1;
  const found: SizeClass[] = [];
  // From the largest size down, because sizes that merge take the class of the largest of them.
  const fromTop: number[] = [];
  for (let step = steps - 1; step >= 0; step--) {
    const sizeBytes = Math.min(MIN_BYTES + step * delta, pageSize);
    const pages = rules.chainPages(sizeBytes);
    const objects = Math.floor((pages * pageSize) / sizeBytes);
    const above = found.at(-1);
    const same = above?.pages === pages && above.objects === objects;
    if (!rules.merge || !same) found.push({ sizeBytes, pages, objects });
    fromTop.push(found.length - 1);
  }
  const count = found.length;
  const byStep = fromTop.reverse().map((nth) => count - 1 - nth);
  // With the header added, the largest requests are beyond the last step.
  while (byStep.length <= steps + Math.ceil(headerBytes / delta)) byStep.push(count - 1);
  const classes = found.reverse();
  const owner = (one: SizeClass) => (one.pages === 1 && one.objects === 1 ? 0 : headerBytes);
  return {
    count,
    groups,
    headerBytes,
    deltaShift: Math.log2(delta),
    classOfStep: Uint16Array.from(byStep),
    sizeBytes: Int32Array.from(classes, (one) => one.sizeBytes),
    pages: Int32Array.from(classes, (one) => one.pages),
    objects: Int32Array.from(classes, (one) => one.objects),
    ownerBytes: Int32Array.from(classes, owner),
    roomBytes: Int32Array.from(classes, (one) => one.sizeBytes - owner(one)),
    ...tabulateGroups(classes, rules),
  };
}

/** The group of every number of objects, so that malloc and free need no division. */
function tabulateGroups(classes: readonly SizeClass[], { group }: Rules) {
  const groupAt = new Int32Array(classes.length);
  const groupOf: number[] = [];
  for (const [cls, { objects }] of classes.entries()) {
    groupAt[cls] = groupOf.length;
    for (let inUse = 0; inUse <= objects; inUse++) groupOf.push(group(inUse, objects));
  }
  return { groupAt, groupOf: Uint8Array.from(groupOf) };
}
