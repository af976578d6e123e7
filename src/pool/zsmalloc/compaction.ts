// Compaction: moves objects of the emptiest zspage of a class to the fullest one with room, until
// the class has less free room than one zspage.
//
// The algorithm is that of Linux 6.12, including the order of zspages in their lists, but it runs
// in steps: a step holds the pool's lock while it moves a few objects, and the lists are valid
// between two steps. Each step takes the fullest and the emptiest zspage. The preceding step has
// left its two zspages first in their lists, so that an undisturbed compaction in steps has the
// same result as one in a single piece.
import { NIL } from "../../base/brand.ts";
import type { Objects } from "./objects.ts";
import * as Zspage from "./zspage.layout.ts";
import type { Zspages } from "./zspages.ts";

/** Bytes that one step copies, at most: about a microsecond's work. At least one object. */
const STEP_BYTES = 8192;
/**
 * Objects that one step moves, at most: for small objects, updating lists and handles takes longer
 * than copying the bytes.
 */
const STEP_OBJECTS = 32;

/**
 * Runs one step in one class, under the pool's lock.
 * @returns the zspage that the step has emptied, which is in no list; 0 if the step has emptied
 *   none; NIL if compaction can't free a zspage of this class
 */
export function compactStepLocked(
  words: Int32Array,
  zspages: Zspages,
  objects: Objects,
  cls: number,
): number {
  if (!zspages.canGain(cls)) return NIL;
  const destination = zspages.fullest(cls);
  if (destination === NIL) return NIL;
  const source = zspages.emptiestMovable(cls, destination);
  if (source === NIL) return NIL;
  zspages.unlist(destination);
  zspages.unlist(source);
  moveSome(words, zspages, objects, source, destination);
  const emptied = words[source + Zspage.IN_USE] === 0;
  if (!emptied) zspages.list(source);
  zspages.list(destination);
  return emptied ? source : 0;
}

/** Moves objects in the order of their places, as many as a step may and as fit. */
function moveSome(
  words: Int32Array,
  zspages: Zspages,
  objects: Objects,
  source: number,
  destination: number,
): void {
  const cls = words[source + Zspage.CLASS]!;
  const sizeBytes = zspages.classes.sizeBytes[cls]!;
  const room = zspages.classes.objects[cls]! - words[destination + Zspage.IN_USE]!;
  const step = Math.min(STEP_OBJECTS, Math.max(1, Math.floor(STEP_BYTES / sizeBytes)));
  const count = Math.min(room, step, words[source + Zspage.IN_USE]!);
  let place = zspages.places.first(source);
  for (let moved = 0; moved < count; place = zspages.places.next(place, sizeBytes)) {
    if (objects.entryAt(source, cls, place) === NIL) continue;
    objects.move(source, destination, cls, place);
    moved++;
  }
  zspages.moved(source, destination, count);
}
