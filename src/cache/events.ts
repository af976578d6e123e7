// Events of a cache, and who listens to them in one thread.
//
// Evictions happen in any thread, and under the store's lock. The store keeps them in a ring
// buffer, which each thread with listeners reads on a timer.
import { EventEmitter } from "node:events";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { Reason } from "../store/counters.ts";
import type { EvictionListener } from "../values/eviction_listener.ts";
import type { DictionaryReport } from "./dictionary.ts";
import type { Entries } from "./entries.ts";
import type { CacheKey } from "./keys.ts";

/**
 * Why an entry was removed that nobody deleted: "evicted" to make room; "expired" at the end of its
 * time; "dropped" because the write-back file was full.
 */
export type EvictionReason = "evicted" | "expired" | "dropped";

/** Names of the events, and the arguments of their listeners. */
export interface CacheEvents<K> {
  /** An entry was evicted, expired or dropped. */
  evict: [key: K, reason: EvictionReason];
  /** More entries were removed than the ring buffer holds: some had no `evict` event. */
  overrun: [];
  /** A training of a dictionary has ended; `used` tells whether the dictionary is in use now. */
  dictionary: [report: DictionaryReport];
  /**
   * Background work has failed: the files of `persist` could not be written, or no dictionary could
   * be trained. The cache itself stays usable.
   */
  fault: [error: ZcacheError];
}

const NAMES: readonly string[] = ["evict", "overrun", "dictionary", "fault"];
/** The store's reasons that are reported. */
const REASONS: Readonly<Record<number, EvictionReason>> = {
  [Reason.EVICTED]: "evicted",
  [Reason.DROPPED_FROM_FILE]: "dropped",
  [Reason.EXPIRED]: "expired",
};
/** Interval at which evictions are read. */
const READ_EVERY_MS = 20;

/** The listeners of one thread. */
export class CacheListeners<K extends CacheKey> {
  readonly #shards: readonly Entries<K>[];
  readonly #emitter = new EventEmitter();
  #timer: NodeJS.Timeout | undefined;

  constructor(shards: readonly Entries<K>[]) {
    this.#shards = shards;
  }

  /** @throws ZcacheError ERR_OPTION for an unknown event or no function; ERR_STORE_CLOSED */
  on<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    if (!NAMES.includes(event)) {
      const message = `a cache has no event ${describe(event)}; its events are ${NAMES.join(", ")}`;
      throw new ZcacheError("ERR_OPTION", message);
    }
    if (typeof listener !== "function") {
      const found = describe(listener);
      throw new ZcacheError("ERR_OPTION", `listener ${found}: must be a function`);
    }
    for (const { values } of this.#shards) values.store.assertOpen();
    this.#emitter.on(event, listener as (...args: unknown[]) => void);
    if (event === "evict" || event === "overrun") this.#readEvictions();
  }

  off<E extends keyof CacheEvents<K>>(event: E, listener: (...args: CacheEvents<K>[E]) => void) {
    this.#emitter.off(event, listener as (...args: unknown[]) => void);
  }

  /** Calls the listeners of an event. An error of one becomes an uncaught exception of its own. */
  emit<E extends keyof CacheEvents<K>>(event: E, ...args: CacheEvents<K>[E]): void {
    for (const listener of this.#emitter.listeners(event)) {
      try {
        listener(...args);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Stops reading evictions. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #readEvictions(): void {
    if (this.#timer !== undefined) return;
    const shards = this.#shards.map((entries) => new ShardEvictions(entries));
    this.#timer = setInterval(() => this.#emitEvictions(shards), READ_EVERY_MS);
    this.#timer.unref();
  }

  #emitEvictions(shards: readonly ShardEvictions<K>[]): void {
    for (const shard of shards) {
      // Another thread, or a listener, may have closed the cache.
      if (this.#isClosed) {
        this.stop();
        return;
      }
      const { removed, isComplete } = shard.read();
      if (!isComplete) this.emit("overrun");
      for (const [key, reason] of removed) {
        if (this.#isClosed) return;
        this.emit("evict", key, reason);
      }
    }
  }

  get #isClosed(): boolean {
    return this.#shards.some(({ values }) => values.store.isClosed);
  }
}

/** The evictions of one shard. */
class ShardEvictions<K extends CacheKey> {
  readonly #entries: Entries<K>;
  readonly #listener: EvictionListener;

  constructor(entries: Entries<K>) {
    this.#entries = entries;
    this.#listener = entries.values.evictionListener();
    this.#listener.begin();
  }

  /** What was removed since the last call, and whether the ring buffer had all of it. */
  read(): { readonly removed: [K, EvictionReason][]; readonly isComplete: boolean } {
    const entries = this.#entries;
    const keyAt = (at: number, count: number) => entries.keyAt(at, count);
    const removed: [K, EvictionReason][] = [];
    const isComplete = this.#listener.hear((reason, flagsAt) => {
      const name = REASONS[reason];
      const key = entries.values.keyOfPrefix(flagsAt, keyAt);
      if (name !== undefined && key !== undefined) removed.push([key, name]);
    });
    return { removed, isComplete };
  }
}
