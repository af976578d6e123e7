// Instances of the WebAssembly kernels over a shared memory. The binary is embedded, so that
// nothing has to be read from a disk or fetched: the same code runs in Node and in a browser's
// worker.
import { KERNELS_BASE64 } from "./kernels.binary.ts";
import {
  Wasm,
  type WasmFunction,
  type WasmMemory,
  type WasmModule,
  type WasmTable,
} from "./platform.ts";

/** The exports of `kernels.as.ts`; addresses and sizes are bytes in the instance's memory. */
export interface Kernels {
  copy(target: number, source: number, sizeBytes: number): void;
  fill(target: number, value: number, sizeBytes: number): void;
  fillPattern(target: number, low: number, high: number, sizeBytes: number): void;
  equal(left: number, right: number, sizeBytes: number): number;
  sameFilled(page: number, sizeBytes: number): number;
  /** XXH32 of a region, as a 32-bit number that may be negative. */
  checksum(source: number, sizeBytes: number, seed: number): number;
  /** Touches each page of a region, which changes nothing, so that the system gives it memory. */
  populate(from: number, sizeBytes: number): void;
  compareExchange(address: number, expected: number, value: number): number;
  exchange(address: number, value: number): number;
  /** Sets a reader's word. @returns 1; 0 if the word `writing` is set: then it is 0 again */
  enterReader(reader: number, writing: number): number;
  /** Sets a reader's word to 0, and wakes a writer that sleeps until then. */
  leaveReader(reader: number): void;
  /** Atomically adds one to a word. */
  increment(address: number): void;
  /** @returns the first of the words nth … count − 1, so many bytes apart, that is not 0; count */
  firstSet(words: number, nth: number, count: number, strideBytes: number): number;
  // Each returns the turns of its loop until it succeeded, 0 if it did not within `turns`.
  /** Takes a free lock. */
  spinForLock(lock: number, owner: number, turns: number): number;
  /** As `enterReader`. */
  spinAsReader(reader: number, writing: number, turns: number): number;
  /** Waits until a bit of a word is not set. */
  spinWhileSet(address: number, bit: number, turns: number): number;
  /** Adds a whole number to a 64-bit counter. */
  addLong(address: number, value: number): void;
  /** Reads a 64-bit counter. */
  readLong(address: number): number;
  /**
   * Compresses one block in LZ4's block format. `table` is LZ4_TABLE_BYTES of scratch, 16-byte
   * aligned.
   * @returns bytes written, or 0 if the result would exceed `limit`; writes only [target, target +
   *   limit)
   */
  lz4Compress(
    source: number,
    sourceBytes: number,
    target: number,
    limit: number,
    table: number,
  ): number;
  /**
   * @returns bytes written, or −1 for a malformed block; writes only [target, target + targetBytes)
   */
  lz4Decompress(source: number, sourceBytes: number, target: number, targetBytes: number): number;
  /**
   * Fills `table`, LZ4_DICTIONARY_TABLE_BYTES of scratch, for a dictionary of 8 … 65,536 bytes that
   * does not begin at address 0.
   */
  lz4PrepareDictionary(dictionary: number, dictionaryBytes: number, table: number): void;
  /** As `lz4Compress`, with matches that begin in the dictionary. */
  lz4CompressDictionary(
    source: number,
    sourceBytes: number,
    target: number,
    limit: number,
    table: number,
    dictionary: number,
    dictionaryBytes: number,
    dictionaryTable: number,
  ): number;
  /** As `lz4Decompress`; a distance that reaches beyond the dictionary makes a block malformed. */
  lz4DecompressDictionary(
    source: number,
    sourceBytes: number,
    target: number,
    targetBytes: number,
    dictionary: number,
    dictionaryBytes: number,
  ): number;
  /**
   * Finds page 0 of a value, by the halves of its key's hash, and copies it, if it is in memory.
   * @param find a context (find.layout.ts), whose META and first value found tell of it
   * @returns one of the numbers in values/lookup.ts
   */
  findPage(find: number, low: number, high: number): number;
  /**
   * Compresses and stores a value as page 0, in the usual case (values/put_value.as.ts).
   * @param put a context (values/put.layout.ts), in which CODEC and STORED_BYTES say what came of
   *   the compression
   * @param header of the value (store/value.layout.ts)
   * @returns how far it has come, one of the numbers in values/put_value.as.ts
   */
  putValue(put: number, low: number, high: number, header: number): number;
  /**
   * Stores the value that the last call of `putValue` has compressed, for the owner of the arena's
   * lock.
   * @returns as `putValue`
   */
  putPacked(put: number, low: number, high: number): number;
  /**
   * Does lines of memcached's protocol at [from, to), as far as they are plain sets, with replies
   * in [reply, replyEnd).
   * @param sets a context (memcached/plain_sets.layout.ts), in which words from OUT on say what
   *   came of it
   * @returns the address behind the last line that was done
   */
  storeLines(sets: number, from: number, to: number, reply: number, replyEnd: number): number;
  /**
   * Answers lines of memcached's protocol at [from, to), as far as they are plain gets, into
   * [reply, replyEnd).
   * @param find a context (find.layout.ts), in which COUNT and OUT say what came of it
   * @param now seconds since 1970
   * @param flushes how often all items were flushed
   * @returns the address behind the last line that was answered
   */
  answerGets(
    find: number,
    from: number,
    to: number,
    reply: number,
    replyEnd: number,
    now: number,
    flushes: number,
  ): number;
  /** The functions that `answerGets` calls by their index. */
  readonly table: WasmTable;
  // What it calls in each shard (memcached/sharded_gets.as.ts).
  readonly putLong: WasmFunction;
  readonly addHash: WasmFunction;
  readonly lookAtHashes: WasmFunction;
  readonly answerKey: WasmFunction;
  readonly forgetFound: WasmFunction;
}

/** Scratch that `lz4Compress` needs: up to 8,192 entries of 16 bits. */
export const LZ4_TABLE_BYTES = 16384;
/** Scratch for a dictionary's positions: 16,384 entries of 16 bits. */
export const LZ4_DICTIONARY_TABLE_BYTES = 32768;

let compiled: WasmModule | undefined;

function compile(): WasmModule {
  if (compiled === undefined) {
    const binary = atob(KERNELS_BASE64);
    compiled = new Wasm.Module(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
  }
  return compiled;
}

/** A fresh instance for the calling thread; about 1 ms for the first one, then microseconds. */
export function instantiateKernels(memory: WasmMemory): Kernels {
  const instance = new Wasm.Instance(compile(), { env: { memory } });
  return instance.exports as unknown as Kernels;
}
