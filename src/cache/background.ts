// Background tasks of a store of values, in the thread that made it: "maintain" makes room before
// memory runs out; "recompress" scans for idle values, which it recompresses, and for expired
// values, which it removes. The scan takes at most a small part of the time.
import { ScanRounds } from "../node/scan_rounds.ts";
import type { Scheduler } from "../node/scheduler.ts";
import type { Store } from "../store/store.ts";

export interface BackgroundOptions {
  /** Ms between two runs of each task. */
  readonly everyMs: number;
  /** Part of the time that the scan takes at most (default 0.02). */
  readonly share?: number;
  /**
   * While values are evicted, denser ones would let others stay: the part of the time then, and
   * after how many ticks without use a value is idle (default: as otherwise).
   */
  readonly pressed?: Effort;
  /**
   * With several shards: the scans of all of them take turns, so that together they take about as
   * much time as that of one (default: the only one).
   */
  readonly turn?: { readonly nth: number; readonly shards: number };
}

interface Effort {
  readonly share: number;
  readonly idleTicks: number;
}

const SHARE = 0.02;
const ONLY = { nth: 0, shards: 1 };
/**
 * The scan of a shard runs at least once in so many periods, however many shards there are; with
 * more, its runs are shorter.
 */
const PERIODS_MAX = 10;
/** Values that one step looks at. */
const STEP_ENTRIES = 64;
/** The store's clock has 128 ticks, and a value that was not used for ten is idle. */
const TICK_MS = 1000;
const IDLE_TICKS = 10;

export interface BackgroundCounts {
  /** Rounds through everything that is stored. */
  rounds: number;
  recompressed: number;
  expired: number;
  ms: number;
}

/** Schedules both tasks. @returns their counts, when it is called */
export function startBackground(
  scheduler: Scheduler,
  store: Store,
  { everyMs, share = SHARE, pressed, turn = ONLY }: BackgroundOptions,
): () => BackgroundCounts {
  const { inspection } = store;
  const usual: Effort = { share, idleTicks: IDLE_TICKS };
  let effort = usual;
  let evicted = 0;
  const plan = () => ({
    tickMs: TICK_MS,
    scan: {
      entries: STEP_ENTRIES,
      recompress: { idleTicks: effort.idleTicks, only: "normal" },
      redictionary: true,
      nowMs: Date.now(),
    } as const,
  });
  const rounds = new ScanRounds(store, plan, scheduler.nowMs);
  const periods = Math.min(turn.shards, PERIODS_MAX);
  /** The part of a budget that a run of this shard has. */
  const part = periods / turn.shards;
  // A step may take longer than the budget of a short run. Then the next runs are left out.
  let beganMs = 0;
  let restMs = 0;
  let notBefore = 0;
  const step = (nowMs: number) => {
    if (beganMs < notBefore) return false;
    const isMore = rounds.step(nowMs);
    restMs = ((scheduler.nowMs - beganMs) * turn.shards) / effort.share;
    return isMore;
  };
  scheduler.add({
    name: "maintain",
    everyMs,
    step: () => {
      store.maintain();
      return false;
    },
  });
  scheduler.add({
    name: "recompress",
    everyMs: everyMs * periods,
    firstMs: everyMs * ((turn.nth % periods) + 1),
    budgetMs: () => {
      effort = pressed !== undefined && inspection.evicted !== evicted ? pressed : usual;
      evicted = inspection.evicted;
      if (part < 1 && beganMs >= notBefore) {
        notBefore = beganMs + Math.min(restMs, everyMs * turn.shards);
      }
      beganMs = scheduler.nowMs;
      return everyMs * effort.share * part;
    },
    step,
  });
  return () => {
    const { rounds: done, recompressed, expired } = rounds.counts;
    const ms = scheduler.tasks
      .filter(({ name }) => name === "maintain" || name === "recompress")
      .reduce((sum, task) => sum + task.ms, 0);
    return { rounds: done, recompressed, expired, ms };
  };
}
