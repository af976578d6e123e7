// A driver describes an allocator to the registry.
import type { Arena } from "../memory/arena.ts";
import type { BasePool, PoolId } from "./base.ts";

/** One allocator, or one setting of it. */
export interface PoolDriver {
  readonly type: string;
  /** Aliases, such as the names in trace files. */
  readonly aliases?: readonly string[];
  /** A one-line description for users. */
  readonly summary: string;
  /** `true` for settings that exist for comparison: not listed by default. */
  readonly variant?: boolean;
  open(arena: Arena, typeIndex: number, id: PoolId): BasePool;
}
