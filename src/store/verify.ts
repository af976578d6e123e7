// Checks that the parts of a store agree: whatever the index names exists, whatever exists is
// named, and counters match. For tests; holds the lock meanwhile.
import { type Handle, NIL, type WordIndex } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import * as Entry from "../tmem/entry.layout.ts";
import * as Page from "./page.layout.ts";
import { slotOf } from "./record.ts";
import type { StoreState } from "./state.ts";
import * as Store from "./store.layout.ts";

interface Tally {
  readonly inMemory: number[];
  readonly same: number[];
  readonly inFile: number[];
  readonly remote: number[];
  readonly remoteBytes: number[];
  readonly huge: number[];
  readonly bytes: number[];
  readonly listed: number[];
}

/** @throws AssertionError naming what does not hold */
export function verifyLocked(state: StoreState): void {
  state.arena.frames.verify();
  for (const zpool of state.zpools) zpool.verify();
  const zeros = () => [0, 0];
  const tally: Tally = {
    inMemory: zeros(),
    same: zeros(),
    inFile: zeros(),
    remote: zeros(),
    remoteBytes: zeros(),
    huge: zeros(),
    bytes: zeros(),
    listed: zeros(),
  };
  const places: [number, number][] = [];
  const inTransit = new Map<number, number>();
  state.index.verify((entry) => {
    const meta = state.words[entry + Entry.META]!;
    checkEntry(state, entry, meta, tally);
    if (Page.whereOf(meta) === Page.FILE) {
      places.push([state.words[entry + Entry.VALUE]!, Page.sizeOf(meta)]);
    }
    const slot =
      Page.whereOf(meta) === Page.REMOTE ? slotOf(state.words[entry + Entry.LINKS]!) : NIL;
    if (slot === NIL) return;
    assert(!inTransit.has(slot), "no two pages have the same slot");
    inTransit.set(slot, state.words[entry + Entry.VALUE]!);
  });
  for (const kind of [Store.EPHEMERAL, Store.PERSISTENT]) checkKind(state, kind, tally);
  assert(state.words[state.root + Store.PENDING_FREE_KIND] === 0, "nothing waits to be freed");
  state.backing?.verify(places);
  state.outbox?.verify(inTransit);
}

function checkEntry(state: StoreState, entry: WordIndex, meta: number, tally: Tally): void {
  const kind = Page.kindOf(meta);
  const where = Page.whereOf(meta);
  assert(meta !== 0, "an entry stands for a page");
  if (Page.isListed(meta)) tally.listed[kind]!++;
  if (where === Page.SAME_FILLED) tally.same[kind]!++;
  if (where === Page.FILE) tally.inFile[kind]!++;
  if (where === Page.REMOTE) {
    tally.remote[kind]!++;
    tally.remoteBytes[kind]! += Page.sizeOf(meta);
  }
  if (where !== Page.MEMORY) return;
  tally.inMemory[kind]!++;
  tally.bytes[kind]! += Page.sizeOf(meta);
  if (Page.codecOf(meta) === Page.RAW) tally.huge[kind]!++;
  const handle = state.words[entry + Entry.VALUE]! as Handle;
  const header = state.headerOf(kind, Page.sizeOf(meta));
  const result = state.zpools[kind]!.read(handle, state.evicted, Page.sizeOf(meta) + header);
  assert(result === 0, "an entry in memory names an object of its size");
  if (header === 0) return;
  assert(state.words[state.evicted / 4] === entry, "an object names the entry it belongs to");
}

function checkKind(state: StoreState, kind: number, tally: Tally): void {
  const gauge = (what: number) => state.words[state.gaugeAt(kind, what)]!;
  assert(gauge(Store.IN_MEMORY) === tally.inMemory[kind], "pages in memory are counted");
  assert(gauge(Store.SAME) === tally.same[kind], "same-filled pages are counted");
  assert(gauge(Store.IN_FILE) === tally.inFile[kind], "pages in the file are counted");
  assert(gauge(Store.IN_REMOTE) === tally.remote[kind], "remote pages are counted");
  assert(state.remoteBytes(kind) === tally.remoteBytes[kind], "their bytes are counted");
  assert(gauge(Store.HUGE) === tally.huge[kind], "pages stored raw are counted");
  assert(gauge(Store.BYTES) >>> 0 === tally.bytes[kind], "bytes in memory are counted");
  const objects = state.zpools[kind]!.stats().objects;
  assert(objects === tally.inMemory[kind], "every object belongs to a page");
  let listed = 0;
  state.policies[kind]!.verify((entry) => {
    const meta = state.words[entry + Entry.META]!;
    assert(Page.isListed(meta) && Page.kindOf(meta) === kind, "the policy lists what may go");
    listed++;
  });
  assert(listed === tally.listed[kind], "the policy lists all that may go");
}
