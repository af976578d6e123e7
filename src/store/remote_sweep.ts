// Finds orphans in the remote tier and removes them: records that no page has, of this owner after
// answers that were lost or a full ring of removals, and of an earlier owner that has died.
//
// A record that no page has at one moment will never have one, because no name is used twice: so a
// sweep lists all records under the prefix and compares each with the index, while everything goes
// on.
import * as Box from "../backing/outbox.layout.ts";
import type { RecordName } from "../backing/record_name.ts";
import type { RemoteKey } from "../backing/remote_contract.ts";
import { NIL } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { put } from "../memory/journal.ts";
import { recordNameOf, remoteKeyOf } from "./remote_name.ts";
import { entryOfRecordLocked } from "./remote_page.ts";
import { outboxOf, type RemoteTier } from "./remote_tier.ts";
import { transaction } from "./transaction.ts";

/** Messages that were lost may arrive for so many times the longest call; then a sweep begins. */
const SETTLES_AFTER = 2;

export class RemoteSweep {
  readonly #tier: RemoteTier;
  /** Whether the store has all pages that it may adopt from an earlier owner. */
  #isAllowed = false;
  /** Whether records of an earlier owner may be there. */
  #isDue = true;
  #notBeforeMs = 0;
  #orphansSeen = 0;
  #isRunning = false;

  constructor(tier: RemoteTier) {
    this.#tier = tier;
  }

  /** Sweeps may begin: every record that is still wanted has its page now. */
  allow(): void {
    this.#isAllowed = true;
  }

  /** Whether a sweep is under way or will follow. */
  get isPending(): boolean {
    return this.#isRunning || this.#isDue || this.#orphans() > 0;
  }

  /** Begins a sweep if one is due. */
  step(): void {
    const { hasLease, isOver, nowMs, remote } = this.#tier;
    if (this.#isRunning || !this.#isAllowed || !hasLease || isOver) return;
    const orphans = this.#orphans();
    if (orphans === 0 && !this.#isDue) return;
    if (orphans !== this.#orphansSeen) {
      this.#orphansSeen = orphans;
      this.#notBeforeMs = nowMs + SETTLES_AFTER * remote.timeoutMs;
    }
    if (!this.#isDue && nowMs < this.#notBeforeMs) return;
    this.#isRunning = true;
    this.#run((key) => this.#isLive(key)).then((isWhole) => {
      this.#isRunning = false;
      if (isWhole) this.#isDue = false;
      else this.#isDue = true;
    });
  }

  /**
   * Removes all records under the prefix: for a store that is about to be closed for good. Pages
   * may be sent meanwhile, so it looks again until there are none.
   * @returns whether all nodes have answered
   */
  async empty(): Promise<boolean> {
    for (;;) {
      let found = 0;
      const isWhole = await this.#run(() => {
        found++;
        return false;
      });
      if (!isWhole || found === 0) return isWhole;
    }
  }

  /** As RemoteControl. */
  async releaseKept(): Promise<boolean> {
    const { kept, remote } = this.#tier;
    let isWhole = true;
    let keys: RemoteKey[] = [];
    for (const name of kept.release()) {
      if (!this.#hasPage(name)) keys.push(remoteKeyOf(name));
      if (keys.length < remote.batchMax) continue;
      if (this.#tier.isOver) return false;
      if (!(await this.#remove(keys))) isWhole = false;
      keys = [];
    }
    if (keys.length > 0 && !(await this.#remove(keys))) isWhole = false;
    return isWhole;
  }

  #orphans(): number {
    const { states } = this.#tier;
    return states.reduce((sum, state) => sum + outboxOf(state).get(Box.ORPHANS), 0);
  }

  /** @returns whether every record was looked at, and every orphan removed */
  async #run(isLive: (key: RemoteKey) => boolean): Promise<boolean> {
    const { remote } = this.#tier;
    // Orphans from here on are for the next sweep.
    this.#forgetOrphans();
    let isWhole = true;
    let cursor: string | undefined;
    do {
      if (this.#tier.isOver || !this.#tier.hasLease) return false;
      const page = await remote.list(cursor);
      if (page instanceof ZcacheError || this.#tier.isOver) return false;
      const orphans = page.keys.filter((key) => !isLive(key));
      for (let at = 0; at < orphans.length; at += remote.batchMax) {
        if (!(await this.#remove(orphans.slice(at, at + remote.batchMax)))) isWhole = false;
      }
      cursor = page.cursor;
    } while (cursor !== undefined);
    return isWhole;
  }

  async #remove(keys: readonly RemoteKey[]): Promise<boolean> {
    const results = await this.#tier.remote.remove(keys);
    if (this.#tier.isOver) return false;
    const removed = results.filter((result) => result === "done").length;
    const state = this.#tier.states[0]!;
    transaction(state, () => state.count("remote_orphans_flushed", removed));
    return removed === keys.length;
  }

  #isLive(key: RemoteKey): boolean {
    const name = recordNameOf(key);
    // A key that no store has made is not ours to remove.
    return name === undefined || this.#tier.kept.has(name) || this.#hasPage(name);
  }

  #hasPage(name: RecordName): boolean {
    return this.#tier.states.some((state) =>
      transaction(state, () => entryOfRecordLocked(state, name) !== NIL),
    );
  }

  #forgetOrphans(): void {
    this.#orphansSeen = 0;
    for (const state of this.#tier.states) {
      const at = outboxOf(state).wordAt(Box.ORPHANS);
      transaction(state, () => put(state.words, at, 0));
    }
  }
}
