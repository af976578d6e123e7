// A map of a store's page frames, built in steps: store/frame_map.ts describes a run of frames at a
// time, and the map sums them up in cells, so that a map of a million frames is no larger than a
// screen. A cell of several frames has their most frequent use and their mean fullness.

import { FRAME_FULL } from "../pool/contract.ts";
import {
  classOf,
  EPHEMERAL_OBJECTS,
  FRAMES_PER_HOLD,
  FREE,
  fullnessOf,
  OTHER,
  PERSISTENT_OBJECTS,
  useOf,
} from "../store/frame_map.ts";
import type { Inspection } from "../store/inspection.ts";

/** Bytes of a cell (dashboard/api.ts). */
export const CELL_BYTES = 8;
const USES = OTHER + 1;
const FULL_SHARE = 255;

export class FrameMapBuilder {
  readonly from: number;
  readonly to: number;
  readonly perCell: number;
  readonly framesTotal: number;
  readonly cells: Uint8Array;
  readonly uses = new Array<number>(USES).fill(0);
  /** By class: frames, and the sum of their fullness, 0 … 1 each. */
  readonly byClass = new Map<number, { frames: number; fullness: number }>();
  readonly #inspection: Inspection;
  readonly #run = new Int32Array(FRAMES_PER_HOLD);
  #next: number;
  // The counts of the current cell.
  readonly #cellUses = new Int32Array(USES);
  readonly #cellClasses = new Map<number, number>();
  #cellFullness = 0;
  #cellFrames = 0;

  /** Begins a map of the frames [from, to) in at most `cellsMax` cells. */
  constructor(inspection: Inspection, from: number, to: number, cellsMax: number) {
    this.#inspection = inspection;
    this.framesTotal = inspection.framesTotal;
    this.from = Math.min(from, this.framesTotal);
    this.to = Math.max(this.from, Math.min(to, this.framesTotal));
    const frames = this.to - this.from;
    // A power of two, so that cells begin at round frame numbers, as blocks of frames do.
    this.perCell = 2 ** Math.max(0, Math.ceil(Math.log2(frames / cellsMax)));
    this.cells = new Uint8Array(Math.ceil(frames / this.perCell) * CELL_BYTES);
    this.#next = this.from;
  }

  /**
   * Describes some more frames.
   * @returns whether the map is complete
   */
  step(): boolean {
    const left = this.to - this.#next;
    if (left > 0) {
      const run = left < this.#run.length ? this.#run.subarray(0, left) : this.#run;
      const count = this.#inspection.describeFrames(this.#next, run);
      for (let nth = 0; nth < count; nth++) this.#add(run[nth]!);
      this.#next += count;
    }
    if (this.#next < this.to) return false;
    this.#endCell();
    return true;
  }

  #add(described: number): void {
    const use = useOf(described);
    this.uses[use]!++;
    this.#cellUses[use]!++;
    if (use === EPHEMERAL_OBJECTS || use === PERSISTENT_OBJECTS) {
      const objectClass = classOf(described);
      const share = fullnessOf(described) / FRAME_FULL;
      const sum = this.byClass.get(objectClass) ?? { frames: 0, fullness: 0 };
      sum.frames++;
      sum.fullness += share;
      this.byClass.set(objectClass, sum);
      this.#cellClasses.set(objectClass, (this.#cellClasses.get(objectClass) ?? 0) + 1);
      this.#cellFullness += share;
    }
    this.#cellFrames++;
    if (this.#cellFrames % this.perCell === 0) this.#endCell();
  }

  #endCell(): void {
    const inCell = this.#cellUses.reduce((sum, n) => sum + n, 0);
    if (inCell === 0) return;
    const at = (Math.ceil(this.#cellFrames / this.perCell) - 1) * CELL_BYTES;
    const uses = this.#cellUses;
    const objects = uses[EPHEMERAL_OBJECTS]! + uses[PERSISTENT_OBJECTS]!;
    const [mostUsed, usesSeen] = most(uses.entries());
    const [objectClass, classesSeen] = most(this.#cellClasses.entries());
    this.cells[at] = mostUsed;
    this.cells[at + 1] = Math.round((uses[FREE]! / inCell) * FULL_SHARE);
    this.cells[at + 2] = Math.round((objects / inCell) * FULL_SHARE);
    const fullness = objects === 0 ? 0 : this.#cellFullness / objects;
    this.cells[at + 3] = Math.round(fullness * FULL_SHARE);
    for (let i = 0; i < 3; i++) this.cells[at + 4 + i] = objectClass >>> (i * 8);
    this.cells[at + 7] = usesSeen > 1 || classesSeen > 1 ? 1 : 0;
    uses.fill(0);
    this.#cellClasses.clear();
    this.#cellFullness = 0;
  }
}

/**
 * Returns the key of the largest count, the first of several, and the number of keys with a count.
 */
function most(counts: Iterable<[what: number, count: number]>): [what: number, kinds: number] {
  let best = 0;
  let bestCount = 0;
  let kinds = 0;
  for (const [what, count] of counts) {
    if (count === 0) continue;
    kinds++;
    if (count <= bestCount) continue;
    best = what;
    bestCount = count;
  }
  return [best, kinds];
}
