// The order in which connections are served. Requests are executed as they are read, until a budget
// of work for this round of the event loop is used up; connections that are read later wait for a
// turn. Turns are short, and connections whose last turn was long enough have theirs before those
// whose last turn was not: so a new client is answered soon, whatever others ask for.
//
//   poll: reads ──► execute, while there is budget ──► else: queue
//   check: the queue, with the same budget; fresh connections first, then at least one busy one
import type { InternalErrors } from "../node/internal_errors.ts";

/** Units of work (engine.ts) for each half of a round of the event loop: about a millisecond. */
const ROUND_UNITS_MAX = 524_288;

/** First in, first out; entries that were taken leave the array now and then. */
class Queue<T> {
  #items: T[] = [];
  #from = 0;

  get isEmpty(): boolean {
    return this.#from === this.#items.length;
  }

  add(item: T): void {
    this.#items.push(item);
  }

  take(): T | undefined {
    if (this.isEmpty) return undefined;
    const item = this.#items[this.#from++];
    if (this.isEmpty) this.#items.length = this.#from = 0;
    else if (this.#from > 1024) {
      this.#items = this.#items.slice(this.#from);
      this.#from = 0;
    }
    return item;
  }
}

export class Turns<T> {
  readonly #give: (one: T) => void;
  readonly #errors: InternalErrors;
  readonly #fresh = new Queue<T>();
  readonly #busy = new Queue<T>();
  #spent = 0;
  #isScheduled = false;

  /** @param give gives a connection its turn; must not throw */
  constructor(give: (one: T) => void, errors: InternalErrors) {
    this.#give = give;
    this.#errors = errors;
  }

  /** Whether requests that are read now are executed at once. */
  get isOpen(): boolean {
    return this.#spent < ROUND_UNITS_MAX;
  }

  /** Counts work that was done. */
  spend(units: number): void {
    this.#spent += units;
  }

  /** @param isBusy whether its last turn ended before its commands did */
  add(one: T, isBusy: boolean): void {
    (isBusy ? this.#busy : this.#fresh).add(one);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#errors.run("memcached: turns of connections", () => this.#run()));
  }

  #run(): void {
    this.#isScheduled = false;
    this.#spent = 0;
    try {
      while (!this.#fresh.isEmpty && this.isOpen) this.#give(this.#fresh.take()!);
      do {
        if (!this.#busy.isEmpty) this.#give(this.#busy.take()!);
      } while (!this.#busy.isEmpty && this.isOpen);
    } finally {
      this.#spent = 0;
      if (!this.#fresh.isEmpty || !this.#busy.isEmpty) this.#schedule();
    }
  }
}
