// Opens the store of memcached's items, in each thread of a server: the store of a cache, with its
// tiers, dictionaries, write-back file and warm restart (../../cache/engine.ts).
import type { Remote } from "../../backing/remote_contract.ts";
import { ZcacheError } from "../../base/errors.ts";
import { abandonValues, type LogShare, openValues } from "../../cache/engine.ts";
import { AttachedLogs, Engines } from "../../cache/engines.ts";
import { type CacheOptions, resolveCacheOptions, storeOptionsOf } from "../../cache/options.ts";
import { random32 } from "../../node/platform.ts";
import { attachGroupWith } from "../../node/stores.ts";
import type { ShardGroup, ShardGroupShare } from "../../shard/shard_group.ts";
import { seedsOf, valuesStateOf } from "../../values/format.ts";
import { keyAt, keyBytesAt, readWord } from "../../values/prefix.ts";
import { Values } from "../../values/values.ts";
import type { MemcachedSettings } from "../settings.ts";
import { BITS, CAS_HIGH, CAS_LOW, FLUSH_SHIFT } from "./items.layout.ts";
import { laterFlushes } from "./lifetime.ts";
import { ItemsRemote } from "./remote.ts";
import { ItemHash, type ItemShards } from "./shards.ts";
import type { ItemsBegin } from "./shared.ts";

/** The interval of background work: long enough that it does not show in latencies. */
const BACKGROUND_MS = 20;
/** While items are evicted, it pays to recompress others: for this part of the time. */
const PRESSED = { share: 0.15, idleTicks: 2 };
/**
 * A process that begins with another's items assigns cas numbers from here on: so many a second
 * since 2026, which is more than were assigned meanwhile, and for 34 years not too many.
 */
const CAS_EPOCH_MS = Date.UTC(2026, 0, 1);
const CAS_A_SECOND = 4096;
/** All cas numbers that a server assigns (shared.ts) are below 2⁴². */
const CAS_OURS_HIGH_MAX = 2 ** 10;

/** The items' stores, open in this thread. */
export interface OpenedItems {
  readonly shards: ItemShards;
  /** What the previous process has left, if this one begins with its items. */
  readonly begin: ItemsBegin | undefined;
  /** Undefined without a remote tier. */
  readonly remote: ItemsRemote | undefined;
  /** For `attachItems` in another thread. */
  share(): ItemsShare;
  /** Statistics beside those of the store, by name. */
  figures(): Readonly<Record<string, number>>;
  /** Closes the store for all threads, after what the next process needs has been written. */
  close(): void;
}

export interface ItemsShare {
  readonly group: ShardGroupShare;
  readonly limitMax: number;
  /** The logs of changes of the shards; undefined without `persist`. */
  readonly logs: readonly LogShare[] | undefined;
}

export interface ItemsEvents {
  /** Takes errors of writing what the next process needs; the server goes on. */
  readonly onFault?: (error: ZcacheError) => void;
  /** Takes unexpected errors of a background task, which goes on. */
  readonly onError?: ((task: string, error: unknown) => void) | undefined;
  /** Takes a line for each change of the limit under memory pressure. */
  readonly onPressure?: ((line: string) => void) | undefined;
}

/**
 * Creates the store, with the items of the previous process if `persist` says so.
 * @param remote keeps cold items on other machines
 * @throws ZcacheError ERR_OPTION, ERR_ARENA_MEMORY, ERR_IO, ERR_FILE_LOCKED
 */
export function openItems(
  settings: MemcachedSettings,
  { onFault = () => {}, onError, onPressure }: ItemsEvents = {},
  remote?: Remote,
): OpenedItems {
  const options = cacheOptionsOf(settings);
  checkRemote(settings, remote);
  const { codec, codecOptions, dictionaryBytes, persist } = resolveCacheOptions(options);
  const storeOptions = { ...storeOptionsOf(options), ...(remote === undefined ? {} : { remote }) };
  const opened = openValues(storeOptions, persist, { front: "items", stays: !settings.evicts });
  const { group } = opened;
  const limitMax = Math.min(group.limitMax, settings.limitMax ?? Number.POSITIVE_INFINITY);
  try {
    const { values, hash } = valuesIn(group);
    const before: Before = { casMax: 0, flushes: undefined };
    const what = {
      background: { everyMs: BACKGROUND_MS, pressed: PRESSED },
      ...{ dictionaryBytes, codec, codecOptions },
    };
    const engines = new Engines(opened, values, what, {
      isUnwanted: (prefixAt, shard) => {
        readBefore(shard, prefixAt, before);
        return false;
      },
      ...{ onFault, onError, onPressure, latestWords },
      onDictionary: () => {},
    });
    const tier = remote && new ItemsRemote(group, remote, onError);
    return {
      remote: tier,
      shards: {
        ...{ group, limitMax, values, hash },
        samplers: values.map((shard) => engines.samplerOf(shard)),
      },
      begin: persist && beginOf(engines.frontWords, before),
      share: () => ({ group: group.share(), limitMax, logs: engines.share() }),
      figures: () => figuresOf(values, engines),
      close: () => {
        tier?.stop();
        engines.close();
      },
    };
  } catch (error) {
    abandonValues(opened);
    throw error;
  }
}

/** @param share what `share` of the opened items gave, in another thread */
export function attachItems(share: unknown): ItemShards {
  const { group: shared, limitMax, logs } = (share ?? {}) as Partial<ItemsShare>;
  if (shared === undefined || limitMax === undefined) {
    throw new ZcacheError("ERR_STORE_SHARE", "this is not what a store of items shared");
  }
  return attachGroupWith(shared, (group) => {
    const { values, hash } = valuesIn(group);
    if (logs !== undefined) new AttachedLogs(values, logs);
    return { group, limitMax, values, hash, samplers: [] };
  });
}

function valuesIn({ stores }: ShardGroup) {
  const hash = new ItemHash(...seedsOf(valuesStateOf(stores[0]!)));
  const shared = stores.length === 1 ? undefined : hash;
  const values = stores.map((store) => new Values(store, () => Date.now(), random32, shared));
  return { values, hash };
}

function cacheOptionsOf(settings: MemcachedSettings): CacheOptions {
  const { memoryMax, shards, codec, tiers, dictionary, giveBack, pressure, hugePages } = settings;
  const { limitMax, writeBack, persist } = settings;
  return {
    ...{ memoryMax, shards, codec, tiers, dictionary, giveBack, pressure, hugePages },
    ...(limitMax === undefined ? {} : { limitMax }),
    ...(writeBack === undefined ? {} : { writeBack }),
    ...(persist === undefined ? {} : { persist }),
  };
}

/** @throws ZcacheError ERR_OPTION */
function checkRemote({ persist }: MemcachedSettings, remote: Remote | undefined): void {
  if (remote === undefined || persist === undefined) return;
  throw new ZcacheError(
    "ERR_OPTION",
    "persist: can't be combined with remote: the files have no index of items on other machines",
  );
}

/** What the items that are recovered tell of the previous process. */
interface Before {
  casMax: number;
  flushes: number | undefined;
}

/** Looks at the item whose prefix is at `prefixAt`. */
function readBefore({ bytes }: Values, prefixAt: number, before: Before): void {
  const metaAt = keyAt(bytes, prefixAt) + keyBytesAt(bytes, prefixAt);
  const word = (nth: number) => readWord(bytes, metaAt + nth * 4) >>> 0;
  const high = word(CAS_HIGH);
  // A higher number was chosen by a client, and does not say which ones were assigned.
  if (high < CAS_OURS_HIGH_MAX) {
    before.casMax = Math.max(before.casMax, high * 2 ** 32 + word(CAS_LOW));
  }
  before.flushes = laterFlushes(before.flushes, word(BITS) >>> FLUSH_SHIFT);
}

/** A crash may have come before all shards had written theirs. */
function latestWords(words: readonly (readonly number[])[]): readonly number[] {
  return words.reduce((one, other) =>
    (one[0] ?? 0) === laterFlushes(one[0] ?? 0, other[0] ?? 0) ? one : other,
  );
}

/** @param words that the previous process has kept: flushes, and when one is due */
function beginOf([kept = 0, due = 0]: readonly number[], { casMax, flushes }: Before): ItemsBegin {
  const byTime = Math.floor((Date.now() - CAS_EPOCH_MS) / 1000) * CAS_A_SECOND;
  // An item with a later number than was kept was logged behind a gap in the log.
  const last = laterFlushes(flushes, kept);
  return { casAfter: Math.max(casMax, byTime), flushes: last, flushDue: due };
}

function figuresOf(values: readonly Values[], engines: Engines): Record<string, number> {
  const { logBytes, snapshotBytes, waitingBytes, errors, isSuspended, recovered } =
    engines.persistStats ?? {};
  return {
    dictionary: values[0]!.dictionaries.current,
    ...prefixed("background", engines.backgroundCounts),
    ...prefixed("persist", { logBytes, snapshotBytes, waitingBytes, errors }),
    ...(isSuspended === undefined ? {} : { persist_suspended: Number(isSuspended) }),
    ...prefixed("recovered", recovered),
  };
}

/** `{ logBytes: 1 }` as `{ persist_log_bytes: 1 }`, without what is undefined. */
function prefixed(prefix: string, figures: object | undefined): Record<string, number> {
  const named = Object.entries(figures ?? {}).filter(([, value]) => typeof value === "number");
  return Object.fromEntries(named.map(([name, value]) => [`${prefix}_${snake(name)}`, value]));
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
