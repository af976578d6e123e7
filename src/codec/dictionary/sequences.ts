// Counts what zstd would find in samples with a dictionary: literals, and codes for literal
// lengths, match lengths and distances. The search is like that of zstd's lower levels, so that the
// counts fit the later use of the tables.

/** Counts by symbol or code; each at least 1, because any may be needed one day. */
export interface Counts {
  readonly literals: number[];
  readonly literalLengths: number[];
  readonly matchLengths: number[];
  readonly offsets: number[];
}

const LITERAL_LENGTH_CODES = 36;
const MATCH_LENGTH_CODES = 53;
/**
 * Shortest match at a distance used just before; other distances cost more, and zstd requires
 * SHORT_MATCH.
 */
const MATCH_MIN = 4;
const SHORT_MATCH = 5;
const MATCH_CODED_MIN = 3;
const LONG_MATCH = 8;
const TABLE_BITS = 16;
const SAMPLE_BYTES_MAX = 128 * 1024;
/** The repeated distances at the start of a block, by default. */
export const REPEATED_OFFSETS = [1, 4, 8] as const;

/** Distances that need a code: to the dictionary's begin, from 128 KiB after it. */
function offsetCodes(contentBytes: number): number {
  return 32 - Math.clz32(contentBytes + 128 * 1024);
}

/** Lengths 0 … 15 are their own codes; from 64 on there is one code per power of two. */
const LENGTH_CODES = [16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 20, 20, 21, 21, 21, 21];
export function literalLengthCode(length: number): number {
  if (length < 16) return length;
  if (length < 32) return LENGTH_CODES[length - 16]!;
  if (length < 40) return 22;
  if (length < 48) return 23;
  return length < 64 ? 24 : 50 - Math.clz32(length);
}

export function matchLengthCode(length: number): number {
  const base = length - MATCH_CODED_MIN;
  if (base < 32) return base;
  if (base < 40) return 32 + ((base - 32) >> 1);
  if (base < 48) return 36 + ((base - 40) >> 2);
  if (base < 64) return 38 + ((base - 48) >> 3);
  if (base < 96) return 40 + ((base - 64) >> 4);
  return base < 128 ? 42 : 67 - Math.clz32(base);
}

/** @returns the counts over all samples */
export function countSequences(content: Uint8Array, samples: readonly Uint8Array[]): Counts {
  const search = new Search(content);
  for (const sample of samples) search.run(sample.subarray(0, SAMPLE_BYTES_MAX));
  return search.counts;
}

class Search {
  readonly counts: Counts;
  /** The content, followed by a sample. */
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #start: number;
  /** Position + 1, by hash of 5 and of 8 bytes, in the content and in the sample. */
  readonly #knownShort = new Uint32Array(2 ** TABLE_BITS);
  readonly #knownLong = new Uint32Array(2 ** TABLE_BITS);
  readonly #short = new Uint32Array(2 ** TABLE_BITS);
  readonly #long = new Uint32Array(2 ** TABLE_BITS);
  #end = 0;
  /** The last two distances. */
  #last = 0;
  #secondLast = 0;

  constructor(content: Uint8Array) {
    this.#start = content.length;
    this.#bytes = new Uint8Array(content.length + SAMPLE_BYTES_MAX);
    this.#bytes.set(content);
    this.#view = new DataView(this.#bytes.buffer);
    this.counts = {
      literals: new Array<number>(256).fill(1),
      literalLengths: new Array<number>(LITERAL_LENGTH_CODES).fill(1),
      matchLengths: new Array<number>(MATCH_LENGTH_CODES).fill(1),
      offsets: new Array<number>(offsetCodes(content.length)).fill(1),
    };
    for (let at = 0; at + LONG_MATCH <= content.length; at++) {
      this.#knownShort[this.#hashShort(at)] = at + 1;
      this.#knownLong[this.#hashLong(at)] = at + 1;
    }
  }

  run(sample: Uint8Array): void {
    this.#bytes.set(sample, this.#start);
    this.#end = this.#start + sample.length;
    this.#short.fill(0);
    this.#long.fill(0);
    [this.#last, this.#secondLast] = REPEATED_OFFSETS;
    let anchor = this.#start;
    for (let at = this.#start; at + LONG_MATCH < this.#end; ) {
      const next = at + 1;
      // Tries the last distance again, one byte on, as the levels 1 to 3 do.
      let from = next;
      let distance = this.#last;
      let length = this.#matchLength(next, distance);
      if (length < MATCH_MIN) {
        from = at;
        distance = this.#find(at);
        length = distance === 0 ? 0 : this.#matchLength(at, distance);
      }
      if (length < MATCH_MIN) {
        at += 1 + ((at - anchor) >> 8);
        continue;
      }
      for (; from > anchor && this.#reachesBack(from, distance); from--) length++;
      this.#count(anchor, from, distance, length);
      at = from + length;
      anchor = at;
      anchor = this.#repeat(anchor);
      at = anchor;
    }
    for (let at = anchor; at < this.#end; at++) this.counts.literals[this.#bytes[at]!]!++;
  }

  /**
   * Tries the second last distance right after a match.
   * @returns where the match ends
   */
  #repeat(anchor: number): number {
    for (let at = anchor; at + LONG_MATCH < this.#end; ) {
      const length = this.#matchLength(at, this.#secondLast);
      if (length < MATCH_MIN) return at;
      this.#count(at, at, this.#secondLast, length);
      at += length;
      anchor = at;
    }
    return anchor;
  }

  #hashShort(at: number): number {
    const low = Math.imul(this.#view.getUint32(at, true), 0x9e3779b1);
    const mixed = low ^ Math.imul(this.#bytes[at + 4]!, 0x85ebca6b);
    return Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35) >>> (32 - TABLE_BITS);
  }

  #hashLong(at: number): number {
    const low = Math.imul(this.#view.getUint32(at, true), 0x9e3779b1);
    const high = Math.imul(this.#view.getUint32(at + 4, true), 0x85ebca6b);
    return Math.imul(low ^ (high >>> 13) ^ high, 0xc2b2ae35) >>> (32 - TABLE_BITS);
  }

  #matchLength(at: number, distance: number): number {
    const bytes = this.#bytes;
    let end = at;
    if (distance <= at) while (end < this.#end && bytes[end] === bytes[end - distance]) end++;
    return end - at;
  }

  #reachesBack(at: number, distance: number): boolean {
    return at > distance && this.#bytes[at - 1] === this.#bytes[at - 1 - distance];
  }

  /**
   * Records `at` in the tables.
   * @returns the distance of the longest match that they know, or 0
   */
  #find(at: number): number {
    const long = this.#hashLong(at);
    const short = this.#hashShort(at);
    const candidates = [
      this.#long[long]!,
      this.#knownLong[long]!,
      this.#short[short]!,
      this.#knownShort[short]!,
    ];
    this.#long[long] = at + 1;
    this.#short[short] = at + 1;
    let best = 0;
    let bestLength = SHORT_MATCH - 1;
    for (const candidate of candidates) {
      if (candidate === 0) continue;
      const distance = at + 1 - candidate;
      const length = this.#matchLength(at, distance);
      if (length <= bestLength) continue;
      best = distance;
      bestLength = length;
    }
    return best;
  }

  #count(anchor: number, from: number, distance: number, length: number): void {
    const { literals, literalLengths, matchLengths, offsets } = this.counts;
    for (let at = anchor; at < from; at++) literals[this.#bytes[at]!]!++;
    literalLengths[literalLengthCode(from - anchor)]!++;
    matchLengths[matchLengthCode(length)]!++;
    // Without literals, the first repeated distance is the second last.
    const repeated = from > anchor ? this.#last : this.#secondLast;
    const base = distance === repeated ? 1 : distance + REPEATED_OFFSETS.length;
    offsets[31 - Math.clz32(base)]!++;
    if (distance === this.#last) return;
    this.#secondLast = this.#last;
    this.#last = distance;
  }
}
