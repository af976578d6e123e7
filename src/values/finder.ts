// Finds values in WebAssembly (find_value.as.ts): fills in what the kernels need to know of a
// store, and reports their hits to the store's policy and counters.
//
// The kernels handle the common case only: the dense pool, no header before an object. A store that
// is made otherwise has no finder; its values are found by `Values.find`.
import type { Address, PageFrame, WordIndex } from "../base/brand.ts";
import * as Super from "../memory/arena.layout.ts";
import { pageSeed } from "../store/hash.ts";
import { INDEX_AT } from "../store/open.ts";
import * as Page from "../store/page.layout.ts";
import type { StoreState } from "../store/state.ts";
import * as Store from "../store/store.layout.ts";
import * as Index from "../tmem/index.layout.ts";
import * as Find from "./find.layout.ts";

const POOL_TYPE = "dense";
/** Below this a copy byte by byte is quicker than a call. */
const COPY_BYTES_MIN = 32;
/** Writers to wait for in one call, before the caller finds the rest, which waits its turn. */
const WAITS_MAX = 16;

export class Finder {
  readonly #state: StoreState;
  /** Address of the kernels' context (find.layout.ts). */
  readonly #at: Address;
  // What `answerGets` is asked.
  /** Address at which answers begin; afterwards, the address behind the last one. */
  out = 0;
  /** Address at which the room for answers ends. */
  outEnd = 0;
  /** Seconds since 1970. */
  now = 0;
  /** How often all items were flushed. */
  flushes = 0;
  /** Values that were found for the last answers. */
  found = 0;

  /**
   * @param pool the tmem pool of the values
   * @param seeds of the keys' hash
   * @returns undefined where the kernels can't find values
   */
  static of(state: StoreState, pool: number, seeds: readonly number[]): Finder | undefined {
    const isUsual =
      state.headerBytes === 0 &&
      state.arena.lock.readerAt !== 0 &&
      state.zpools.every((zpool) => zpool.type === POOL_TYPE);
    return isUsual ? new Finder(state, pool, seeds) : undefined;
  }

  private constructor(state: StoreState, pool: number, seeds: readonly number[]) {
    const { arena, root, words } = state;
    this.#state = state;
    this.#at = arena.reserve(Find.FIND_BYTES);
    const at = this.#at / 4;
    words.fill(0, at, at + Find.FOUND_AT);
    const index = root + INDEX_AT;
    words[at + Find.READER] = arena.lock.readerAt * 4;
    words[at + Find.WRITING] = Super.WRITING * 4;
    words[at + Find.VERSION] = Super.TRANSACTIONS * 4;
    words[at + Find.INDEX_SEED] = words[index + Index.SEED]!;
    words[at + Find.BUCKETS] = (index + Index.BUCKETS) * 4;
    words[at + Find.DIRECTORY] = index + Index.DIRECTORY;
    words[at + Find.NAME] = pool & Index.NUMBER_MASK;
    words[at + Find.PAGE_SEED] = pageSeed(pool);
    words[at + Find.FRAME_SHIFT] = arena.frames.pageShift - 2;
    words[at + Find.LINKS] = arena.frames.linkOf(0 as PageFrame);
    words[at + Find.ENTRY_MASK] = 2 ** Math.ceil(Math.log2(words.length)) - 1;
    words[at + Find.SEED_LOW] = seeds[0]!;
    words[at + Find.SEED_HIGH] = seeds[1]!;
    words[at + Find.DICTIONARIES] = (root + Store.DICTIONARIES) * 4;
    words[at + Find.DICTIONARY_AT] = root + Store.DICTIONARY_AT;
    words[at + Find.DICTIONARY_BYTES] = root + Store.DICTIONARY_BYTES;
    words[at + Find.IS_LZ4] = state.options.codec === "lz4" ? 1 : 0;
    words[at + Find.PACKED] = state.packed;
    words[at + Find.WORDS] = words.length;
  }

  /**
   * Answers lines of memcached's protocol at [from, to), as far as they are plain gets
   * (memcached/plain_gets.as.ts), and records what was found for them as any other hits. The fields
   * `out`, `outEnd`, `now` and `flushes` are set before.
   * @returns bytes of the lines that were answered; `out` and `found` tell the rest
   * @throws ZcacheError ERR_STORE_CLOSED
   */
  answerGets(lines: Uint8Array, from: number, to: number): number {
    const { words, arena } = this.#state.assertOpen();
    const { bytes, kernels } = arena;
    const input = this.#at + Find.INPUT_AT * 4;
    const count = Math.min(to - from, Find.INPUT_BYTES);
    if (count > COPY_BYTES_MIN) bytes.set(lines.subarray(from, from + count), input);
    else for (let at = 0; at < count; at++) bytes[input + at] = lines[from + at]!;
    const { outEnd, now, flushes } = this;
    const own = this.#at / 4;
    const end = input + count;
    let at: number = input;
    this.found = 0;
    for (let waits = 0; ; waits++) {
      words[own + Find.MET_WRITER] = 0;
      at = kernels.answerGets(this.#at, at, end, this.out, outEnd, now, flushes) >>> 0;
      this.out = words[own + Find.OUT]! >>> 0;
      this.#recordHits(words[own + Find.COUNT]!);
      const isWritten = words[own + Find.MET_WRITER] !== 0 && waits < WAITS_MAX;
      if (!isWritten || !this.#waitForWriter()) return at - input;
    }
  }

  /** Waits while a thread writes. @returns as `ArenaLock.enterReader` */
  #waitForWriter(): boolean {
    const { lock } = this.#state.arena;
    if (!lock.enterReader()) return false;
    lock.leaveReader();
    return true;
  }

  #recordHits(count: number): void {
    const { words, policies, readBuffer } = this.#state;
    const first = this.#at / 4 + Find.FOUND_AT;
    this.found += count;
    for (let nth = 0; nth < count; nth++) {
      const at = first + nth * Find.FOUND_WORDS;
      const meta = words[at + Find.ENTRY_META]!;
      const policy = policies[Page.kindOf(meta)]!;
      if (policy.tracksRequests) policy.recordRequest(words[at + Find.HASH]!);
      readBuffer.countGet(true, false);
      const entry = words[at + Find.ENTRY]! as WordIndex;
      readBuffer.recordHit(entry, words[at + Find.ENTRY_VALUE]!, meta, words[at + Find.SEEN]!);
    }
  }
}
