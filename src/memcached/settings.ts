// The settings of a memcached server, with their defaults and ranges; checked once, at the start.
import { ZcacheError } from "../base/errors.ts";
import { KIB, MIB } from "../base/units.ts";
import type { CacheOptions } from "../cache/options.ts";
import type { PersistOptions } from "../persist/options.ts";
import { planShards } from "../shard/plan.ts";
import { MEMORY_MAX } from "../store/options.ts";

type WriteBackOptions = NonNullable<CacheOptions["writeBack"]>;

/** Settings that each thread has a copy of; plain data, so that they travel to workers. */
export interface MemcachedSettings {
  readonly memoryMax: number;
  /**
   * What `memoryMax` can be raised to while the server runs, at most 64 times as much (default:
   * that, and 4 GiB for each shard).
   */
  readonly limitMax: number | undefined;
  /** Arenas that the store consists of, 1 to 64; "auto": as few as the memory needs. */
  readonly shards: "auto" | number;
  /** Compresses the values: one that `zcache codecs` lists. */
  readonly codec: string;
  /** Idle items are recompressed with zstd, where that makes them smaller. */
  readonly tiers: boolean;
  /** A dictionary is trained from the values, and used where it pays. */
  readonly dictionary: boolean;
  /** A file for items that memory has no room for. */
  readonly writeBack: WriteBackOptions | undefined;
  /** Begin with the items of the process before. */
  readonly persist: PersistOptions | undefined;
  /** "auto" returns unused memory to the system, as the cache does. */
  readonly giveBack: "auto" | "off";
  readonly pressure: "auto" | "off";
  /** "auto" asks the system for huge pages, as the cache does. */
  readonly hugePages: "auto" | "off";
  /** Key, value and 50 bytes of an item, at most. */
  readonly itemBytesMax: number;
  readonly connectionsMax: number;
  readonly threads: number;
  /** Seconds without a command after which a connection is closed, 0 never. */
  readonly idleTimeoutS: number;
  /** Seconds that a TLS handshake may take. */
  readonly tlsHandshakeS: number;
  /** Bytes of replies that a client has not accepted; above, it is not read from. */
  readonly backlogBytesMax: number;
  /**
   * Bytes of replies that all clients of a thread together have not accepted; above, the connection
   * that has accepted nothing for longest is closed.
   */
  readonly unsentBytesMax: number;
  /** Bytes of incomplete requests that a thread keeps for all its connections together. */
  readonly pendingBytesMax: number;
  readonly protocol: "auto" | "ascii" | "binary";
  readonly flushEnabled: boolean;
  readonly shutdownEnabled: boolean;
  /** Clients may list keys. */
  readonly dumpEnabled: boolean;
  /** Clients may `watch`. */
  readonly watchEnabled: boolean;
  /** Bytes of log lines that a watcher may leave unread before further ones are skipped. */
  readonly watchBytesMax: number;
  /** Where there is no room: evict other items, or refuse the new one. */
  readonly evicts: boolean;
  readonly casEnabled: boolean;
  /** Expired items are searched for; otherwise they stay until room is needed. */
  readonly sweeps: boolean;
  /** `debugtime` moves the clock: for memcached's own tests. */
  readonly debugTime: boolean;
  readonly authFile: string | undefined;
  readonly prefixDelimiter: string;
  readonly listenBacklog: number;
  readonly verbosity: number;
}

export const DEFAULT_SETTINGS: MemcachedSettings = {
  memoryMax: 64 * MIB,
  limitMax: undefined,
  shards: "auto",
  codec: "lz4",
  tiers: true,
  dictionary: true,
  writeBack: undefined,
  persist: undefined,
  giveBack: "auto",
  pressure: "off",
  hugePages: "off",
  itemBytesMax: MIB,
  connectionsMax: 1024,
  threads: 1,
  idleTimeoutS: 0,
  tlsHandshakeS: 10,
  backlogBytesMax: 256 * KIB,
  unsentBytesMax: 64 * MIB,
  pendingBytesMax: 64 * MIB,
  protocol: "auto",
  flushEnabled: true,
  shutdownEnabled: false,
  dumpEnabled: true,
  watchEnabled: true,
  watchBytesMax: 256 * KIB,
  evicts: true,
  casEnabled: true,
  sweeps: true,
  debugTime: false,
  authFile: undefined,
  prefixDelimiter: ":",
  listenBacklog: 1024,
  verbosity: 0,
};

/** Names, and what each may be: [least, most]. */
const RANGES: Readonly<Partial<Record<keyof MemcachedSettings, readonly [number, number]>>> = {
  memoryMax: [MIB, MEMORY_MAX],
  itemBytesMax: [KIB, 128 * MIB],
  connectionsMax: [1, 1_000_000],
  threads: [1, 64],
  idleTimeoutS: [0, 86_400 * 365],
  tlsHandshakeS: [1, 3600],
  backlogBytesMax: [4 * KIB, 1024 * MIB],
  unsentBytesMax: [64 * KIB, 16 * 1024 * MIB],
  pendingBytesMax: [64 * KIB, 16 * 1024 * MIB],
  watchBytesMax: [4 * KIB, 64 * MIB],
  listenBacklog: [1, 65_535],
  verbosity: [0, 4],
};

/**
 * Fills in what is not given and checks what is.
 * @throws ZcacheError ERR_OPTION naming the setting and what is allowed
 */
export function checkSettings(given: Partial<MemcachedSettings>): MemcachedSettings {
  const settings = { ...DEFAULT_SETTINGS, ...given };
  for (const [name, range] of Object.entries(RANGES)) {
    const value = settings[name as keyof MemcachedSettings] as number;
    const [least, most] = range;
    if (!Number.isInteger(value) || value < least || value > most) {
      throw optionError(`${name}: ${value} is not allowed; a whole number, ${least} to ${most}`);
    }
  }
  const { memoryMax, limitMax = memoryMax } = settings;
  if (!Number.isInteger(limitMax) || limitMax < memoryMax) {
    throw optionError(`limitMax: ${limitMax} is not allowed; a whole number, ${memoryMax} or more`);
  }
  if (!["auto", "ascii", "binary"].includes(settings.protocol)) {
    throw optionError(`protocol: "${settings.protocol}" is not allowed; auto, ascii or binary`);
  }
  const { shards } = settings;
  if (shards !== "auto" && !Number.isInteger(shards)) {
    throw optionError(`shards: ${shards} is not allowed; auto or a whole number`);
  }
  if (settings.prefixDelimiter.length !== 1) {
    throw optionError(`prefixDelimiter: "${settings.prefixDelimiter}" is not one character`);
  }
  checkItemSize(settings);
  return settings;
}

/** An item is in one shard. */
function checkItemSize(settings: MemcachedSettings): void {
  const { itemBytesMax, memoryMax, limitMax = memoryMax, shards: wanted } = settings;
  const { shards } = planShards(memoryMax, wanted, 1, limitMax);
  if (itemBytesMax <= memoryMax / shards / 2) return;
  const [part, cure] =
    shards === 1
      ? ["memoryMax", "allow smaller items or more memory"]
      : [
          `memoryMax in each of ${shards} shards`,
          "allow smaller items, more memory or fewer shards",
        ];
  throw optionError(
    `itemBytesMax: ${itemBytesMax} is more than half of ${part} (${memoryMax / shards}); ${cure}`,
  );
}

function optionError(message: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", message);
}
