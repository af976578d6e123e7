// What threads share about `watch`: what is watched, numbers for log lines, and bytes on their way
// between threads. A few words of shared memory.
//
//  u64 GIDS, atomic      the number of the last line
//  WATCHERS, atomic      connections that watch, in all threads
//  FLAGS, atomic         what is watched in any thread
//  SHARDS                of the store; written once
//  TURNS                 for each shard, TURNS_WORDS, guarded by the lock of the shard: the words
//                        that eviction listeners share (values/eviction_listener.ts)
//  for each thread, atomic: what is watched in it; and bytes of its records that others have not
//  yet received

const WATCHERS = 2;
const FLAGS = 3;
const SHARDS = 4;
const TURNS = 5;
const TURNS_WORDS = 194;
/** As memcached. */
const WATCHERS_MAX = 20;

export class WatchBoard {
  readonly #words: Int32Array;
  readonly #gids: BigInt64Array;
  readonly #thread: number;
  readonly #threads: number;
  /** Index of the first word for the threads. */
  readonly #threadsAt: number;
  /** For each shard, the words of `Values.evictionListener`, shared by all threads. */
  readonly turns: readonly Int32Array[];

  private constructor(memory: SharedArrayBuffer, thread: number) {
    this.#words = new Int32Array(memory);
    const shards = this.#words[SHARDS]!;
    this.#gids = new BigInt64Array(memory, 0, 1);
    this.turns = Array.from({ length: shards }, (_, nth) => {
      const at = TURNS + nth * TURNS_WORDS;
      return this.#words.subarray(at, at + TURNS_WORDS);
    });
    this.#thread = thread;
    this.#threadsAt = TURNS + shards * TURNS_WORDS;
    this.#threads = (this.#words.length - this.#threadsAt) / 2;
  }

  static memory(threads: number, shards: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer((TURNS + shards * TURNS_WORDS + threads * 2) * 4);
    new Int32Array(memory)[SHARDS] = shards;
    return memory;
  }

  static attach(memory: SharedArrayBuffer, thread: number): WatchBoard {
    return new WatchBoard(memory, thread);
  }

  /** What is watched in any thread. */
  get flags(): number {
    return Atomics.load(this.#words, FLAGS);
  }

  /** What is watched in a thread. */
  flagsOf(thread: number): number {
    return Atomics.load(this.#words, this.#threadsAt + thread);
  }

  /** What is watched in other threads than this one. */
  get flagsElsewhere(): number {
    let flags = 0;
    for (let thread = 0; thread < this.#threads; thread++) {
      if (thread !== this.#thread) flags |= this.flagsOf(thread);
    }
    return flags;
  }

  /** Sets what is watched in this thread. */
  setFlags(flags: number): void {
    Atomics.store(this.#words, this.#threadsAt + this.#thread, flags);
    // Another thread may set its flags at the same time: the later one sees both.
    for (;;) {
      const all = this.flagsOf(this.#thread) | this.flagsElsewhere;
      Atomics.store(this.#words, FLAGS, all);
      if (all === (this.flagsOf(this.#thread) | this.flagsElsewhere)) return;
    }
  }

  /** Counts one more watcher. @returns whether one more is allowed; if not, none is counted */
  addWatcher(): boolean {
    if (Atomics.add(this.#words, WATCHERS, 1) < WATCHERS_MAX) return true;
    Atomics.sub(this.#words, WATCHERS, 1);
    return false;
  }

  removeWatcher(): void {
    Atomics.sub(this.#words, WATCHERS, 1);
  }

  /** A number for a line; later lines of all threads have higher numbers. */
  nextGid(): number {
    return Number(Atomics.add(this.#gids, 0, 1n)) + 1;
  }

  /** The number of the last line. */
  get gid(): number {
    return Number(Atomics.load(this.#gids, 0));
  }

  /** Bytes of a thread's records that were sent and not yet received. */
  onTheWay(thread: number): number {
    return Atomics.load(this.#words, this.#threadsAt + this.#threads + thread);
  }

  /** Counts bytes of a thread's records that were sent or, with less than 0, received. */
  sent(thread: number, bytes: number): void {
    Atomics.add(this.#words, this.#threadsAt + this.#threads + thread, bytes);
  }
}
