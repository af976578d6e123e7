// Begins and ends the recording of requests for a sample of the keys (request_sample.ts), in all
// shards of a store, and lists the sampled pages that are stored.
import { type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { put } from "../memory/journal.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { ScanCursor } from "../tmem/scan_cursor.ts";
import * as Page from "./page.layout.ts";
import * as Sample from "./request_sample.layout.ts";
import { expiryAt, hasPrefix, isSampledBelow } from "./request_sample.ts";
import { SampleReader, type SampleShare } from "./sample_reader.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";
import { transaction } from "./transaction.ts";
import * as Value from "./value.layout.ts";
import { shrink } from "./write_back.ts";

/** Entries that one step visits, at about, under one hold of the lock. */
const STEP_ENTRIES = 64;
/** Pages that are evicted at a time where no frame is free for the ring, and how often. */
const EVICTED = 64;
const EVICTIONS_MAX = 64;

/** A sampled page that is stored. */
export interface SampledPage {
  readonly hash: number;
  readonly storedBytes: number;
  readonly plainBytes: number;
  /** In seconds since 1970, 0 = never. */
  readonly expiresS: number;
  /** Ticks of the store's clock since its last use, as far as the store knows. */
  readonly idle: number;
}

export class RequestSampling {
  readonly #states: readonly StoreState[];
  /** Unsigned, 1 … 2³² − 1. */
  readonly #limit: number;
  /** The share of the keys that is sampled. */
  readonly share: number;
  // The walk over stored pages.
  #nth = 0;
  #cursor = new ScanCursor();
  readonly #pages: SampledPage[] = [];

  /**
   * Prepares recording: makes a ring in each shard that has none, which stays until the store is
   * closed, because a thread may still write to it long after recording has ended.
   * @param states the shards of the store
   * @param share of the keys, above 0, at most 1
   * @throws ZcacheError ERR_ARENA_FULL
   */
  constructor(states: readonly StoreState[], share: number) {
    this.#states = states;
    this.#limit = Math.max(1, Math.min(2 ** 32 - 1, Math.floor(share * 2 ** 32)));
    this.share = this.#limit / 2 ** 32;
    for (const state of states) makeRing(state);
  }

  /** Where a `SampleReader` finds the rings. */
  get rings(): readonly SampleShare[] {
    return this.#states.map(({ arena, words, root }) => ({
      memory: arena.memory.buffer,
      root,
      pieces: Array.from(piecesOf(words, root, pieceCount(arena))),
    }));
  }

  /**
   * Takes the next step of a walk over the sampled pages in memory.
   * @returns whether all have been visited
   */
  step(): boolean {
    const state = this.#states[this.#nth]!.assertOpen();
    const visit = (entry: WordIndex) => this.#visitLocked(state, entry);
    const { index } = state;
    if (!transaction(state, () => index.scan(this.#cursor, STEP_ENTRIES, visit))) return false;
    if (this.#nth + 1 === this.#states.length) return true;
    this.#nth++;
    this.#cursor = new ScanCursor();
    return false;
  }

  /** The pages that the walk has visited, those first that have not been used for longest. */
  pages(): SampledPage[] {
    return this.#pages.sort((a, b) => b.idle - a.idle);
  }

  /** Begins to record. What was recorded before and not read is gone. */
  begin(): void {
    for (const ring of this.rings) new SampleReader(ring).reset();
    this.#setLimit(this.#limit);
  }

  end(): void {
    this.#setLimit(0);
  }

  #setLimit(limit: number): void {
    for (const { words, root } of this.#states) words[root + Store.SAMPLE_LIMIT] = limit | 0;
  }

  #visitLocked(state: StoreState, entry: WordIndex): void {
    const { words, index, victimKey: key, evicted } = state;
    const meta = words[entry + Entry.META]!;
    const where = Page.whereOf(meta);
    if (where !== Page.MEMORY && where !== Page.SAME_FILLED) return;
    const hash = state.hash(index.keyOf(entry, key), key);
    if (!isSampledBelow(hash, this.#limit)) return;
    const storedBytes = Page.sizeOf(meta);
    let plainBytes = state.pageSize;
    let expiresS = 0;
    if (hasPrefix(state, key) && where === Page.MEMORY) {
      const handle = words[entry + Entry.VALUE]! as Handle;
      const bytes = Math.min(storedBytes, Value.PREFIX_MAX);
      state.zpools[Page.kindOf(meta)]!.readShared(handle, evicted, bytes);
      plainBytes = Value.sizeOf(words[evicted / 4]!);
      expiresS = expiryAt(state, evicted);
    }
    const idle = (words[state.root + Store.TICK]! - Page.tickOf(meta)) & (Page.AGES - 1);
    this.#pages.push({ hash, storedBytes, plainBytes, expiresS, idle });
  }
}

function pieceCount({ pageSize }: { readonly pageSize: number }): number {
  return Sample.RING_BYTES / pageSize;
}

function piecesOf(words: Int32Array, root: number, count: number): Int32Array {
  return words.subarray(root + Store.SAMPLE_PIECES, root + Store.SAMPLE_PIECES + count);
}

/** Makes the ring, if need be in place of pages that are evicted, as for a put. */
function makeRing(state: StoreState): void {
  state.assertOpen();
  for (let rounds = 0; rounds < EVICTIONS_MAX; rounds++) {
    if (transaction(state, () => makePiecesLocked(state))) return;
    if (shrink(state, EVICTED) === 0) break;
  }
  const message = `no ${Sample.RING_BYTES} bytes left in the arena to record requests in`;
  throw new ZcacheError("ERR_ARENA_FULL", message);
}

/** @returns whether all pieces are there; those that are stay */
function makePiecesLocked(state: StoreState): boolean {
  const { words, root, arena } = state;
  for (let nth = 0; nth < pieceCount(arena); nth++) {
    const at = root + Store.SAMPLE_PIECES + nth;
    if (words[at] !== 0) continue;
    const made = state.allocateLocked(arena.pageSize);
    if (made === NIL) return false;
    put(words, at, made);
  }
  return true;
}
