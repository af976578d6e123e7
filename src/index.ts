// The entry point `zcache`: the arena, the pools over it, and the codecs that Node has.
export { AssertionError, type ErrorCode, ZcacheError } from "./base/errors.ts";
export { formatBytes, GIB, KIB, MIB, parseSize } from "./base/units.ts";
export {
  Cache,
  type CacheEvents,
  type CacheShare,
  type CacheStats,
  type EvictionReason,
} from "./cache.ts";
export type { DictionaryReport } from "./cache_dictionary.ts";
export type { PersistStats } from "./cache_restart.ts";
export * from "./codec/index.ts";
export type { Serializer } from "./front/cache/contract.ts";
export type { CacheKey } from "./front/cache/keys.ts";
export type { LoadContext, Loader } from "./front/cache/loads.ts";
export type {
  CacheOptions,
  FetchOptions,
  GetOptions,
  NearOptions,
  SetOptions,
} from "./front/cache/options.ts";
export type { PersistOptions } from "./front/cache/persist_option.ts";
export { Cleancache } from "./front/cleancache.ts";
export { Frontswap } from "./front/frontswap.ts";
export { Zswap } from "./front/zswap.ts";
export { TmemKey } from "./index/key.ts";
export { nodeCodecs } from "./node/codecs.ts";
export * from "./pool/index.ts";
export type { TmemPoolOptions } from "./store/arguments.ts";
export type { Explanation } from "./store/explain.ts";
export type { StoreOptions, WriteBackOptions } from "./store/options.ts";
export type { StoreStats } from "./store/statistics.ts";
export type { Store, StoreShare } from "./store/store.ts";
export { attachStore, createStore, startMaintainer } from "./stores.ts";
