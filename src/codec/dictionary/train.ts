// Chooses the content of a dictionary from samples, with the cover algorithm (Liao, Petri, Moffat
// and Wirth, "Effective Construction of Relative Lempel-Ziv Dictionaries", 2016) and hashed
// counters.
//
//   samples      ┌────────────────┬────────────────┬────────────────┬──────────── ─ ─
//   in epochs    │     ▒▒▒▒▒      │ ▒▒▒▒▒          │          ▒▒▒▒▒ │
//                └────────────────┴────────────────┴────────────────┴──────────── ─ ─
//   dictionary   the best segment of each epoch, the most valuable at the end
//
// The worth of a string of GRAM bytes is the number of samples in which it occurs, not how often: a
// repetition within one document needs no dictionary. The worth of a segment is the sum over its
// different strings; once it is taken, these are worth nothing.
//
// Time is linear in the samples: each byte is counted once and read once or twice, 15 ns each.
import { bytesOf } from "../../base/bytes.ts";
import { describe } from "../../base/describe.ts";
import { ZcacheError } from "../../base/errors.ts";
import { KIB, MIB } from "../../base/units.ts";
import { DICTIONARY_BYTES_MIN } from "../limits.ts";

/**
 * More bytes of samples are thinned out evenly: more of them change the result by less than 1 %.
 */
export const TRAIN_BYTES_MAX = 8 * MIB;
/** Bytes of a counted string. */
const GRAM = 8;
/** 2¹⁸ counters, 1 MiB, fit into the processor's cache; collisions do little harm. */
const COUNTER_BITS = 18;
/** Bytes of a segment: a few members of a JSON object with the text between their values. */
const SEGMENT_BYTES = 192;
/** Rounds through all epochs, so that a rich region may contribute more than once. */
const PASSES = 2;
/** Consecutive epochs without a segment after which the search ends. */
const FRUITLESS_MAX = 32;
/** Work of one step, at least: a millisecond. An epoch is never divided. */
const STEP_BYTES = 64 * KIB;

interface Segment {
  readonly begin: number;
  readonly end: number;
  readonly score: number;
}

/**
 * Chooses content for a dictionary of at most `sizeBytes`, the most useful at the end. LZ4 uses it
 * as it is, and so can zstd, for which `finalizeZstdDictionary` improves it.
 * @param samples typical data, at least a few dozen times `sizeBytes`; of more than TRAIN_BYTES_MAX
 *   in total, some are left out
 * @returns fewer bytes than requested if nothing else occurs twice, possibly none
 * @throws ZcacheError ERR_OPTION unless the size is a whole number of 8 bytes to 1 MiB
 */
export function trainDictionary(samples: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const steps = trainDictionaryInSteps(samples, sizeBytes);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/**
 * As `trainDictionary`, in steps of a few milliseconds, for threads that have other work; longer
 * steps for dictionaries below 16 KiB, which read much before they take anything.
 */
export function* trainDictionaryInSteps(
  samples: readonly Uint8Array[],
  sizeBytes: number,
): Generator<void, Uint8Array> {
  const isWhole = Number.isInteger(sizeBytes);
  if (!isWhole || sizeBytes < DICTIONARY_BYTES_MIN || sizeBytes > MIB) {
    throw new ZcacheError(
      "ERR_OPTION",
      `a dictionary of ${describe(sizeBytes)} bytes: ` +
        `must be a whole number from ${DICTIONARY_BYTES_MIN} to ${MIB}`,
      { context: { sizeBytes } },
    );
  }
  const text = new Corpus(thinOut(samplesOf(samples), TRAIN_BYTES_MAX));
  yield* text.count();
  const segments = yield* choose(text, sizeBytes);
  return assemble(text.bytes, segments, sizeBytes);
}

/**
 * The samples as plain arrays (base/bytes.ts).
 * @throws ZcacheError ERR_OPTION
 */
export function samplesOf(samples: readonly Uint8Array[]): Uint8Array[] {
  if (!Array.isArray(samples)) {
    throw new ZcacheError("ERR_OPTION", `samples ${describe(samples)}: must be an array`);
  }
  return Array.from(samples as readonly unknown[], (sample, nth) =>
    bytesOf(sample, `samples[${nth}]`),
  );
}

/** Every n-th sample, so that they have at most `limitBytes` in total. */
export function thinOut(samples: readonly Uint8Array[], limitBytes: number): Uint8Array[] {
  const total = samples.reduce((sum, sample) => sum + sample.length, 0);
  const share = Math.min(1, limitBytes / Math.max(1, total));
  const taken: Uint8Array[] = [];
  let room = limitBytes;
  for (let at = 0; at < samples.length; at++) {
    if (Math.floor((at + 1) * share) === Math.floor(at * share) || samples[at]!.length > room) {
      continue;
    }
    taken.push(samples[at]!);
    room -= samples[at]!.length;
  }
  return taken;
}

/** The concatenated samples, and the worth of each of their strings. */
class Corpus {
  readonly bytes: Uint8Array;
  /**
   * By hash: the number of samples in which the string occurs, beyond the first; 0 once it is
   * taken.
   */
  readonly worth = new Uint32Array(2 ** COUNTER_BITS);
  readonly #view: DataView;
  readonly #ends: readonly number[];

  constructor(samples: readonly Uint8Array[]) {
    const ends: number[] = [];
    let end = 0;
    for (const sample of samples) {
      end += sample.length;
      ends.push(end);
    }
    this.bytes = new Uint8Array(end);
    samples.forEach((sample, n) => {
      this.bytes.set(sample, ends[n]! - sample.length);
    });
    this.#view = new DataView(this.bytes.buffer);
    this.#ends = ends;
  }

  /** Strings begin before this position. */
  get gramEnd(): number {
    return Math.max(0, this.bytes.length - GRAM + 1);
  }

  hashAt(at: number): number {
    const low = this.#view.getUint32(at, true);
    const high = this.#view.getUint32(at + 4, true);
    const mixed = Math.imul(low, 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b);
    return Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35) >>> (32 - COUNTER_BITS);
  }

  *count(): Generator<void, void> {
    const lastIn = new Uint32Array(2 ** COUNTER_BITS);
    const worth = this.worth;
    let begin = 0;
    let done = 0;
    for (let n = 0; n < this.#ends.length; n++) {
      const end = this.#ends[n]!;
      for (let at = begin; at + GRAM <= end; at++) {
        const hash = this.hashAt(at);
        if (lastIn[hash] === n + 1) continue;
        if (lastIn[hash] !== 0) worth[hash]!++;
        lastIn[hash] = n + 1;
      }
      done += end - begin;
      begin = end;
      if (done < STEP_BYTES) continue;
      done = 0;
      yield;
    }
  }
}

function* choose(text: Corpus, sizeBytes: number): Generator<void, Segment[]> {
  const epochs = Math.max(1, Math.floor(sizeBytes / SEGMENT_BYTES / PASSES));
  const epochBytes = Math.max(10 * SEGMENT_BYTES, Math.ceil(text.gramEnd / epochs));
  const search = new SegmentSearch(text);
  const segments: Segment[] = [];
  let filled = 0;
  let done = 0;
  let fruitless = 0;
  for (let begin = 0; filled < sizeBytes && text.gramEnd > 0; begin += epochBytes) {
    if (begin >= text.gramEnd) begin = 0;
    const end = Math.min(begin + epochBytes, text.gramEnd);
    const segment = search.best(begin, end);
    if (segment.score === 0) {
      if (++fruitless === FRUITLESS_MAX) break;
    } else {
      fruitless = 0;
      segments.push(segment);
      filled += segment.end - segment.begin;
    }
    done += end - begin;
    if (done < STEP_BYTES) continue;
    done = 0;
    yield;
  }
  return segments;
}

/** Finds the best segment of an epoch with a sliding window. */
class SegmentSearch {
  readonly #text: Corpus;
  /** By hash: the number of times that the string is in the window, so that it counts once. */
  readonly #inWindow = new Uint16Array(2 ** COUNTER_BITS);

  constructor(text: Corpus) {
    this.#text = text;
  }

  /**
   * Takes the best segment whose strings begin in [begin, end), and sets the worth of its strings
   * to 0.
   * @returns the segment
   */
  best(begin: number, end: number): Segment {
    const text = this.#text;
    const { worth } = text;
    const inWindow = this.#inWindow;
    const grams = SEGMENT_BYTES - GRAM + 1;
    let first = begin;
    let score = 0;
    let bestScore = 0;
    let bestBegin = begin;
    for (let at = begin; at < end; at++) {
      const hash = text.hashAt(at);
      if (inWindow[hash]!++ === 0) score += worth[hash]!;
      if (at - first === grams) {
        const gone = text.hashAt(first++);
        if (--inWindow[gone]! === 0) score -= worth[gone]!;
      }
      if (score > bestScore) {
        bestScore = score;
        bestBegin = first;
      }
    }
    for (; first < end; first++) inWindow[text.hashAt(first)] = 0;
    return this.#take(bestBegin, Math.min(bestBegin + grams, end), bestScore);
  }

  /** Trims worthless ends. */
  #take(begin: number, end: number, score: number): Segment {
    const text = this.#text;
    const isWorthless = (at: number) => text.worth[text.hashAt(at)] === 0;
    while (begin < end && isWorthless(begin)) begin++;
    while (begin < end && isWorthless(end - 1)) end--;
    for (let at = begin; at < end; at++) text.worth[text.hashAt(at)] = 0;
    return { begin, end: end + GRAM - 1, score };
  }
}

/** Orders segments with the most valuable last, and leaves out the least valuable excess. */
function assemble(bytes: Uint8Array, segments: readonly Segment[], sizeBytes: number): Uint8Array {
  const dictionary = new Uint8Array(sizeBytes);
  let at = sizeBytes;
  for (const { begin, end } of segments.toSorted((a, b) => b.score - a.score)) {
    const from = Math.max(begin, end - at);
    at -= end - from;
    dictionary.set(bytes.subarray(from, end), at);
  }
  return dictionary.subarray(at);
}
