// What a cache does while nobody asks, on a timer of the thread that made it: the store's clock
// goes on, idle values are recompressed or written to the file, expired ones are removed. Never
// longer at a time than a small part of the time between.
import type { Store } from "./store/store.ts";

/** Part of the time that is spent so at most. */
const SHARE = 0.02;
/** Values looked at between two looks at the clock. */
const STEP_ENTRIES = 64;
/** The store's clock goes on so often; it counts to 128. */
const TICK_MS = 1000;
/** A value that was not used for so many ticks is idle. */
const IDLE_TICKS = 10;

export interface BackgroundCounts {
  /** Rounds through everything that is stored. */
  rounds: number;
  recompressed: number;
  expired: number;
  ms: number;
}

export class Background {
  readonly counts: BackgroundCounts = { rounds: 0, recompressed: 0, expired: 0, ms: 0 };
  readonly #store: Store;
  readonly #timer: NodeJS.Timeout;
  readonly #everyMs: number;
  /** Called each time, for what else there is to be done. */
  onBeat: (() => void) | undefined;
  #ticked = performance.now();
  /** Nothing to be done was found in the last round: the next waits for a tick. */
  #isResting = false;

  constructor(store: Store, everyMs: number) {
    this.#store = store;
    this.#everyMs = everyMs;
    this.#timer = setInterval(() => this.#beat(), everyMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    const begin = performance.now();
    if (begin - this.#ticked >= TICK_MS) {
      this.#ticked = begin;
      this.#isResting = false;
      this.#store.tick();
    }
    this.#store.maintain();
    while (!this.#isResting && performance.now() - begin < this.#everyMs * SHARE) {
      const done = this.#store.tend({
        entries: STEP_ENTRIES,
        recompress: { idleTicks: IDLE_TICKS, only: "normal" },
        redictionary: true,
        nowMs: Date.now(),
      });
      this.counts.recompressed += done.recompressed;
      this.counts.expired += done.expired;
      if (!done.ended) continue;
      this.counts.rounds++;
      this.#isResting = true;
    }
    this.counts.ms += performance.now() - begin;
    this.onBeat?.();
  }
}
