// The mark that `idle` sets on pages, as the kernel's file of that name: a page keeps it until it
// is used. The mark is a time: all pages that were last used before it are marked.
//
// An entry has the tick of its last use modulo 128. So a mark is told for 127 ticks, and a page
// that was last used 128 ticks or longer ago may be taken for one that was used after the mark.
import { statesOf } from "../shard/sharded_store.ts";
import * as Page from "../store/page.layout.ts";
import type { StoreState } from "../store/state.ts";
import type { Store } from "../store/store.ts";
import { ageOf, ticksOf } from "../store/stored_page.ts";

export class IdleMark {
  readonly #store: Store;
  /** Pages that were last used before this tick are marked. */
  #tick: number | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Marks pages that have not been used for some ticks, 0: all pages. */
  set(idleTicks: number): void {
    this.#store.flushReadBuffer();
    // Later uses have a later tick.
    this.#store.tick();
    const tick = (ticksOf(statesOf(this.#store)[0]!) - idleTicks) | 0;
    if (this.#tick === undefined || ((tick - this.#tick) | 0) > 0) this.#tick = tick;
  }

  /** @param meta META of a page of the shard */
  has(state: StoreState, meta: number): boolean {
    if (this.#tick === undefined) return false;
    const least = ((ticksOf(state) - this.#tick) | 0) + 1;
    return least < Page.AGES && ageOf(state, meta) >= least;
  }
}
