// Names of records in the remote tier, as words of the outbox.
import type { RecordKey } from "./contract.ts";
import * as Box from "./outbox.layout.ts";

/** What tells the records of one page apart. */
export interface RecordVersion {
  /** Of the version, bits 0–31 and 32–47. */
  readonly versionLow: number;
  readonly versionHigh: number;
  readonly epoch: number;
}

/** The whole name of a record. */
export interface RecordName extends RecordVersion {
  readonly pool: number;
  readonly key: RecordKey;
  /** META of its page (store/page.layout.ts), which has the size of the data; 0: not known. */
  readonly meta: number;
}

/** Writes a name without its version and epoch. */
export function writeName(
  words: Int32Array,
  at: number,
  pool: number,
  key: RecordKey,
  meta: number,
): void {
  words[at + Box.POOL] = pool;
  words[at + Box.ID_SHAPE] = key.idShape;
  for (let i = 0; i < Box.ID_WORDS; i++) words[at + Box.ID + i] = key.id[i]!;
  words[at + Box.INDEX_LOW] = key.indexLow;
  words[at + Box.INDEX_HIGH] = key.indexHigh;
  words[at + Box.META] = meta;
}

/** The name at a word. */
export function nameAt(words: Int32Array, at: number): RecordName {
  return {
    pool: words[at + Box.POOL]!,
    key: {
      id: words.slice(at + Box.ID, at + Box.ID + Box.ID_WORDS),
      idShape: words[at + Box.ID_SHAPE]!,
      indexLow: words[at + Box.INDEX_LOW]!,
      indexHigh: words[at + Box.INDEX_HIGH]!,
    },
    meta: words[at + Box.META]!,
    versionLow: words[at + Box.RECORD_LOW]!,
    versionHigh: words[at + Box.RECORD_HIGH]!,
    epoch: words[at + Box.RECORD_EPOCH]! >>> 0,
  };
}
