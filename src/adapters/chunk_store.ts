// The entry point `zcache/chunk-store`: an abstract-chunk-store, the interface in which WebTorrent
// keeps the pieces of a torrent, over a store of pages.
//
// A chunk is an object of a persistent pool: its index is the object number, and it consists of
// pages. The last page is padded with zeros, which compress to almost nothing. A chunk that was put
// is never evicted; it stays in memory or in the write-back file, or the put fails with an error.
/// <reference types="node" preserve="true" />
import { bytesOf } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { KIB } from "../base/units.ts";
import { createStore } from "../node/stores.ts";
import type { StoreOptions } from "../store/options.ts";
import type { Store } from "../store/store.ts";
import { TmemKey } from "../tmem/key.ts";

/** Options. Unknown options are ignored, because WebTorrent passes properties of the torrent. */
export interface ChunkStoreOptions {
  /** A store to use. It stays open when the chunk store is closed. */
  readonly store?: Store | undefined;
  /** Options of a store that is created, and closed with the chunk store. */
  readonly storeOptions?: StoreOptions | undefined;
  /** With `store`: 16 bytes that identify the chunks, so that several threads can share them. */
  readonly uuid?: Uint8Array | undefined;
  /** Bytes of all chunks together, if known; the last chunk may then be shorter. */
  readonly length?: number | undefined;
}

export interface ChunkRange {
  readonly offset?: number;
  readonly length?: number;
}

export type DoneCallback = (error: Error | null) => void;
export type ChunkCallback = (error: Error | null, chunk?: Buffer) => void;

const PAGE_KIB = [4, 8, 16, 32, 64] as const;

export class ZcacheChunkStore {
  readonly chunkLength: number;
  /** Bytes of all chunks together; Infinity if unknown. */
  readonly length: number;
  readonly #store: Store;
  readonly #pool: number;
  readonly #isOwn: boolean;
  readonly #key = new TmemKey();
  readonly #page: Uint8Array;
  #isClosed = false;

  /**
   * @param chunkLength bytes of each chunk but the last
   * @throws ZcacheError ERR_OPTION, and what `createStore` throws
   */
  constructor(chunkLength: number, options: ChunkStoreOptions = {}) {
    if (!(Number.isSafeInteger(chunkLength) && chunkLength > 0)) {
      throw new ZcacheError(
        "ERR_OPTION",
        `chunkLength ${describe(chunkLength)} is not a whole number of bytes from 1`,
      );
    }
    const { store, storeOptions, uuid, length = Number.POSITIVE_INFINITY } = options;
    if (store !== undefined && storeOptions !== undefined) {
      throw new ZcacheError("ERR_OPTION", "store and storeOptions: give one of them, not both");
    }
    this.chunkLength = chunkLength;
    this.length = length;
    this.#isOwn = store === undefined;
    this.#store = store ?? createStore({ pageSize: pageSizeFor(chunkLength), ...storeOptions });
    this.#pool = this.#store.createPool({
      persistent: true,
      ...(uuid === undefined ? {} : { uuid }),
    });
    if (this.#pool < 0) {
      throw new ZcacheError("ERR_OPTION", "the store has no room for another pool");
    }
    this.#page = new Uint8Array(this.#store.pageSize);
  }

  /**
   * Stores a chunk and replaces an earlier one.
   * @param done gets an error for a wrong length or if there is no room; in the latter case the
   *   chunk
   *   of that index no longer exists
   */
  put(index: number, chunk: Uint8Array, done: DoneCallback = () => undefined): void {
    this.#answer(done, () => {
      const expected = this.#lengthOf(index);
      this.#put(index, bytesOf(chunk, `chunk ${index}`, expected));
    });
  }

  /** Reads a chunk or a part of it; the error for a missing chunk has the property `notFound`. */
  get(
    index: number,
    range: ChunkRange | null | undefined | ChunkCallback,
    done?: ChunkCallback,
  ): void {
    const answer = typeof range === "function" ? range : (done ?? (() => undefined));
    this.#answer(answer, () => {
      const whole = this.#lengthOf(index);
      const { offset = 0, length = whole - offset } =
        (typeof range === "function" ? {} : range) ?? {};
      const isPart = Number.isInteger(offset) && Number.isInteger(length);
      if (!(isPart && offset >= 0 && length >= 0 && offset + length <= whole)) {
        const part = `offset ${describe(offset)} and length ${describe(length)}`;
        throw new ZcacheError("ERR_OPTION", `chunk ${index}: ${part} of ${whole} bytes`);
      }
      return this.#get(index, offset, length);
    });
  }

  /** Closes the chunk store, and its store with all chunks if it has created that. */
  close(done: DoneCallback = () => undefined): void {
    this.#answer(done, () => this.#close());
  }

  /** Removes all chunks and closes the chunk store. */
  destroy(done: DoneCallback = () => undefined): void {
    this.#answer(done, () => {
      this.#store.destroyPool(this.#pool);
      this.#close();
    });
  }

  #close(): void {
    this.#isClosed = true;
    if (this.#isOwn) this.#store.close();
  }

  /** The length of a chunk; the last one may be shorter. */
  #lengthOf(index: number): number {
    if (!(Number.isSafeInteger(index) && index >= 0)) {
      throw new ZcacheError(
        "ERR_KEY",
        `chunk ${describe(index)}: the index must be a whole number from 0`,
      );
    }
    const left = this.length - index * this.chunkLength;
    if (left > 0) return Math.min(this.chunkLength, left);
    throw new ZcacheError(
      "ERR_KEY",
      `chunk ${index}: begins beyond the end at ${this.length} bytes`,
    );
  }

  #put(index: number, chunk: Uint8Array): void {
    const { pageSize } = this.#store;
    const key = this.#key.setObject(index);
    for (let at = 0, nth = 0; at < chunk.length; at += pageSize, nth++) {
      let page = chunk.subarray(at, at + pageSize);
      if (page.length < pageSize) {
        this.#page.fill(0).set(page);
        page = this.#page;
      }
      if (this.#store.put(this.#pool, key.setIndex(nth), page) === 0) continue;
      this.#store.flushObject(this.#pool, key);
      throw new ZcacheError("ERR_ARENA_FULL", `no room for chunk ${index}; it is not stored`);
    }
  }

  #get(index: number, offset: number, length: number): Buffer {
    const { pageSize } = this.#store;
    const key = this.#key.setObject(index);
    const chunk = Buffer.allocUnsafe(length);
    const end = offset + length;
    // Reads at least one page, so that an empty part of a missing chunk is an error too.
    let at = offset - (offset % pageSize);
    do {
      if (!this.#store.get(this.#pool, key.setIndex(at / pageSize), this.#page)) {
        throw Object.assign(new Error(`there is no chunk ${index}`), { notFound: true });
      }
      const from = Math.max(at, offset);
      const to = Math.min(at + pageSize, end);
      chunk.set(this.#page.subarray(from - at, to - at), from - offset);
      at += pageSize;
    } while (at < end);
    return chunk;
  }

  /** Does the work at once, so that calls take effect in order, and calls back later. */
  #answer<T>(done: (error: Error | null, result?: T) => void, work: () => T): void {
    let result: T | undefined;
    let failure: Error | null = null;
    try {
      if (this.#isClosed) throw new ZcacheError("ERR_STORE_CLOSED", "the chunk store is closed");
      result = work();
    } catch (error) {
      failure = error as Error;
    }
    queueMicrotask(() => (failure === null ? done(null, result) : done(failure)));
  }
}

/** The smallest page size that holds a chunk; larger pages compress better. */
function pageSizeFor(chunkLength: number): number {
  return (PAGE_KIB.find((kib) => kib * KIB >= chunkLength) ?? 64) * KIB;
}
