// How an allocator presents itself to the registry.
import type { Arena } from "../memory/arena.ts";
import type { BasePool, PoolId } from "./base.ts";

/** One allocator, or one setting of it. */
export interface PoolDriver {
  readonly type: string;
  /** Other names it answers to, such as those of trace files. */
  readonly aliases?: readonly string[];
  /** One line for people who choose. */
  readonly summary: string;
  /** `true` for settings that exist for comparison: not listed by default. */
  readonly variant?: boolean;
  open(arena: Arena, typeIndex: number, id: PoolId): BasePool;
}
