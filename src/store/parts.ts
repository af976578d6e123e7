// The parts of a store as one thread has them open, and what of the store those parts may use.
import type { Outbox } from "../backing/outbox.ts";
import type { SegmentLog } from "../backing/segment_log.ts";
import type { WordIndex } from "../base/brand.ts";
import type { Arena } from "../memory/arena.ts";
import type { EvictionPolicy } from "../policy/contract.ts";
import type { Zpool } from "../pool/contract.ts";
import type { TmemKey } from "../tmem/key.ts";
import type { TmemIndex } from "../tmem/tmem.ts";
import type { StoreCodecs } from "./codecs.ts";
import type { CounterName } from "./counters.ts";
import type { ResolvedOptions } from "./options.ts";
import type { StorePlatform } from "./platform.ts";

export interface StoreParts {
  readonly arena: Arena;
  /** Word index of the root (store.layout.ts). */
  readonly root: WordIndex;
  readonly options: ResolvedOptions;
  readonly platform: StorePlatform;
  /** By kind: ephemeral, persistent. */
  readonly zpools: readonly Zpool[];
  /** By kind. */
  readonly policies: readonly EvictionPolicy[];
  readonly index: TmemIndex;
  readonly codecs: StoreCodecs;
  /** The write-back file, if the store has one. */
  readonly backing: SegmentLog | undefined;
  /** What goes to the remote tier, if the store has one. */
  readonly outbox: Outbox | undefined;
}

/** What `StoreState` offers to the parts that it is made of. */
export interface StoreContext extends StoreParts {
  /** The arena as 32-bit words. */
  readonly words: Int32Array;
  /** Scratch: the key of a page in the remote tier. */
  readonly recordKey: TmemKey;
  /** Counts an event, at once, even if the transaction is rolled back. */
  count(name: CounterName, by?: number): void;
}
