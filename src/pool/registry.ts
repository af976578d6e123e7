// The allocators by name. A new allocator is one entry in its own driver table and one line here,
// and is then covered by the contract suite, the model tests, `replay` and `analyze`.
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Arena } from "../memory/arena.ts";
import type { PoolId } from "./base.ts";
import type { PoolShare, Zpool } from "./contract.ts";
import { DENSE_DRIVERS } from "./dense/dense.ts";
import type { PoolDriver } from "./driver.ts";
import * as Pool from "./pool.layout.ts";
import { Z3FOLD_DRIVERS } from "./z3fold.ts";
import { ZBLOCK_DRIVERS } from "./zblock.ts";
import { ZBUD_DRIVERS } from "./zbud.ts";
import { ZSMALLOC_DRIVERS } from "./zsmalloc/drivers.ts";

/** The index is the type in a pool's descriptor: the same in all threads of a process. */
const DRIVERS: readonly PoolDriver[] = [
  ...ZBUD_DRIVERS,
  ...Z3FOLD_DRIVERS,
  ...DENSE_DRIVERS,
  ...ZBLOCK_DRIVERS,
  ...ZSMALLOC_DRIVERS,
];

/**
 * The names that `createPool` accepts.
 * @param all includes the variants made for comparison
 */
export function poolTypes(all = false): string[] {
  return DRIVERS.filter((driver) => all || !driver.variant).map((driver) => driver.type);
}

/** The driver of that name or alias. @throws ZcacheError ERR_POOL_UNKNOWN listing the names */
export function findPoolDriver(name: string): PoolDriver {
  const driver = DRIVERS.find((one) => one.type === name || one.aliases?.includes(name));
  if (driver === undefined) {
    const known = poolTypes(true).join(", ");
    throw new ZcacheError("ERR_POOL_UNKNOWN", `no pool is called "${name}"; available: ${known}`);
  }
  return driver;
}

/**
 * Creates an empty pool in an arena.
 * @throws ZcacheError ERR_POOL_UNKNOWN; ERR_ARENA_FULL if there is no room for its descriptor
 */
export function createPool(name: string, arena: Arena): Zpool {
  const driver = findPoolDriver(name);
  return driver.open(arena, DRIVERS.indexOf(driver), NIL);
}

/**
 * Opens a pool that another thread has shared, in the same arena.
 * @throws ZcacheError ERR_POOL_CLOSED if the pool does not exist any more
 */
export function attachPool(arena: Arena, share: PoolShare): Zpool {
  const index = typeAt(arena, share?.zcachePool);
  const at = share.zcachePool * arena.frames.wordsPerPage;
  const isIt =
    arena.words[at + Pool.GENERATION] === share.generation && DRIVERS[index]!.type === share.type;
  if (isIt) return openPool(arena, share.zcachePool);
  throw new ZcacheError("ERR_POOL_CLOSED", `this ${share.type} pool has been destroyed`);
}

/**
 * Opens the pool whose descriptor is in this frame.
 * @throws ZcacheError ERR_POOL_CLOSED
 */
export function openPool(arena: Arena, frame: number): Zpool {
  const index = typeAt(arena, frame);
  return DRIVERS[index]!.open(arena, index, frame as PoolId);
}

/**
 * The type of the pool whose descriptor is in this frame.
 * @throws ZcacheError ERR_POOL_CLOSED
 */
function typeAt(arena: Arena, frame: number): number {
  const at = frame * arena.frames.wordsPerPage;
  if (arena.frames.isHeadOf(frame, 0) && arena.words[at + Pool.MAGIC] === Pool.POOL_MAGIC) {
    const index = arena.words[at + Pool.TYPE]!;
    if (DRIVERS[index] !== undefined) return index;
  }
  throw new ZcacheError("ERR_POOL_CLOSED", "there is no such pool in this arena");
}
