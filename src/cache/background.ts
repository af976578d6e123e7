// What is done while nobody asks, on a timer of the thread that made the store: its clock goes on,
// idle values are recompressed or written to the file, expired ones are removed. Never longer at a
// time than a small part of the time between.
import type { Store } from "../store/store.ts";

export interface BackgroundOptions {
  readonly everyMs: number;
  /** Part of the time that is spent so at most (default 0.02). */
  readonly share?: number;
  /**
   * While values are evicted, who could stay if others were denser: the part of the time then, and
   * after how many ticks without use a value is idle (default: as otherwise).
   */
  readonly pressed?: { readonly share: number; readonly idleTicks: number };
}

const SHARE = 0.02;
/** Values looked at between two looks at the clock. */
const STEP_ENTRIES = 64;
/** The store's clock goes on so often; it counts to 128. */
const TICK_MS = 1000;
/** A longer one overflows in Node's timers, and ends at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** A value that was not used for so many ticks is idle. */
const IDLE_TICKS = 10;

export interface BackgroundCounts {
  /** Rounds through everything that is stored. */
  rounds: number;
  recompressed: number;
  expired: number;
  ms: number;
}

/** The same, in the way in which it is done now. */
interface Effort {
  readonly share: number;
  readonly idleTicks: number;
}

export class Background {
  readonly counts: BackgroundCounts = { rounds: 0, recompressed: 0, expired: 0, ms: 0 };
  readonly #store: Store;
  readonly #timer: NodeJS.Timeout;
  readonly #everyMs: number;
  readonly #usual: Effort;
  readonly #pressed: Effort;
  #evicted = 0;
  #ticked = performance.now();
  /** Nothing to be done was found in the last round: the next waits for a tick. */
  #isResting = false;

  /** @param onError takes what the work throws; without it that is an uncaught exception */
  constructor(
    store: Store,
    { everyMs, share = SHARE, pressed }: BackgroundOptions,
    onError?: (task: string, error: unknown) => void,
  ) {
    this.#store = store;
    this.#everyMs = everyMs;
    this.#usual = { share, idleTicks: IDLE_TICKS };
    this.#pressed = pressed ?? this.#usual;
    const period = Math.min(everyMs, TIMER_MS_MAX);
    this.#timer = setInterval(() => this.#attempt(onError), period);
    this.#timer.unref();
  }

  #attempt(onError: ((task: string, error: unknown) => void) | undefined): void {
    const { stored } = this.#store.values!;
    try {
      if (!stored.isClosed) this.#beat();
    } catch (error) {
      // Another thread may close the store in the midst of it.
      if (!stored.isClosed) {
        if (onError === undefined) throw error;
        onError("a look at idle values", error);
      }
    }
    if (stored.isClosed) this.stop();
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
    const { share, idleTicks } = this.#effort();
    while (!this.#isResting && performance.now() - begin < this.#everyMs * share) {
      const done = this.#store.tend({
        entries: STEP_ENTRIES,
        recompress: { idleTicks, only: "normal" },
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
  }

  #effort(): Effort {
    const { evicted } = this.#store.values!.stored;
    const isPressed = evicted !== this.#evicted;
    this.#evicted = evicted;
    return isPressed ? this.#pressed : this.#usual;
  }
}
