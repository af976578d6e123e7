// The state of each page of a device, in the format of the kernel's debugfs file block_state:
//
//       300    75.033841 .wh...
//
// the number of the page, the time of its last use in seconds since the process was started, and
// flags: (s)ame-filled, (w)ritten back, (h)uge, (i)dle, (r)ecompressed, i(n)compressible. A page
// that is not stored has no line. The time is exact to a tick of the store's clock, as long as
// fewer than 128 ticks have passed since.
import { setImmediate as othersTurn } from "node:timers/promises";
import { NIL } from "../base/brand.ts";
import { stateOfPage } from "../shard/sharded_store.ts";
import * as Page from "../store/page.layout.ts";
import type { StoreState } from "../store/state.ts";
import type { Store } from "../store/store.ts";
import { ageOf, storedPage } from "../store/stored_page.ts";
import { TmemKey } from "../tmem/key.ts";
import type { IdleMark } from "./idle_mark.ts";
import type { ZramIdleScan } from "./idle_scan.ts";
import type { PageRange } from "./post_process.ts";
import type { Zram } from "./zram.ts";

/** The most pages of one request: lines of 2 MiB. */
export const BLOCK_STATE_PAGES = 65_536;
/** Pages between two turns of other work. */
const TURN_PAGES = 1024;

/** @returns a line for each stored page of a range; rejects with ERR_STORE_CLOSED */
export async function blockState(
  store: Store,
  device: Zram,
  { first, last }: PageRange,
  { mark, tickSeconds, nowMs }: ZramIdleScan,
): Promise<string> {
  store.flushReadBuffer();
  const { number, pool } = device.place;
  const key = new TmemKey().setObject(number);
  let text = "";
  let looked = 0;
  let page = device.nextStored(first);
  for (; page !== NIL && page <= last; page = device.nextStored(page + 1)) {
    if (++looked % TURN_PAGES === 0) await othersTurn();
    const state = stateOfPage(store, pool, key.setIndex(page));
    const stored = storedPage(state, pool, key);
    if (stored === undefined) continue;
    const { meta } = stored;
    const used = nowMs / 1000 - ageOf(state, meta) * tickSeconds;
    const time = Math.max(0, used).toFixed(6).padStart(19);
    text += `${String(page).padStart(12)} ${time} ${flagsOf(state, meta, mark)}\n`;
  }
  return text;
}

function flagsOf(state: StoreState, meta: number, mark: IdleMark): string {
  const where = Page.whereOf(meta);
  const codec = Page.codecOf(meta);
  const isSame = where === Page.SAME_FILLED;
  const flags: readonly [boolean, string][] = [
    [isSame, "s"],
    [where === Page.FILE || where === Page.REMOTE, "w"],
    [!isSame && codec === Page.RAW, "h"],
    [where === Page.MEMORY && mark.has(state, meta), "i"],
    [!isSame && codec === Page.DENSE, "r"],
    [!isSame && codec === Page.TRIED, "n"],
  ];
  return flags.map(([holds, letter]) => (holds ? letter : ".")).join("");
}
