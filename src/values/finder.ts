// Finds values in WebAssembly (find_value.as.ts): fills in what the kernels need to know of a
// store, and reports their hits to the store's policy and counters.
//
// The kernels handle the common case only: the dense pool, no header before an object. A store that
// is made otherwise has no finder; its values are found by `Values.find`.
import type { Address, WordIndex } from "../base/brand.ts";
import * as Page from "../store/page.layout.ts";
import { isSampling, sampleFound } from "../store/request_sample.ts";
import type { StoreState } from "../store/state.ts";
import type { Kernels } from "../wasm/kernels.ts";
import type { WasmMemory } from "../wasm/platform.ts";
import * as Find from "./find.layout.ts";
import { formatContext, isUsualStore } from "./page_finder.ts";

/** Below this a copy byte by byte is quicker than a call. */
const COPY_BYTES_MIN = 32;
/** Writers to wait for in one call, before the caller finds the rest, which waits its turn. */
const WAITS_MAX = 16;

/** Lines to read at a time, in bytes: kernels may read some bytes behind. */
const INPUT_BYTES_MAX = Find.INPUT_BYTES - 8;

/** What is to be done for several shards when a kernel has answered what it can. */
export interface ShardAnswers {
  /** Completes the answers, and records what was found. @returns values that were found */
  complete(): number;
  /** As `Finder.waitForWriter`. */
  waitForWriter(): boolean;
}

export class Finder {
  readonly #state: StoreState;
  /** Address of the kernels' context (find.layout.ts). */
  readonly at: Address;
  /** Address of the input that kernels read in the context. */
  readonly inputAt: Address;
  readonly kernels: Kernels;
  readonly memory: WasmMemory;
  /** What completes the answers of several shards. */
  shards: ShardAnswers | undefined = undefined;
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
    return isUsualStore(state) ? new Finder(state, pool, seeds) : undefined;
  }

  private constructor(state: StoreState, pool: number, seeds: readonly number[]) {
    const { arena, words } = state;
    this.#state = state;
    this.kernels = arena.kernels;
    this.memory = arena.memory;
    this.at = arena.reserve(Find.FIND_BYTES);
    this.inputAt = (this.at + Find.INPUT_AT * 4) as Address;
    const at = this.at / 4;
    formatContext(state, at, pool);
    words[at + Find.SEED_LOW] = seeds[0]!;
    words[at + Find.SEED_HIGH] = seeds[1]!;
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
    const { at: find, inputAt, outEnd, now, flushes, shards } = this;
    const count = Math.min(to - from, INPUT_BYTES_MAX);
    if (count > COPY_BYTES_MIN) bytes.set(lines.subarray(from, from + count), inputAt);
    else for (let at = 0; at < count; at++) bytes[inputAt + at] = lines[from + at]!;
    const end = inputAt + count;
    let at: number = inputAt;
    this.found = 0;
    for (let waits = 0; ; waits++) {
      at = kernels.answerGets(find, at, end, this.out, outEnd, now, flushes) >>> 0;
      this.out = words[find / 4 + Find.OUT]! >>> 0;
      this.found += shards === undefined ? this.recordFound() : shards.complete();
      if (at === end || waits === WAITS_MAX) return at - inputAt;
      if (!(shards ?? this).waitForWriter()) return at - inputAt;
    }
  }

  /** Waits while a thread writes, if a value was not looked up because of that. */
  waitForWriter(): boolean {
    const { words, arena } = this.#state;
    const met = this.at / 4 + Find.MET_WRITER;
    if (words[met] === 0) return false;
    words[met] = 0;
    return arena.lock.waitForWriter();
  }

  /** Records the values that were found as any other hits. @returns how many */
  recordFound(): number {
    const { words, policies, readBuffer } = this.#state;
    const own = this.at / 4;
    const count = words[own + Find.COUNT]!;
    words[own + Find.COUNT] = 0;
    const isSampled = isSampling(this.#state);
    for (let nth = 0; nth < count; nth++) {
      const at = own + Find.FOUND_AT + nth * Find.FOUND_WORDS;
      const meta = words[at + Find.ENTRY_META]!;
      const policy = policies[Page.kindOf(meta)]!;
      if (policy.tracksRequests) policy.recordRequest(words[at + Find.HASH]!, meta);
      if (isSampled) sampleFound(this.#state, words[at + Find.HASH]!, meta);
      readBuffer.countGet(true, false);
      const entry = words[at + Find.ENTRY]! as WordIndex;
      readBuffer.recordHit(entry, words[at + Find.ENTRY_VALUE]!, meta, words[at + Find.SEEN]!);
    }
    return count;
  }

  /** Has `answerGets` find values in several shards. @param at address of their struct */
  useShards(shards: ShardAnswers, at: Address): void {
    this.shards = shards;
    this.#state.words[this.at / 4 + Find.SHARDS] = at;
  }
}
