// What is done to a device's pages while nobody asks for them: idle ones are recompressed with the
// denser codec, and written to the file. The kernel has a file to write to for each of these, and
// few write; here it happens by itself, within a budget, and the same words set it.
//
// The store's clock goes on by a tick now and then, and a page knows the tick at which it was used
// last, modulo 128. A tick is a quarter of the shorter of the two ages that are asked for, or
// longer where the other age would be too many of them.
import type { Store } from "../store/store.ts";

/** Which pages: as the kernel's `type=`. */
export const PAGE_TYPES = ["none", "idle", "huge", "huge_idle", "incompressible"] as const;
export type PageType = (typeof PAGE_TYPES)[number];

/** What is set; all of it may be changed at any time. */
export interface TendingSettings {
  recompress: PageType;
  /** Seconds without use after which a page is idle for recompression, and for write-back. */
  recompressIdleSeconds: number;
  writeBack: PageType;
  writeBackIdleSeconds: number;
  /** How many units of 4 KiB may still be written back, if that is limited (`writeback_limit`). */
  writeBackLimit: number;
  writeBackLimited: boolean;
}

/** Pages that are looked at in one step: some milliseconds if all of them are recompressed. */
const STEP_ENTRIES = 256;
const TICKS_TO_IDLE = 4;
/** Ages are told apart up to 127 ticks; some are left for rounding up. */
const TICKS_MAX = 120;
/** A round through all pages begins with each tick, and no oftener. */
const TICK_SECONDS_MIN = 1;

export class ZramTending {
  readonly settings: TendingSettings;
  readonly #store: Store;
  readonly #unit: number;
  #tickedMs: number;
  #isRoundDone = false;
  #isAllIdle = false;
  #recompressed = 0;
  #writtenBack = 0;

  /** @param nowMs a time that goes on by itself, of any origin */
  constructor(store: Store, settings: TendingSettings, nowMs: number) {
    this.#store = store;
    this.settings = settings;
    this.#unit = store.pageSize / 4096;
    this.#tickedMs = nowMs;
  }

  /** Pages that were recompressed and written back by it. */
  get done(): { recompressed: number; writtenBack: number } {
    return { recompressed: this.#recompressed, writtenBack: this.#writtenBack };
  }

  /**
   * One step, of some milliseconds at most.
   * @returns whether there is more to do at once
   */
  step(nowMs: number): boolean {
    const tickMs = this.#tickSeconds * 1000;
    if (nowMs - this.#tickedMs >= tickMs) {
      this.#tickedMs = nowMs;
      this.#isRoundDone = false;
      this.#store.tick();
    }
    if (this.#isRoundDone) return false;
    const { recompress, recompressIdleSeconds, writeBack, writeBackIdleSeconds } = this.settings;
    const budget = this.#budgetPages;
    const wanted = {
      entries: Math.min(STEP_ENTRIES, Math.max(1, budget)),
      recompress: this.#idle(recompress, recompressIdleSeconds),
      writeBack: budget > 0 ? this.#idle(writeBack, writeBackIdleSeconds) : undefined,
    };
    if (wanted.recompress === undefined && wanted.writeBack === undefined) return false;
    const { ended, recompressed, writtenBack } = this.#store.tend({
      ...wanted,
      entries: wanted.writeBack === undefined ? STEP_ENTRIES : wanted.entries,
    });
    this.#recompressed += recompressed;
    this.#writtenBack += writtenBack;
    if (this.settings.writeBackLimited) {
      const left = this.settings.writeBackLimit - writtenBack * this.#unit;
      this.settings.writeBackLimit = Math.max(0, left);
    }
    this.#isRoundDone = ended;
    if (ended) this.#isAllIdle = false;
    return !ended;
  }

  /** Looks at all pages again, from now on. @param allIdle takes all of them for idle, once */
  again(allIdle = false): void {
    this.#isRoundDone = false;
    this.#isAllIdle ||= allIdle;
  }

  get #tickSeconds(): number {
    const { recompress, recompressIdleSeconds, writeBack, writeBackIdleSeconds } = this.settings;
    // What is switched off does not count.
    const one = recompress === "none" ? writeBackIdleSeconds : recompressIdleSeconds;
    const other = writeBack === "none" ? one : writeBackIdleSeconds;
    const shorter = Math.min(one, other);
    const longer = Math.max(one, other);
    return Math.max(TICK_SECONDS_MIN, shorter / TICKS_TO_IDLE, longer / TICKS_MAX);
  }

  get #budgetPages(): number {
    const { writeBackLimited, writeBackLimit } = this.settings;
    return writeBackLimited ? Math.floor(writeBackLimit / this.#unit) : STEP_ENTRIES;
  }

  #idle(type: PageType, seconds: number) {
    if (type === "none") return undefined;
    const isAnyAge = this.#isAllIdle || type === "huge" || type === "incompressible";
    // The first tick may have come right after the page was used.
    const idleTicks = isAnyAge ? 0 : Math.ceil(seconds / this.#tickSeconds) + 1;
    return type === "idle" ? { idleTicks } : { idleTicks, only: "huge" as const };
  }
}
