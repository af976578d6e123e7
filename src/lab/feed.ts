// Feeds pieces of input (a file, a memory region) to the analyzer's window: everything in order up
// to a limit, or a uniform sample of pages. The caller reads: node/inputs.ts and node/processes.ts.
//
// Pieces come from a generator and are dropped once they are read, so that a tree of any size needs
// little memory. Sampling walks twice: to count pages, and to read the drawn ones.
import { ZcacheError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { Xorshift32 } from "../base/random.ts";
import type { InputSummary, Skip } from "./analysis.ts";
import type { Analyzer } from "./analyzer.ts";
import type { Work } from "./pool_lane.ts";

/** Something that can be read as pages. */
export interface Piece {
  readonly name: string;
  /** Bytes, as far as they are known without opening the piece. */
  readonly sizeBytes: number;
  /** @throws ZcacheError ERR_INPUT whose message says why the piece can't be read */
  open(): PieceReader;
}

export interface PieceReader {
  readonly sizeBytes: number;
  /**
   * Reads up to `lengthBytes` from `position` into `target` at `at`.
   * @returns bytes read, 0 at the end
   * @throws ZcacheError ERR_INPUT as `open`
   */
  read(target: Uint8Array, at: number, lengthBytes: number, position: number): number;
  close(): void;
}

/** Skipped pieces to list by name; further ones are only counted. */
const SKIPS_KEPT = 1000;
/** A sample of so many pages is 64 GiB of 4 KiB pages; its page numbers take 128 MiB. */
export const SAMPLE_PAGES_MAX = 1 << 24;
/** Pieces between two yields while pages are counted. */
const COUNT_CHUNK = 256;

/** The pieces that were skipped, and why: names and counts. */
export class SkipList {
  readonly kept: Skip[] = [];
  readonly notes = new Set<string>();
  count = 0;
  /** Pieces without a single byte. */
  empty = 0;
  /** Symbolic links in folders, which are never followed. */
  links = 0;

  add(name: string, reason: string): void {
    this.count++;
    if (this.kept.length >= SKIPS_KEPT) return;
    this.kept.push({ name: printable(name), reason: printable(reason) });
  }

  /** Clears everything, before a second walk over the same input. */
  clear(): void {
    this.kept.length = 0;
    this.notes.clear();
    this.count = 0;
    this.empty = 0;
    this.links = 0;
  }
}

export interface FeedOptions {
  /** Begins a walk over the input; called twice when sampling. */
  readonly pieces: () => Iterable<Piece>;
  readonly skips: SkipList;
  readonly sources: readonly string[];
  readonly limitBytes?: number | undefined;
  readonly samplePages?: number | undefined;
  readonly seed: number;
}

/**
 * Draws `count` different whole numbers below `total`, every set of them equally likely.
 * @returns them in rising order
 */
export function drawSample(total: number, count: number, seed: number): Float64Array {
  const random = new Xorshift32(seed);
  const drawn = new Float64Array(count);
  let have = 0;
  // Draws as many numbers as are missing, sorts, drops duplicates, and repeats: the same as drawing
  // one number after the other and rejecting those already drawn.
  while (have < count) {
    for (let i = have; i < count; i++) {
      const fraction = (random.next() * 2 ** 21 + (random.next() >>> 11)) / 2 ** 53;
      drawn[i] = Math.floor(fraction * total);
    }
    drawn.sort();
    have = 1;
    for (let i = 1; i < count; i++) {
      if (drawn[i] !== drawn[have - 1]) drawn[have++] = drawn[i]!;
    }
  }
  return drawn;
}

export class Feed {
  /** Bytes read so far. */
  bytesRead = 0;
  /** Bytes to read, once that is known. */
  bytesExpected: number | undefined;
  readonly #analyzer: Analyzer;
  readonly #options: FeedOptions;
  readonly #pageSize: number;
  #piecesRead = 0;
  #limited = false;
  #pagesTotal: number | undefined;
  #pagesWanted = 0;

  constructor(analyzer: Analyzer, options: FeedOptions) {
    this.#analyzer = analyzer;
    this.#options = options;
    this.#pageSize = analyzer.window.pageSize;
  }

  /** Reads and measures the requested input; yields after each chunk of work. */
  *run(): Work {
    const { samplePages, pieces } = this.#options;
    const drawn = samplePages === undefined ? undefined : yield* this.#draw(samplePages);
    if (drawn !== undefined) {
      this.bytesExpected = drawn.length * this.#pageSize;
      yield* this.#readSample(drawn);
    } else {
      for (const piece of pieces()) {
        if (this.#limited) break;
        yield* this.#readPiece(piece);
      }
    }
    yield* this.#analyzer.finish();
  }

  /** Sums the sizes of all pieces, so that a progress bar knows its end. */
  *count(): Work {
    this.#analyzer.step = "counting pages";
    const pages = yield* this.#countPages();
    this.#analyzer.step = "";
    const { limitBytes = Number.POSITIVE_INFINITY } = this.#options;
    this.bytesExpected = Math.min(limitBytes, pages * this.#pageSize);
    this.#options.skips.clear();
  }

  summary(): InputSummary {
    const { skips, sources, seed, samplePages, limitBytes } = this.#options;
    const pages = this.#pagesWanted;
    return {
      sources,
      pieces: this.#piecesRead,
      bytes: this.bytesRead,
      sample: samplePages === undefined ? null : { pages, of_pages: this.#pagesTotal ?? 0, seed },
      limit_bytes: limitBytes ?? null,
      limited: this.#limited,
      empty: skips.empty,
      links: skips.links,
      skipped_count: skips.count,
      skipped: [...skips.kept],
      notes: [...skips.notes],
    };
  }

  *#countPages(): Generator<undefined, number> {
    let pages = 0;
    let pieces = 0;
    for (const piece of this.#options.pieces()) {
      pages += Math.ceil(piece.sizeBytes / this.#pageSize);
      if (++pieces % COUNT_CHUNK === 0) yield;
    }
    return pages;
  }

  /** @returns the page numbers to read, or undefined if the sample would be the whole input */
  *#draw(samplePages: number): Generator<undefined, Float64Array | undefined> {
    const { limitBytes, seed, skips } = this.#options;
    this.#analyzer.step = "counting pages";
    const total = yield* this.#countPages();
    skips.clear();
    const wanted = Math.min(
      samplePages,
      Math.floor((limitBytes ?? Number.POSITIVE_INFINITY) / this.#pageSize),
    );
    this.#pagesTotal = total;
    this.#pagesWanted = Math.min(wanted, total);
    if (wanted >= total) return undefined;
    if (wanted * 2 <= total) return drawSample(total, wanted, seed);
    return complement(drawSample(total, total - wanted, seed), total);
  }

  *#readPiece(piece: Piece): Work {
    const reader = this.#open(piece);
    if (reader === undefined) return;
    try {
      const read = yield* this.#readWhole(piece, reader);
      if (read > 0) this.#piecesRead++;
    } finally {
      reader.close();
    }
  }

  *#readWhole(piece: Piece, reader: PieceReader): Generator<Promise<void> | undefined, number> {
    const { window, bytes } = this.#analyzer;
    const { limitBytes = Number.POSITIVE_INFINITY } = this.#options;
    let position = 0;
    // Reads no further than the size at opening: a log that grows while it is read would never end.
    while (position < reader.sizeBytes) {
      if (this.bytesRead >= limitBytes) {
        this.#limited = true;
        break;
      }
      if (window.roomBytes() === 0) yield* this.#analyzer.flush();
      const left = Math.min(reader.sizeBytes - position, limitBytes - this.bytesRead);
      const got = this.#read(piece, reader, Math.min(window.roomBytes(), left), position, bytes);
      if (got === 0) break;
      window.advance(got);
      position += got;
      this.bytesRead += got;
      yield;
    }
    window.padPage();
    return position;
  }

  *#readSample(drawn: Float64Array): Work {
    let next = 0;
    let firstPage = 0;
    let pieces = 0;
    for (const piece of this.#options.pieces()) {
      const end = firstPage + Math.ceil(piece.sizeBytes / this.#pageSize);
      if (++pieces % COUNT_CHUNK === 0) yield;
      if (next < drawn.length && drawn[next]! < end) {
        const reader = this.#open(piece);
        let read = 0;
        for (; next < drawn.length && drawn[next]! < end; next++) {
          if (reader === undefined) continue;
          if (this.#analyzer.window.roomBytes() === 0) yield* this.#analyzer.flush();
          read += this.#readPage(piece, reader, (drawn[next]! - firstPage) * this.#pageSize);
          yield;
        }
        reader?.close();
        if (read > 0) this.#piecesRead++;
      }
      firstPage = end;
      if (next === drawn.length) break;
    }
  }

  #readPage(piece: Piece, reader: PieceReader, position: number): number {
    const { window, bytes } = this.#analyzer;
    let done = 0;
    while (done < this.#pageSize) {
      const got = this.#read(piece, reader, this.#pageSize - done, position + done, bytes);
      if (got === 0) break;
      window.advance(got);
      done += got;
    }
    window.padPage();
    this.bytesRead += done;
    return done;
  }

  #open(piece: Piece): PieceReader | undefined {
    try {
      return piece.open();
    } catch (error) {
      this.#skip(piece, error);
      return undefined;
    }
  }

  #read(
    piece: Piece,
    reader: PieceReader,
    lengthBytes: number,
    position: number,
    bytes: Uint8Array,
  ): number {
    try {
      return reader.read(bytes, this.#analyzer.window.nextAddress(), lengthBytes, position);
    } catch (error) {
      this.#skip(piece, error);
      return 0;
    }
  }

  /** Records an input error as skipped; throws any other error on. */
  #skip(piece: Piece, error: unknown): void {
    if (!(error instanceof ZcacheError) || error.code !== "ERR_INPUT") throw error;
    this.#options.skips.add(piece.name, error.message);
  }
}

/** The numbers below `total` that are not in `left`, which is sorted in ascending order. */
function complement(left: Float64Array, total: number): Float64Array {
  const rest = new Float64Array(total - left.length);
  let skip = 0;
  let at = 0;
  for (let number = 0; number < total; number++) {
    if (skip < left.length && left[skip] === number) skip++;
    else rest[at++] = number;
  }
  return rest;
}
