// The store that memcached's server keeps its items in, in each of its threads: the cache's, with
// its tiers, dictionaries, write-back file and warm restart (cache/engine.ts), and items in it.
import { ZcacheError } from "../base/errors.ts";
import { AttachedLog, abandonValues, Engine, type LogShare, openValues } from "../cache/engine.ts";
import { type CacheOptions, resolveCacheOptions, storeOptionsOf } from "../cache/options.ts";
import { random32 } from "../node/platform.ts";
import { attachWith } from "../node/stores.ts";
import type { Store, StoreShare } from "../store/store.ts";
import type { Values } from "../values/values.ts";
import type { ItemStore } from "./items/contract.ts";
import { laterFlushes } from "./items/lifetime.ts";
import type { ItemsBegin } from "./items/shared.ts";
import { casOfPrefix, flushesOfPrefix, ValueItemStore } from "./items/value_store.ts";
import type { ItemStoreFigures, OpenedItemStore } from "./server.ts";
import type { MemcachedSettings } from "./settings.ts";

/** How often idle items are looked after: seldom enough that nobody sees it in a latency. */
const BACKGROUND_MS = 20;
/** While items are evicted it pays to make others denser: for this part of the time. */
const PRESSED = { share: 0.15, idleTicks: 2 };
/**
 * A process that goes on with another's items gives out cas numbers from here on: so many a second
 * since 2026, which is more than were given out meanwhile, and for 34 years not too many.
 */
const CAS_EPOCH_MS = Date.UTC(2026, 0, 1);
const CAS_A_SECOND = 4096;

export interface OpenedItems extends OpenedItemStore {
  /** What the items are in. */
  readonly valueStore: Store;
}

interface ItemStoreShare {
  readonly store: StoreShare;
  readonly evicts: boolean;
  readonly log: LogShare | undefined;
}

/**
 * Makes the store, with what the process before has left where that is wanted.
 * @param onFault told of what can't be written for the next process; the server goes on
 * @param onError told of what nobody expected in a background task, which goes on
 * @throws ZcacheError ERR_OPTION, ERR_ARENA_MEMORY, ERR_IO, ERR_FILE_LOCKED
 */
export function openItemStore(
  settings: MemcachedSettings,
  onFault: (error: ZcacheError) => void = () => {},
  onError?: (task: string, error: unknown) => void,
): OpenedItems {
  const options = cacheOptionsOf(settings);
  const { codec, codecOptions, dictionaryBytes, persist } = resolveCacheOptions(options);
  const opened = openValues(storeOptionsOf(options), persist, {
    front: "items",
    stays: !settings.evicts,
  });
  const { store } = opened;
  try {
    const items = itemsIn(store, settings.evicts);
    const before = { casMax: 0, flushes: undefined as number | undefined };
    const what = {
      background: { everyMs: BACKGROUND_MS, pressed: PRESSED },
      ...{ dictionaryBytes, codec, codecOptions },
    };
    const engine = new Engine(opened, items.values, what, {
      isUnwanted: (prefixAt) => {
        before.casMax = Math.max(before.casMax, casOfPrefix(items.values, prefixAt));
        before.flushes = laterFlushes(before.flushes, flushesOfPrefix(items.values, prefixAt));
        return false;
      },
      ...{ onFault, onError },
      onDictionary: () => {},
    });
    items.sampler = engine.sampler;
    return {
      store: items,
      valueStore: store,
      isShared: true,
      begin: persist && beginOf(engine.frontWords, before),
      share: (): ItemStoreShare => ({
        store: store.share(),
        evicts: settings.evicts,
        log: engine.share(),
      }),
      figures: () => figuresOf(items.values, engine),
      close: () => engine.close(),
    };
  } catch (error) {
    abandonValues(opened);
    throw error;
  }
}

function cacheOptionsOf(settings: MemcachedSettings): CacheOptions {
  const { memoryMax, codec, tiers, dictionary, writeBack, persist } = settings;
  return {
    ...{ memoryMax, codec, tiers, dictionary },
    ...(writeBack === undefined ? {} : { writeBack }),
    ...(persist === undefined ? {} : { persist }),
  };
}

/** What the items that come back say of the process before. */
interface Before {
  readonly casMax: number;
  readonly flushes: number | undefined;
}

function beginOf(note: readonly number[], { casMax, flushes }: Before): ItemsBegin {
  const byTime = Math.floor((Date.now() - CAS_EPOCH_MS) / 1000) * CAS_A_SECOND;
  const [noted = 0, due = 0] = note;
  // An item of a later number than was noted has come behind a gap in the log.
  const last = laterFlushes(flushes, noted);
  return { casAfter: Math.max(casMax, byTime), flushes: last, flushDue: due };
}

function figuresOf(values: Values, engine: Engine): ItemStoreFigures {
  const { logBytes, snapshotBytes, waitingBytes, errors, isSuspended, recovered } =
    engine.persistStats ?? {};
  return {
    dictionary: values.dictionaries.current,
    ...prefixed("background", engine.backgroundCounts),
    ...prefixed("persist", { logBytes, snapshotBytes, waitingBytes, errors }),
    ...(isSuspended === undefined ? {} : { persist_suspended: Number(isSuspended) }),
    ...prefixed("recovered", recovered),
  };
}

/** `{ logBytes: 1 }` as `{ persist_logBytes: 1 }`, without what is undefined. */
function prefixed(prefix: string, figures: object | undefined): Record<string, number> {
  const named = Object.entries(figures ?? {}).filter(([, value]) => typeof value === "number");
  return Object.fromEntries(named.map(([name, value]) => [`${prefix}_${snake(name)}`, value]));
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** @param share what `share` of the opened store gave, in another thread */
export function attachItemStore(share: unknown): ItemStore {
  const { store, evicts, log } = (share ?? {}) as Partial<ItemStoreShare>;
  if (store === undefined || evicts === undefined) {
    throw new ZcacheError("ERR_STORE_SHARE", "this is not what a store of items shared");
  }
  return attachWith(store, (one) => {
    const items = itemsIn(one, evicts);
    if (log !== undefined) new AttachedLog(items.values, log);
    return items;
  });
}

function itemsIn(store: Store, evicts: boolean): ValueItemStore {
  return new ValueItemStore(store, evicts, () => Date.now(), random32);
}
