// The entry point `zcache`: Cache, stores of pages with their frontends, pools, and the codecs that
// Node.js provides.
/// <reference types="node" preserve="true" />
export type {
  Remote,
  RemoteFigures,
  RemoteNodeFigures,
} from "./backing/remote_contract.ts";
export { AssertionError, type ErrorCode, ZcacheError } from "./base/errors.ts";
export type { LatencySummary } from "./base/latency.ts";
export { formatBytes, GIB, KIB, MIB, parseSize } from "./base/units.ts";
export type { BackgroundCounts } from "./cache/background.ts";
export { Cache } from "./cache/cache.ts";
export type { DictionaryReport } from "./cache/dictionary.ts";
export type { CacheEvents, EvictionReason } from "./cache/events.ts";
export type { CacheKey } from "./cache/keys.ts";
export type { LoadContext, Loader } from "./cache/loads.ts";
export type {
  CacheOptions,
  FetchOptions,
  GetOptions,
  LocalOptions,
  NearOptions,
  SetOptions,
} from "./cache/options.ts";
export type { Serializer } from "./cache/serializer/serializer.ts";
export type { CacheShare } from "./cache/share.ts";
export type { CacheStats, LocalCounts } from "./cache/statistics.ts";
export * from "./codec/index.ts";
export { Cleancache, type CleancacheStats, type FileKey } from "./frontends/cleancache.ts";
export { Frontswap, type FrontswapStats } from "./frontends/frontswap.ts";
export { Zswap, type ZswapOptions, type ZswapStats } from "./frontends/zswap.ts";
export { type NodeCodecsOptions, nodeCodecs } from "./node/codecs.ts";
export { startMaintainer } from "./node/maintainer.ts";
export { attachStore, createStore } from "./node/stores.ts";
export type { PersistOptions } from "./persist/options.ts";
export type { Recovered } from "./persist/recovery.ts";
export type { PersistStats } from "./persist/statistics.ts";
export type { AdmissionLimits } from "./policy/admission.ts";
export * from "./pool/index.ts";
export type { RemoteOptions, ServerOptions, SharedCacheOptions } from "./remote/options.ts";
export { createRemote } from "./remote/remote.ts";
export type { TmemPoolOptions } from "./store/arguments.ts";
export type { CounterName, LatencyName } from "./store/counters.ts";
export type { Explanation } from "./store/explain.ts";
export type { Idle, IdleScanOptions, IdleScanResult } from "./store/idle_scan.ts";
export type { RecompressOptions, StoreOptions, WriteBackOptions } from "./store/options.ts";
export type { BackgroundWork, TaskStats } from "./store/platform.ts";
export type { KindStats, StoreStats } from "./store/statistics.ts";
export type { Store, StoreShare } from "./store/store.ts";
export { TmemKey } from "./tmem/key.ts";
export type { TmemPool, TmemPoolInfo } from "./tmem/pools.ts";
