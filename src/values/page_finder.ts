// Finds page 0 of a value by a kernel that takes no lock (find_value.as.ts): the usual case of a
// get in a store with dense pools and without headers before objects. Any other page is found by
// `loadPacked`.
import type { PageFrame, WordIndex } from "../base/brand.ts";
import * as Super from "../memory/arena.layout.ts";
import { pageSeed } from "../store/hash.ts";
import { noteRequest } from "../store/load_page.ts";
import { INDEX_AT } from "../store/open.ts";
import { isSampling, sampleGet } from "../store/request_sample.ts";
import type { StoreState } from "../store/state.ts";
import * as Store from "../store/store.layout.ts";
import * as Index from "../tmem/index.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import * as Find from "./find.layout.ts";

const POOL_TYPE = "dense";
/** Writers to wait for, before the page is looked for by a reader, for which writers wait. */
const WAITS_MAX = 8;

// What `findPage` returns; 3: threads write.
const MISSING = 0;
const FOUND = 1;
const UNUSUAL = 2;

/** Whether the kernels can find values in a store. */
export function isUsualStore({ headerBytes, zpools }: StoreState): boolean {
  return headerBytes === 0 && zpools.every((zpool) => zpool.type === POOL_TYPE);
}

/**
 * Writes the words of a context of this thread that stay as they are.
 * @param at its word index  @param pool the tmem pool of the values
 */
export function formatContext(state: StoreState, at: number, pool: number): void {
  const { arena, root, words } = state;
  words.fill(0, at, at + Find.FOUND_AT);
  const index = root + INDEX_AT;
  words[at + Find.WRITING] = Super.WRITING * 4;
  words[at + Find.SEQUENCE] = Super.SEQUENCE * 4;
  words[at + Find.VERSION] = Super.TRANSACTIONS * 4;
  words[at + Find.INDEX_SEED] = words[index + Index.SEED]!;
  words[at + Find.BUCKETS] = (index + Index.BUCKETS) * 4;
  words[at + Find.DIRECTORY] = index + Index.DIRECTORY;
  words[at + Find.NAME] = pool & Index.NUMBER_MASK;
  words[at + Find.PAGE_SEED] = pageSeed(pool);
  words[at + Find.FRAME_SHIFT] = arena.frames.pageShift - 2;
  words[at + Find.LINKS] = arena.frames.linkOf(0 as PageFrame);
  words[at + Find.ENTRY_MASK] = 2 ** Math.ceil(Math.log2(words.length)) - 1;
  words[at + Find.DICTIONARIES] = (root + Store.DICTIONARIES) * 4;
  words[at + Find.DICTIONARY_AT] = root + Store.DICTIONARY_AT;
  words[at + Find.DICTIONARY_BYTES] = root + Store.DICTIONARY_BYTES;
  words[at + Find.IS_LZ4] = state.options.codec === "lz4" ? 1 : 0;
  words[at + Find.PACKED] = state.packed;
  words[at + Find.PACKED_BYTES] = state.packedBytes;
  words[at + Find.WORDS] = words.length;
}

export class PageFinder {
  readonly #state: StoreState;
  readonly #pool: number;
  /** Word index of the kernel's context (find.layout.ts). */
  readonly #at: number;

  /** @returns undefined where the kernel can't find values */
  static of(state: StoreState, pool: number): PageFinder | undefined {
    return isUsualStore(state) ? new PageFinder(state, pool) : undefined;
  }

  private constructor(state: StoreState, pool: number) {
    this.#state = state;
    this.#pool = pool;
    this.#at = state.findContext / 4;
    formatContext(state, this.#at, pool);
  }

  /**
   * As `loadPacked`, of page 0 of a value, the hash of whose key is the key's id.
   * @returns whether it is there; undefined: `loadPacked` can tell
   */
  load(key: TmemKey): boolean | undefined {
    const state = this.#state;
    const { kernels, lock } = state.arena;
    const low = key.id[0]!;
    const high = key.id[1]!;
    for (let waits = 0; waits < WAITS_MAX; waits++) {
      const outcome = kernels.findPage(this.#at * 4, low, high);
      if (outcome <= FOUND) {
        state.readBuffer.countGet(outcome === FOUND, outcome === MISSING);
        if (outcome === FOUND) this.#recordHit();
        noteRequest(state, this.#pool, key, outcome === FOUND ? state.foundMeta : 0);
        if (isSampling(state)) sampleGet(state, this.#pool, key, outcome === FOUND);
        return outcome === FOUND;
      }
      if (outcome === UNUSUAL || !lock.waitForWriter()) return undefined;
    }
    return undefined;
  }

  #recordHit(): void {
    const state = this.#state;
    const { words } = state;
    const at = this.#at + Find.FOUND_AT;
    state.foundMeta = words[at + Find.ENTRY_META]!;
    state.foundValue = words[at + Find.ENTRY_VALUE]!;
    const { foundMeta, foundValue } = state;
    const entry = words[at + Find.ENTRY]! as WordIndex;
    state.readBuffer.recordHit(entry, foundValue, foundMeta, words[at + Find.SEEN]!);
  }
}
