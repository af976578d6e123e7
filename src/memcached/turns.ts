// Who is served when. What a connection sends is worked on as it comes, until much has been done
// since the event loop went round; whoever comes later then waits for a turn. Turns are short, and
// those that send little have theirs before those that have used up their last one: so a new client
// is answered soon, whatever others ask for.
//
//   poll: reads ──► work, while there is budget ──► else: queue
//   check: the queue, for as long a budget; fresh ones first, then at least one of the others
import type { InternalErrors } from "../node/internal_errors.ts";

/** Units of work (engine.ts) for each round of the event loop, twice: two milliseconds or so. */
const ROUND_UNITS_MAX = 524_288;

/** First in, first out; what was taken leaves the array now and then. */
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

  /** @param give does what one has waited for; must not throw */
  constructor(give: (one: T) => void, errors: InternalErrors) {
    this.#give = give;
    this.#errors = errors;
  }

  /** Whether work that comes now is done at once. */
  get isOpen(): boolean {
    return this.#spent < ROUND_UNITS_MAX;
  }

  /** Counts work that was done. */
  spend(units: number): void {
    this.#spent += units;
  }

  /** @param isBusy its last turn was not long enough for it */
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
