// The idle scan of block devices: pages that were not used for some time are recompressed with the
// denser codec, or written to the write-back file. The kernel's zram does so when its files
// `recompress` and `writeback` are written to; this scan runs by itself, and the same words set it.
import {
  SCAN_ENTRIES,
  ScanRounds,
  TICKS_MAX,
  tickSecondsFor,
  ticksToAge,
} from "../node/scan_rounds.ts";
import type { Idle } from "../store/idle_scan.ts";
import type { Store } from "../store/store.ts";
import { IdleMark } from "./idle_mark.ts";

/** Which pages, by the words of the kernel's `type=`. */
export const PAGE_TYPES = ["none", "idle", "huge", "huge_idle", "incompressible"] as const;
export type PageType = (typeof PAGE_TYPES)[number];

/** May be changed at any time. */
export interface IdleScanSettings {
  recompress: PageType;
  /** Seconds without use after which a page is idle for recompression, and for write-back. */
  recompressIdleSeconds: number;
  writeBack: PageType;
  writeBackIdleSeconds: number;
  /** How many units of 4 KiB may still be written back, if that is limited (`writeback_limit`). */
  writeBackLimit: number;
  writeBackLimited: boolean;
}

export class ZramIdleScan {
  readonly settings: IdleScanSettings;
  readonly mark: IdleMark;
  #nowMs: number;
  readonly #rounds: ScanRounds;
  /** Units of 4 KiB in a page. */
  readonly #unit: number;
  /** Seconds after which any page is idle in this round; undefined: as the settings say. */
  #idleSeconds: number | undefined;

  /** @param nowMs a time of any origin, as `step` gets it */
  constructor(store: Store, settings: IdleScanSettings, nowMs: number) {
    this.settings = settings;
    this.mark = new IdleMark(store);
    this.#nowMs = nowMs;
    this.#unit = store.pageSize / 4096;
    this.#rounds = new ScanRounds(store, () => this.#plan(), nowMs);
  }

  /** The time of the last step. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Pages that the scan has recompressed and written back. */
  get done(): { recompressed: number; writtenBack: number } {
    const { recompressed, writtenBack } = this.#rounds.counts;
    return { recompressed, writtenBack };
  }

  /**
   * One step, of some milliseconds at most.
   * @returns whether there is more to do at once
   */
  step(nowMs: number): boolean {
    this.#nowMs = nowMs;
    const { rounds, writtenBack } = this.#rounds.counts;
    const isMore = this.#rounds.step(nowMs);
    const { settings } = this;
    if (settings.writeBackLimited) {
      const written = (this.#rounds.counts.writtenBack - writtenBack) * this.#unit;
      settings.writeBackLimit = Math.max(0, settings.writeBackLimit - written);
    }
    if (this.#rounds.counts.rounds > rounds) this.#idleSeconds = undefined;
    return isMore;
  }

  /**
   * Looks at all pages again.
   * @param idleSeconds marks pages that were not used for so long, 0: all pages; in that round they
   *   are idle
   */
  restart(idleSeconds?: number): void {
    this.#rounds.restart();
    const before = this.#idleSeconds ?? Number.POSITIVE_INFINITY;
    if (idleSeconds === undefined) return;
    this.#idleSeconds = Math.min(before, idleSeconds);
    this.mark.set(idleSeconds === 0 ? 0 : ticksToAge(idleSeconds, this.tickSeconds));
  }

  /** The longest age of a page, in seconds, that can be told from longer ones. */
  get ageSecondsMax(): number {
    return Math.floor(TICKS_MAX * this.tickSeconds);
  }

  /** The length of a tick of the store's clock. The age of a task that is off does not count. */
  get tickSeconds(): number {
    const { recompress, recompressIdleSeconds, writeBack, writeBackIdleSeconds } = this.settings;
    const one = recompress === "none" ? writeBackIdleSeconds : recompressIdleSeconds;
    return tickSecondsFor(one, writeBack === "none" ? one : writeBackIdleSeconds);
  }

  #plan() {
    const { recompress, recompressIdleSeconds, writeBack, writeBackIdleSeconds } = this.settings;
    const tickSeconds = this.tickSeconds;
    const budget = this.#budgetPages;
    const scan = {
      entries: SCAN_ENTRIES,
      recompress: this.#idle(recompress, recompressIdleSeconds, tickSeconds),
      writeBack: budget > 0 ? this.#idle(writeBack, writeBackIdleSeconds, tickSeconds) : undefined,
    };
    // No more pages are written than are looked at.
    if (scan.writeBack !== undefined) scan.entries = Math.min(SCAN_ENTRIES, budget);
    const isAny = scan.recompress !== undefined || scan.writeBack !== undefined;
    return { tickMs: tickSeconds * 1000, scan: isAny ? scan : undefined };
  }

  get #budgetPages(): number {
    const { writeBackLimited, writeBackLimit } = this.settings;
    return writeBackLimited ? Math.floor(writeBackLimit / this.#unit) : SCAN_ENTRIES;
  }

  #idle(type: PageType, seconds: number, tickSeconds: number): Idle | undefined {
    if (type === "none") return undefined;
    const least = Math.min(seconds, this.#idleSeconds ?? seconds);
    const isAnyAge = least === 0 || type === "huge" || type === "incompressible";
    const idleTicks = isAnyAge ? 0 : ticksToAge(least, tickSeconds);
    if (type === "idle") return { idleTicks };
    return { idleTicks, only: type === "incompressible" ? type : "huge" };
  }
}
