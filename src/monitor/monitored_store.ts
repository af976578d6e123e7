// The part of a store that monitors read, and walks through it in short steps.
import { performance } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import type { Store } from "../store/store.ts";

/** The part of a store that is monitored, of one arena or of several. */
export type MonitoredStore = Pick<Store, "stats" | "inspection" | "pageSize" | "options">;

/** How long a walk runs before other tasks of the thread get a turn. */
const STEP_MS = 1;

/**
 * Calls `step` until it returns true, with turns of the event loop in between.
 * @throws the reason of `signal` once it is aborted
 */
export async function inSteps(step: () => boolean, signal: AbortSignal): Promise<void> {
  for (;;) {
    for (const until = performance.now() + STEP_MS; performance.now() < until; ) {
      if (step()) return;
    }
    await setImmediate();
    signal.throwIfAborted();
  }
}
