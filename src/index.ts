// The entry point `zcache`: Cache, stores of pages with their frontends, pools, and the codecs that
// Node.js provides.
/// <reference types="node" preserve="true" />
export { AssertionError, type ErrorCode, ZcacheError } from "./base/errors.ts";
export { formatBytes, GIB, KIB, MIB, parseSize } from "./base/units.ts";
export { Cache } from "./cache/cache.ts";
export type { DictionaryReport } from "./cache/dictionary.ts";
export type { CacheEvents, EvictionReason } from "./cache/events.ts";
export type { CacheKey } from "./cache/keys.ts";
export type { LoadContext, Loader } from "./cache/loads.ts";
export type {
  CacheOptions,
  FetchOptions,
  GetOptions,
  NearOptions,
  SetOptions,
} from "./cache/options.ts";
export type { Serializer } from "./cache/serializer/serializer.ts";
export type { CacheShare } from "./cache/share.ts";
export type { CacheStats } from "./cache/statistics.ts";
export * from "./codec/index.ts";
export { Cleancache } from "./frontends/cleancache.ts";
export { Frontswap } from "./frontends/frontswap.ts";
export { Zswap } from "./frontends/zswap.ts";
export { nodeCodecs } from "./node/codecs.ts";
export { startMaintainer } from "./node/maintainer.ts";
export { attachStore, createStore } from "./node/stores.ts";
export type { PersistOptions } from "./persist/options.ts";
export type { PersistStats } from "./persist/persistence.ts";
export * from "./pool/index.ts";
export type { TmemPoolOptions } from "./store/arguments.ts";
export type { Explanation } from "./store/explain.ts";
export type { RecompressOptions, StoreOptions, WriteBackOptions } from "./store/options.ts";
export type { BackgroundWork, TaskStats } from "./store/platform.ts";
export type { StoreStats } from "./store/statistics.ts";
export type { Store, StoreShare } from "./store/store.ts";
export { TmemKey } from "./tmem/key.ts";
