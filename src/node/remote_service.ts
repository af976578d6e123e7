// Serves the remote tier of a store in the thread that made the store: takes the lease, wakes when
// another thread has put something into the outbox, and looks after orphans and pages that may come
// back.
import * as Box from "../backing/outbox.layout.ts";
import type { Remote, RemoteFigures } from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import { statesOf } from "../shard/sharded_store.ts";
import type { KeptRecords } from "../store/kept_records.ts";
import type { RemoteControl } from "../store/platform.ts";
import { RemoteSweep } from "../store/remote_sweep.ts";
import { RemoteTier } from "../store/remote_tier.ts";
import { RemoteTrim } from "../store/remote_trim.ts";
import { Repatriation } from "../store/repatriation.ts";
import type { StoreState } from "../store/state.ts";
import type { Store } from "../store/store.ts";
import { isLow, reclaimStep } from "../store/write_back.ts";
import { roomSigns } from "./remote_fetches.ts";
import type { Scheduler } from "./scheduler.ts";

/** Between two looks at what no other thread calls for: pauses, orphans, repatriation. */
const LOOK_EVERY_MS = 20;
/** Between two attempts to take the lease. */
const ACQUIRE_EVERY_MS = 1000;
/** A wait for a call ends after this, to see whether the store is closed. */
const WAIT_MS = 1000;
/** Looks between two searches for fetches of threads that have died. */
const LOOKS_PER_SEARCH = 256;

/** @throws nothing: `ready` of the result says whether the lease was taken */
export function serveRemote(store: Store, remote: Remote, scheduler: Scheduler): RemoteControl {
  const service = serveRemoteOf(statesOf(store), remote, scheduler);
  store.remote = service;
  return service;
}

/** As `serveRemote`, for the shards of a store of values. */
export function serveRemoteOf(
  states: readonly StoreState[],
  remote: Remote,
  scheduler: Scheduler,
): RemoteControl {
  const service = new RemoteService(states, remote);
  scheduler.add({ name: "remote", everyMs: LOOK_EVERY_MS, step: () => service.look() });
  scheduler.onStop(() => service.stop());
  return service;
}

class RemoteService implements RemoteControl {
  readonly ready: Promise<void>;
  readonly #tier: RemoteTier;
  readonly #sweep: RemoteSweep;
  readonly #repatriation: Repatriation;
  readonly #trim: RemoteTrim;
  readonly #states: readonly StoreState[];
  #isAcquiring = false;
  #acquireAtMs = 0;
  #looks = 0;
  #isOver = false;

  constructor(states: readonly StoreState[], remote: Remote) {
    this.#states = states;
    this.#tier = new RemoteTier(this.#states, remote);
    this.#sweep = new RemoteSweep(this.#tier);
    this.#repatriation = new Repatriation(this.#tier);
    this.#trim = new RemoteTrim(this.#tier);
    this.ready = this.#acquire();
    // Who does not ask learns it from the figures; a rejection must not end the process.
    this.ready.catch(() => {});
    for (const state of this.#states) {
      state.roomSigns = roomSigns(state);
      this.#listen(state);
    }
  }

  sweep(): void {
    this.#sweep.allow();
  }

  empty(): Promise<boolean> {
    return this.#sweep.empty();
  }

  get kept(): KeptRecords {
    return this.#tier.kept;
  }

  holdPages(): void {
    this.#tier.isHeld = true;
  }

  releaseKept(): Promise<boolean> {
    return this.#sweep.releaseKept();
  }

  figures(): RemoteFigures {
    return this.#tier.remote.figures();
  }

  /** @returns whether there is more to do at once */
  look(): boolean {
    const tier = this.#tier;
    if (!tier.hasLease && !this.#isAcquiring && performance.now() >= this.#acquireAtMs) {
      this.#acquire().catch(() => {});
    }
    for (const state of this.#states) if (isLow(state)) reclaimStep(state);
    tier.pump();
    this.#sweep.step();
    this.#repatriation.step();
    this.#trim.step();
    if (++this.#looks % LOOKS_PER_SEARCH === 0) {
      for (const { outbox } of this.#states) outbox!.fetches.freeDead();
    }
    return false;
  }

  stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#tier.stop();
    this.#tier.remote.close().catch(() => {});
  }

  async #acquire(): Promise<void> {
    this.#isAcquiring = true;
    try {
      await this.#tier.acquire();
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      this.#acquireAtMs = performance.now() + ACQUIRE_EVERY_MS;
      throw error;
    } finally {
      this.#isAcquiring = false;
    }
  }

  /** Pumps whenever another thread calls. */
  async #listen({ words, outbox }: StoreState): Promise<void> {
    const at = outbox!.wordAt(Box.CALLS);
    while (!this.#isOver && !this.#tier.isOver) {
      const calls = Atomics.load(words, at);
      this.#tier.pump();
      const waiting = Atomics.waitAsync(words, at, calls, WAIT_MS);
      // At most one round in a turn of the event loop, so that sockets get theirs.
      await (waiting.async ? waiting.value : new Promise((resolve) => setImmediate(resolve)));
    }
  }
}
