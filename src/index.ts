// The entry point `zcache`: the arena, the pools over it, and the codecs that Node has.
export { AssertionError, type ErrorCode, ZcacheError } from "./base/errors.ts";
export { formatBytes, GIB, KIB, MIB, parseSize } from "./base/units.ts";
export * from "./codec/index.ts";
export { Cleancache } from "./front/cleancache.ts";
export { Frontswap } from "./front/frontswap.ts";
export { Zswap } from "./front/zswap.ts";
export { TmemKey } from "./index/key.ts";
export { nodeCodecs } from "./node/codecs.ts";
export * from "./pool/index.ts";
export type { Explanation } from "./store/explain.ts";
export type { StoreOptions, WriteBackOptions } from "./store/options.ts";
export type { StoreStats } from "./store/statistics.ts";
export type { Store, StoreShare, TmemPoolOptions } from "./store/store.ts";
export { attachStore, createStore, startMaintainer } from "./stores.ts";
