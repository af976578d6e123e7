// Stores page 0 of a value by a kernel (put_value.as.ts): the usual case of a set, in a store whose
// pools are dense, whose codec is LZ4, and whose policy the kernel knows. The kernel stops where
// anything else is needed, and `storePacked` stores the value instead. In any other store,
// `putValue` stores all values.
import type { PageFrame } from "../base/brand.ts";
import type { Errno } from "../base/errno.ts";
import type { Codec } from "../codec/contract.ts";
import { lz4ScratchOf } from "../codec/lz4.ts";
import { type AdmissionLimits, NO_LIMITS } from "../policy/admission.ts";
import { POLICY_WORDS } from "../policy/contract.ts";
import { Count, type CounterName, Latency } from "../store/counters.ts";
import { makeRoomAfterPut } from "../store/maintainer.ts";
import { INDEX_AT, POLICIES_AT } from "../store/open.ts";
import * as Page from "../store/page.layout.ts";
import { isSampling, samplePutValue } from "../store/request_sample.ts";
import type { StoreState } from "../store/state.ts";
import { recordSince } from "../store/statistics.ts";
import * as Store from "../store/store.layout.ts";
import { storePackedLocked } from "../store/store_page.ts";
import * as Value from "../store/value.layout.ts";
import type { TmemKey } from "../tmem/key.ts";
import { PageFinder } from "./page_finder.ts";
import { dictionaryFor, putValue } from "./pages.ts";
import * as Put from "./put.layout.ts";

/** The policies whose words the kernel writes (policy/window.as.ts). */
const POLICIES: readonly string[] = ["adaptive", "tinylfu"];

// What the kernel returns (put_value.as.ts).
const CONTENDED = 0;
const STORED = 1;
const PROCEED = 2;
const UNUSUAL = 3;
const FREE_LEFT = 4;

/** The counters that the kernel adds to. */
const COUNTERS: readonly (readonly [word: number, counter: CounterName])[] = [
  [Put.PUTS, "puts"],
  [Put.DUPLICATE_PUTS, "duplicate_puts"],
  [Put.HUGE_SINCE, "huge_pages_since"],
  [Put.COMPRESSED, "compressed_pages"],
  [Put.COMPRESSED_IN, "compressed_bytes_in"],
  [Put.COMPRESSED_OUT, "compressed_bytes_out"],
];

export class PagePutter {
  readonly #state: StoreState;
  readonly #pool: number;
  /** Word index of the kernel's context (put.layout.ts). */
  readonly #at: number;
  /** The codec whose scratch the context names. */
  #codec: Codec | undefined;

  /** Finds values by a kernel; undefined where kernels can't. */
  readonly finder: PageFinder | undefined;
  /** Whether the kernel can store values. */
  readonly hasKernel: boolean;

  /** @param pool the tmem pool of the values */
  constructor(state: StoreState, pool: number) {
    this.#state = state;
    this.#pool = pool;
    this.#at = state.putContext / 4;
    this.finder = PageFinder.of(state, pool);
    const { policy, acceptPercent, admission } = state.options;
    const isUsual = POLICIES.includes(policy) && acceptPercent === 100 && refusesNothing(admission);
    const isLz4 = lz4ScratchOf(state.codecOf(Page.FAST, 0)) !== undefined;
    this.hasKernel = isUsual && isLz4 && this.finder !== undefined;
    if (this.hasKernel) this.#format();
  }

  #format(): void {
    const state = this.#state;
    const { arena, root, words, index, putContext, findContext } = state;
    const at = putContext / 4;
    const kind = index.kindOf(this.#pool);
    words.fill(0, at, at + Put.PUT_WORDS);
    words[at + Put.FIND] = findContext;
    words[at + Put.OWNER] = arena.owner;
    words[at + Put.ROOT] = root;
    words[at + Put.INDEX] = root + INDEX_AT;
    words[at + Put.TMEM_POOL] = this.#pool;
    words[at + Put.KIND] = kind;
    const descriptor = words[root + Store.ZPOOLS + kind]! as PageFrame;
    words[at + Put.POOL] = arena.frames.frameToWord(descriptor);
    words[at + Put.POLICY] = root + POLICIES_AT + kind * POLICY_WORDS;
    words[at + Put.FIRST_FRAME] = arena.frames.firstFrame;
    words[at + Put.PLAIN] = state.plain;
    words[at + Put.SAVE] = state.evicted;
    for (const [word, counter] of COUNTERS) {
      words[at + word] = (root + Store.COUNTERS + 2 * Count[counter]) * 4;
    }
  }

  /** Number of the dictionary that `prepare` has chosen, 0 for none. */
  dictionary = 0;

  /** Whether a set may be done by the kernel now: it may, unless more is to be done than usual. */
  get #isUsable(): boolean {
    const { changes, condition } = this.#state;
    return this.hasKernel && changes === undefined && condition === undefined;
  }

  /** As `putValue` of pages.ts. */
  put(key: TmemKey, sizeBytes: number, prefixBytes: number): 0 | Errno {
    const state = this.#state.assertOpen();
    if (!this.#isUsable) return putValue(state, this.#pool, key, sizeBytes, prefixBytes);
    const timed = state.isTimed();
    const begin = timed ? state.platform.clock.nowNs() : 0;
    this.#choose(sizeBytes);
    // The kernel stores no other value.
    state.hasOthers = false;
    const header = Value.makeHeader(sizeBytes, prefixBytes, this.dictionary);
    const { kernels } = state.arena;
    let outcome = kernels.putValue(this.#at * 4, key.id[0]!, key.id[1]!, header);
    if (outcome === CONTENDED || outcome === PROCEED) outcome = this.#putUnderLock(key, outcome);
    const result = outcome === STORED ? 0 : this.#finish(key, outcome);
    if (isSampling(state) && isStored(outcome)) {
      samplePutValue(state, this.#pool, key, state.words[this.#at + Put.STORED_BYTES]!);
    }
    makeRoomAfterPut(state);
    if (timed) recordSince(state, Latency.PUT, begin);
    return result;
  }

  /**
   * Prepares the context for a kernel that stores several values by itself.
   * @returns whether it may: not while requests are sampled, which such a kernel does not record
   */
  prepare(): boolean {
    this.#state.assertOpen();
    if (!this.#isUsable || isSampling(this.#state)) return false;
    this.#choose(1);
    this.#state.words[this.#at + Put.TURNS] = this.#state.arena.lock.waits.exclusive.turns;
    return true;
  }

  /**
   * Completes what such a kernel has left: a value that it has not stored is stored by the caller.
   * @param outcome of its last value
   */
  complete(outcome: number): void {
    this.#countSpins();
    if (outcome === STORED || outcome === CONTENDED) return;
    const state = this.#state;
    const { lock } = state.arena;
    try {
      if (outcome === PROCEED) lock.proceed();
      lock.rollBack();
      if (outcome === FREE_LEFT) state.commitLocked();
    } finally {
      lock.unlock();
    }
  }

  #countSpins(): void {
    const { words, arena } = this.#state;
    const spun = words[this.#at + Put.SPUN]!;
    if (spun === 0) return;
    words[this.#at + Put.SPUN] = 0;
    arena.lock.waits.exclusive.spun(spun);
  }

  /** Chooses the dictionary for a value of this size. */
  #choose(sizeBytes: number): void {
    const state = this.#state;
    this.dictionary = dictionaryFor(state, sizeBytes);
    const codec = state.codecOf(Page.FAST, this.dictionary);
    if (codec !== this.#codec) this.#use(codec);
    state.room?.beforePut();
  }

  /**
   * Waits for the lock, under which the kernel goes on: the other way to store the value holds the
   * lock for longer, so that more threads would wait.
   */
  #putUnderLock({ id }: TmemKey, outcome: number): number {
    const { lock, kernels } = this.#state.arena;
    if (outcome === CONTENDED) lock.lock();
    else lock.proceed();
    return kernels.putPacked(this.#at * 4, id[0]!, id[1]!);
  }

  /** Completes what the kernel has left under the lock. */
  #finish(key: TmemKey, outcome: number): 0 | Errno {
    const state = this.#state;
    const { words } = state;
    const { lock } = state.arena;
    if (!isStored(outcome)) {
      lock.rollBack();
      const at = this.#at;
      const packed = Page.withSize(0, words[at + Put.CODEC]!, words[at + Put.STORED_BYTES]!);
      return storePackedLocked(state, this.#pool, key, packed, state.packed);
    }
    this.complete(outcome);
    return 0;
  }

  /** Lets the kernel compress with the scratch of a codec, which is LZ4. */
  #use(codec: Codec): void {
    const { words } = this.#state;
    const scratch = lz4ScratchOf(codec)!;
    const at = this.#at;
    words[at + Put.TABLE] = scratch.table;
    words[at + Put.DICTIONARY] = scratch.dictionary;
    words[at + Put.DICTIONARY_BYTES] = scratch.dictionaryBytes;
    words[at + Put.DICTIONARY_TABLE] = scratch.dictionaryTable;
    this.#codec = codec;
  }
}

/** Whether the kernel, under the lock, has stored the value, if not completed. */
function isStored(outcome: number): boolean {
  return outcome !== UNUSUAL;
}

function refusesNothing(admission: AdmissionLimits): boolean {
  return (
    admission.maxZsizePercent === NO_LIMITS.maxZsizePercent &&
    admission.maxMeanZsizePercent === NO_LIMITS.maxMeanZsizePercent &&
    admission.pageCountPercent === NO_LIMITS.pageCountPercent
  );
}
