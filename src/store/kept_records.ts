// Records that a file on the disk names, and that a restart would look for: they are not removed
// from the remote tier, whatever becomes of their pages, until another file has taken the place of
// that one.
//
// All pages of a tmem pool are of one object, as those of a device are. The names are kept outside
// of the store's memory: 16 bytes for each page, in pieces of neighbouring pages.
import type { RecordName, RecordVersion } from "../backing/record_name.ts";
import { TmemKey } from "../tmem/key.ts";

const PIECE_PAGES = 4096;
const NAME_WORDS = 4;
const META = 0; // 0: no record
const VERSION_LOW = 1;
const VERSION_HIGH = 2;
const EPOCH = 3;
const WORD = 2 ** 32;

interface KeptPool {
  /** Names the object; its index is any. */
  readonly key: TmemKey;
  readonly pieces: Map<number, Int32Array>;
}

export class KeptRecords {
  readonly #pools = new Map<number, KeptPool>();
  #count = 0;

  /** How many records are kept. */
  get count(): number {
    return this.#count;
  }

  /** Keeps the record of a page, in place of the one that was kept before. */
  keep(name: RecordName): void {
    const piece = this.#pieceOf(name) ?? this.#makePiece(name);
    const at = wordOf(name);
    if (piece[at + META] === 0) this.#count++;
    piece[at + META] = name.meta;
    piece[at + VERSION_LOW] = name.versionLow;
    piece[at + VERSION_HIGH] = name.versionHigh;
    piece[at + EPOCH] = name.epoch;
  }

  /** Whether this record is kept. */
  has(name: RecordName): boolean {
    const piece = this.#pieceOf(name);
    const at = wordOf(name);
    return piece !== undefined && piece[at + META] !== 0 && isSame(piece, at, name);
  }

  /** Keeps no record any more. @returns the names of those that were kept */
  *release(): Generator<RecordName> {
    const pools = [...this.#pools];
    this.#pools.clear();
    this.#count = 0;
    for (const [pool, { key, pieces }] of pools) {
      for (const [nth, piece] of pieces) {
        for (let at = 0; at < piece.length; at += NAME_WORDS) {
          if (piece[at + META] === 0) continue;
          key.setIndex(nth * PIECE_PAGES + at / NAME_WORDS);
          yield {
            ...{ pool, key: new TmemKey().copy(key), meta: piece[at + META]! },
            versionLow: piece[at + VERSION_LOW]!,
            versionHigh: piece[at + VERSION_HIGH]!,
            epoch: piece[at + EPOCH]! >>> 0,
          };
        }
      }
    }
  }

  #pieceOf(name: RecordName): Int32Array | undefined {
    return this.#pools.get(name.pool)?.pieces.get(Math.floor(pageOf(name) / PIECE_PAGES));
  }

  #makePiece(name: RecordName): Int32Array {
    let kept = this.#pools.get(name.pool);
    if (kept === undefined) {
      kept = { key: new TmemKey().copy(name.key), pieces: new Map() };
      this.#pools.set(name.pool, kept);
    }
    const piece = new Int32Array(PIECE_PAGES * NAME_WORDS);
    kept.pieces.set(Math.floor(pageOf(name) / PIECE_PAGES), piece);
    return piece;
  }
}

function isSame(piece: Int32Array, at: number, record: RecordVersion): boolean {
  return (
    piece[at + VERSION_LOW] === record.versionLow &&
    piece[at + VERSION_HIGH] === record.versionHigh &&
    piece[at + EPOCH] === (record.epoch | 0)
  );
}

function pageOf({ key }: RecordName): number {
  return (key.indexHigh >>> 0) * WORD + (key.indexLow >>> 0);
}

/** The word in its piece at which a page's record begins. */
function wordOf(name: RecordName): number {
  return (pageOf(name) % PIECE_PAGES) * NAME_WORDS;
}
