// Plain gets where keys are in several shards: prepares what the kernels need to call each other
// (../sharded_gets.as.ts), and, where they can't, copies the answers of all shards but the first to
// the reply buffer, which is in the memory of the first.
//
// Nothing is allocated for a key but a view of an answer that is copied.
import type { Address } from "../../base/brand.ts";
import { assert } from "../../base/errors.ts";
import type { Finder, ShardAnswers } from "../../values/finder.ts";
import type { Values } from "../../values/values.ts";
import { copierBetween } from "../../wasm/copier.ts";
import type { WasmFunction } from "../../wasm/platform.ts";
import * as Shards from "../sharded_gets.layout.ts";

/** Below this a copy byte by byte is quicker than a call. */
const COPY_BYTES_MIN = 32;

export class ShardedGets implements ShardAnswers {
  readonly #bytes: readonly Uint8Array[];
  readonly #finders: readonly Finder[];
  readonly #words: Int32Array;
  /** Word index of struct shards. */
  readonly #at: number;
  /** Kernels copy the answers, so `complete` does not. */
  readonly #copies: boolean;

  /**
   * @param finders of each shard
   * @param reader another one of the first shard: its `answerGets` answers gets of all shards
   * @param replyBytes of the reply buffer
   * @throws ZcacheError if there is no room
   */
  constructor(
    values: readonly Values[],
    finders: readonly Finder[],
    reader: Finder,
    replyBytes: number,
  ) {
    assert(values.length <= Shards.SHARDS_MAX, "the struct has room for all shards");
    const home = values[0]!;
    const at = home.store.reserve(Shards.SHARDS_BYTES);
    const { words } = home;
    this.#bytes = values.map(({ bytes }) => bytes);
    this.#finders = finders;
    this.#words = words;
    this.#at = at / 4;
    words.fill(0, at / 4, (at + Shards.SHARDS_BYTES) / 4);
    words[at / 4 + Shards.SHARDS] = values.length;
    const copiers = finders.map(({ memory }) => copierBetween(finders[0]!.memory, memory));
    this.#copies = copiers.every((copier) => copier !== undefined);
    words[at / 4 + Shards.COPIES] = this.#copies ? 1 : 0;
    words[at / 4 + Shards.FUNCTIONS_AT] = listFunctions(finders, copiers);
    // A shard has its part of the answers, or twice that; and always one answer, which is shorter
    // than two pages.
    const part = Math.ceil((2 * replyBytes) / values.length / 8) * 8;
    const answerBytes = Math.max(2 * home.bufferBytes, part);
    for (const [nth, finder] of finders.entries()) {
      const shard = at / 4 + Shards.SHARD_AT + nth * Shards.SHARD_WORDS;
      words[shard + Shards.FIND] = finder.at;
      words[shard + Shards.INPUT] = finder.inputAt;
      if (nth === 0) continue;
      const answers = values[nth]!.store.reserve(answerBytes);
      words[shard + Shards.ANSWERS] = answers;
      words[shard + Shards.ANSWERS_END] = answers + answerBytes;
    }
    reader.useShards(this, at as Address);
  }

  complete(): number {
    const words = this.#words;
    const count = words[this.#at + Shards.SEGMENTS]!;
    if (count === 0) return 0;
    if (!this.#copies) this.#copyAnswers(count);
    let found = 0;
    for (const finder of this.#finders) found += finder.recordFound();
    return found;
  }

  #copyAnswers(count: number): void {
    const words = this.#words;
    const target = this.#bytes[0]!;
    let at = this.#at + Shards.SEGMENT_AT;
    for (let nth = 0; nth < count; nth++, at += Shards.SEGMENT_WORDS) {
      const shard = words[at + Shards.SHARD]!;
      if (shard === 0) continue;
      const from = words[at + Shards.FROM]! >>> 0;
      const bytes = words[at + Shards.BYTES]!;
      copy(this.#bytes[shard]!, from, bytes, target, words[at + Shards.TO]! >>> 0);
    }
  }

  waitForWriter(): boolean {
    let waited = false;
    for (const finder of this.#finders) if (finder.waitForWriter()) waited = true;
    return waited;
  }
}

/**
 * Lists the functions of all shards in the first one's table, in the order of
 * sharded_gets.layout.ts.
 * @param copiers of each shard, from its memory to that of the first one
 * @returns the index of the first function
 */
function listFunctions(
  finders: readonly Finder[],
  copiers: readonly (WasmFunction | undefined)[],
): number {
  const { table } = finders[0]!.kernels;
  const first = table.grow(finders.length * Shards.FUNCTIONS);
  for (const [nth, { kernels }] of finders.entries()) {
    const { putLong, addHash, lookAtHashes, answerKey, forgetFound } = kernels;
    const at = first + nth * Shards.FUNCTIONS;
    const functions = [putLong, addHash, lookAtHashes, answerKey, forgetFound, copiers[nth]];
    for (const [which, one] of functions.entries()) {
      if (one !== undefined) table.set(at + which, one);
    }
  }
  return first;
}

function copy(from: Uint8Array, at: number, count: number, to: Uint8Array, toAt: number): void {
  if (count < COPY_BYTES_MIN) for (let i = 0; i < count; i++) to[toAt + i] = from[at + i]!;
  else to.set(from.subarray(at, at + count), toAt);
}
