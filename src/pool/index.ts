// The entry point `zcache/pool`: the pools, the arena that they are in, and their error numbers.
/// <reference types="node" preserve="true" />
export type { Address, Brand, Handle, PageFrame } from "../base/brand.ts";
export {
  EAGAIN,
  EBUSY,
  ECANCELED,
  EINVAL,
  ENOMEM,
  ENOSPC,
  type Errno,
  errnoName,
} from "../base/errno.ts";
export type { Threads } from "../base/threads.ts";
export { Arena, type ArenaOptions, type ArenaShare } from "../memory/arena.ts";
export type { WasmMemory } from "../wasm/platform.ts";
export {
  type ClassStats,
  type Evict,
  MAP_RO,
  MAP_RW,
  MAP_WO,
  type MapMode,
  type PoolShare,
  type PoolStats,
  type Zpool,
} from "./contract.ts";
export { attachPool, createPool, poolTypes } from "./registry.ts";
