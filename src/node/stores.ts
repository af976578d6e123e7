// Stores on Node: makes them, attaches to them, and does their background work.
import { ZcacheError } from "../base/errors.ts";
import { formatBytes } from "../base/units.ts";
import { ShardGroup, type ShardGroupShare } from "../shard/shard_group.ts";
import { ShardedStore, statesOf } from "../shard/sharded_store.ts";
import type { Idle } from "../store/idle_scan.ts";
import type { StoreOptions } from "../store/options.ts";
import { type Store, type StoreShare, stateOf } from "../store/store.ts";
import { manageResidentMemory } from "./give_back.ts";
import { useHugePages } from "./huge_pages.ts";
import { InternalErrors } from "./internal_errors.ts";
import { addressSpaceLimit, RESERVED_BYTES, warnOfMemory } from "./machine_memory.ts";
import { followPressure } from "./memory_pressure.ts";
import { nodePlatform } from "./platform.ts";
import { roomSigns, sharedReader } from "./remote_fetches.ts";
import { serveRemote } from "./remote_service.ts";
import { SCAN_ENTRIES, ScanRounds, scanTask, tickSecondsFor, ticksToAge } from "./scan_rounds.ts";
import { Scheduler, type SchedulerTime } from "./scheduler.ts";

/**
 * Makes a store. Until the calling thread closes the store or detaches from it, it returns unused
 * memory in the background (`giveBack`), recompresses idle pages (`recompress.idleSeconds`), and
 * serves the remote tier (`remote`).
 * @throws ZcacheError ERR_OPTION, ERR_POOL_UNKNOWN, ERR_CODEC_UNKNOWN, ERR_CODEC_UNAVAILABLE for
 *   invalid options; ERR_ARENA_MEMORY; of the write-back file ERR_IO and ERR_FILE_LOCKED
 */
export function createStore(options: StoreOptions = {}): Store {
  const store = openStore(options);
  // Without background work, there are no timers.
  const { giveBack, pressure } = store.options;
  if (giveBack === "auto" || pressure === "auto") {
    const scheduler = schedulerOf(store);
    const returnMemory = manageResidentMemory(store.shards, scheduler);
    followPressure(store, store, scheduler, { returnMemory });
  }
  recompressInBackground(store);
  if (options.remote !== undefined) {
    serveRemote(store, options.remote, schedulerOf(store)).sweep();
  }
  return store;
}

/** As `createStore`, for a caller that schedules background work itself. */
export function openStore(options: StoreOptions): Store {
  const store = explained(() => ShardedStore.create(options, nodePlatform()));
  warnOfMemory("memoryMax", store.options.memoryMax);
  useHugePages(store.shards);
  return store;
}

/** Creates the shards of a store of values. @throws as `createStore` */
export function openGroup(options: StoreOptions): ShardGroup {
  const group = explained(() => ShardGroup.create(options, nodePlatform()));
  warnOfMemory("memoryMax", group.memoryMax);
  useHugePages(group.stores);
  return group;
}

/**
 * Attaches to the shards of a store of values and opens something on them. If `open` throws, the
 * thread detaches again.
 * @throws as `attachStore` and `open`
 */
export function attachGroupWith<T>(share: ShardGroupShare, open: (group: ShardGroup) => T): T {
  const group = ShardGroup.attach(share, nodePlatform());
  if (group.options.remote !== undefined) {
    for (const state of group.stores.map(stateOf)) state.remoteReader = sharedReader(state);
  }
  try {
    return open(group);
  } catch (error) {
    group.detach();
    throw error;
  }
}

/**
 * Opens, in a worker thread, the store whose `share()` it was sent.
 * @throws ZcacheError ERR_STORE_SHARE, ERR_STORE_CLOSED
 */
export function attachStore(share: StoreShare): Store {
  const store = ShardedStore.attach(share, nodePlatform());
  if (store.options.remote !== undefined) {
    for (const state of statesOf(store)) {
      state.remoteReader = sharedReader(state);
      state.roomSigns = roomSigns(state);
    }
  }
  return store;
}

/**
 * Recompresses pages of a store that have been idle for the time that its options say.
 * Unexpected errors become warnings of the process and are counted in `store.background.tasks`.
 */
export function recompressInBackground(store: Store, time?: SchedulerTime): void {
  const { recompress, content } = store.options;
  if (recompress === undefined || recompress.idleSeconds === 0) return;
  const scheduler = schedulerOf(store, time);
  const tickSeconds = tickSecondsFor(recompress.idleSeconds);
  const idle: Idle = {
    idleTicks: ticksToAge(recompress.idleSeconds, tickSeconds),
    // As the cache has it: values that did not shrink at all are not tried again.
    ...(content === "values" ? { only: "normal" } : {}),
  };
  const plan = { tickMs: tickSeconds * 1000, scan: { entries: SCAN_ENTRIES, recompress: idle } };
  const rounds = new ScanRounds(store, () => plan, scheduler.nowMs);
  scheduler.add(scanTask((nowMs) => rounds.step(nowMs)));
}

/** The scheduler of the calling thread's work on a store. */
function schedulerOf(store: Store, time?: SchedulerTime): Scheduler {
  if (store.background instanceof Scheduler) return store.background;
  const errors = new InternalErrors({ log: (text) => process.emitWarning(text) });
  const report = (task: string, error: unknown) =>
    errors.report(`the background task ${task}`, error);
  return Scheduler.of(store, report, time);
}

/** A warning if the write-back file has another name than the options say; else undefined. */
export function renamedFile(store: Store): ZcacheError | undefined {
  const { options, device } = store.share();
  const wanted = options.writeBack?.path;
  if (device === undefined || device.path === wanted) return undefined;
  const message =
    `writeBack: ${wanted} is not a file of zcache and is left as it is: ` +
    `${device.path} is used`;
  return new ZcacheError("ERR_OPTION", message, { context: { path: device.path } });
}

/**
 * Attaches to a store and opens something on it. If `open` throws, the thread detaches again.
 * @throws as `attachStore` and `open`
 */
export function attachWith<T>(share: StoreShare, open: (store: Store) => T): T {
  const store = attachStore(share);
  try {
    return open(store);
  } catch (error) {
    store.detach();
    throw error;
  }
}

/** Runs `create`; an error for want of memory says whether the address space is limited. */
function explained<T>(create: () => T): T {
  try {
    return create();
  } catch (cause) {
    const limit = addressSpaceLimit();
    const isMemory = cause instanceof ZcacheError && cause.code === "ERR_ARENA_MEMORY";
    if (!isMemory || limit === undefined) throw cause;
    throw new ZcacheError(
      "ERR_ARENA_MEMORY",
      `${cause.message}: the address space of the process is limited to ${formatBytes(limit)} \
(ulimit -v), and each arena reserves ${formatBytes(RESERVED_BYTES)} of it`,
      { cause, context: { ...cause.context, limit } },
    );
  }
}
