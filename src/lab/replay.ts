// Replays a trace of allocations and frees on a pool and counts its page frames, to compare
// allocators with each other or with their originals.
import type { Handle } from "../base/brand.ts";
import { EINVAL, ENOSPC, type Errno, errnoName } from "../base/errno.ts";
import { assert, ZcacheError } from "../base/errors.ts";
import type { Zpool } from "../pool/contract.ts";
import type { TraceStep } from "./trace.ts";

/** One line of the result: the state of the pool at a checkpoint or at the end of a phase. */
export interface ReplayRow {
  readonly alloc: string;
  /** `cp` for a checkpoint, else the phase that has ended. */
  readonly phase: string;
  /** Allocations and frees so far, including rejected ones. */
  readonly ops: number;
  readonly objs: number;
  /** Slots whose last allocation the pool refused for its size. */
  readonly rejects: number;
  /** Sum of the sizes of the objects stored. */
  readonly stored_bytes: number;
  /** Page frames that the pool holds. */
  readonly pages: number;
}

export const REPLAY_COLUMNS = [
  "alloc",
  "phase",
  "ops",
  "objs",
  "rejects",
  "stored_bytes",
  "pages",
] as const satisfies readonly (keyof ReplayRow)[];

const CHECKPOINT_OPS = 256;
/** A phase of this name has no checkpoints: it ends with an empty pool, whatever the allocator. */
const EMPTY_PHASE = "empty";
/** A phase of this name compacts the pool fully; pools that can't compact have no row for it. */
const COMPACT_PHASE = "compact";

interface Slot {
  readonly handle: Handle | undefined;
  readonly sizeBytes: number;
}

export class Replay {
  readonly #pool: Zpool;
  readonly #name: string;
  readonly #slots = new Map<number, Slot>();
  readonly #onRow: (row: ReplayRow) => void;
  #phase: string | undefined;
  #line = 0;
  #ops = 0;
  #rejects = 0;
  #storedBytes = 0;

  /**
   * @param name the allocator's name in the rows
   * @param onRow called with each row, in order
   */
  constructor(pool: Zpool, name: string, onRow: (row: ReplayRow) => void) {
    this.#pool = pool;
    this.#name = name;
    this.#onRow = onRow;
  }

  /**
   * @param line line number of the step, for messages
   * @throws ZcacheError ERR_TRACE for an impossible step, ERR_ARENA_FULL if memory runs out
   */
  step(step: TraceStep, line = 0): void {
    this.#line = line;
    if (step.op === "phase") {
      this.#endPhase();
      this.#phase = step.name;
      if (step.name === COMPACT_PHASE) this.#pool.compact(Number.MAX_SAFE_INTEGER);
      return;
    }
    if (step.op === "a") this.#alloc(step.slot, step.sizeBytes);
    else this.#free(step.slot);
    this.#ops++;
    if (this.#ops % CHECKPOINT_OPS === 0 && this.#phase !== EMPTY_PHASE) this.#row("cp");
  }

  /** Ends the last phase. */
  end(): void {
    this.#endPhase();
    this.#phase = undefined;
  }

  #alloc(slot: number, sizeBytes: number): void {
    if (this.#slots.has(slot)) {
      throw this.#badStep(`slot ${slot} is allocated while it is in use`);
    }
    const handle = this.#pool.malloc(sizeBytes);
    if (handle === ENOSPC) {
      this.#rejects++;
      this.#slots.set(slot, { handle: undefined, sizeBytes });
    } else if (handle === EINVAL) {
      throw this.#badStep(`slot ${slot}: an allocation of ${sizeBytes} bytes can't be`);
    } else if (handle < 0) {
      throw new ZcacheError(
        "ERR_ARENA_FULL",
        `after ${this.#ops} operations no page frame is left (${errnoName(handle as Errno)})`,
      );
    } else {
      this.#slots.set(slot, { handle: handle as Handle, sizeBytes });
      this.#storedBytes += sizeBytes;
    }
  }

  #free(slot: number): void {
    const held = this.#slots.get(slot);
    if (held === undefined) {
      throw this.#badStep(`slot ${slot} is freed while nothing is in it`);
    }
    this.#slots.delete(slot);
    if (held.handle === undefined) {
      this.#rejects--;
      return;
    }
    const failed = this.#pool.free(held.handle);
    assert(failed === 0, "a pool frees what it has handed out");
    this.#storedBytes -= held.sizeBytes;
  }

  #badStep(what: string): ZcacheError {
    const where = this.#line === 0 ? "" : `line ${this.#line}: `;
    return new ZcacheError("ERR_TRACE", where + what, { context: { line: this.#line } });
  }

  #endPhase(): void {
    if (this.#phase === undefined) return;
    if (this.#phase !== COMPACT_PHASE || this.#pool.canCompact) this.#row(this.#phase);
  }

  #row(phase: string): void {
    this.#onRow({
      alloc: this.#name,
      phase,
      ops: this.#ops,
      objs: this.#slots.size - this.#rejects,
      rejects: this.#rejects,
      stored_bytes: this.#storedBytes,
      pages: this.#pool.totalPages(),
    });
  }
}
