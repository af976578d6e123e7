// A store at its limit against a Map, with every pool and every frontend that must not lose pages:
// accepted pages are returned byte for byte; pages that need no more room are accepted; a refusal
// keeps the old page only where the frontend's rules say so; and the limit holds after every step.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Frontswap } from "../../src/frontends/frontswap.ts";
import { Zswap } from "../../src/frontends/zswap.ts";
import { JOURNAL_LIMIT } from "../../src/memory/arena.layout.ts";
import { poolTypes } from "../../src/pool/registry.ts";
import type { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

const PAGE = 4096;
const SLOTS = 600;
const RUNS = Number(process.env["ZCACHE_MODEL_RUNS"] ?? 1);
const UUID = new Uint8Array(16).fill(7);

/** A front as the test sees it: slots of pages. */
interface Door {
  /** Whether a page that is refused leaves the one before. */
  readonly keepsOld: boolean;
  put(slot: number, page: Uint8Array): boolean;
  get(slot: number, page: Uint8Array): boolean;
  drop(slot: number): void;
}

const DOORS: Readonly<Record<string, (store: Store) => Door>> = {
  tmem: (store) => {
    const pool = store.createPool({ persistent: true });
    const key = new TmemKey();
    const at = (slot: number) => key.setObject(slot % 5).setIndex(slot);
    return {
      keepsOld: false,
      put: (slot, page) => store.put(pool, at(slot), page) === 0,
      get: (slot, page) => store.get(pool, at(slot), page),
      drop: (slot) => void store.flush(pool, at(slot)),
    };
  },
  zram: (store) => {
    const device = Zram.create(store, SLOTS * PAGE);
    return {
      keepsOld: true,
      put: (slot, page) => device.write(slot * PAGE, page) === 0,
      get: (slot, page) => device.read(slot * PAGE, page) === 0,
      drop: (slot) => void device.discard(slot * PAGE, PAGE),
    };
  },
  frontswap: (store) => {
    const swap = new Frontswap(store, UUID);
    return {
      keepsOld: false,
      put: (slot, page) => swap.store(1, slot, page),
      get: (slot, page) => swap.load(1, slot, page),
      drop: (slot) => swap.invalidatePage(1, slot),
    };
  },
  zswap: (store) => {
    const swap = new Zswap(store, { uuid: UUID });
    return {
      keepsOld: false,
      put: (slot, page) => swap.store(1, slot, page),
      // A load removes the page, so it is stored again.
      get: (slot, page) => swap.load(1, slot, page) && swap.store(1, slot, page),
      drop: (slot) => swap.invalidate(1, slot),
    };
  },
};

/** A page of which so many bytes do not compress: told from others by its seed. */
function pageOf(bytes: number, seed: number): Uint8Array {
  const page = fillPage(new Uint8Array(PAGE), "noise", seed);
  page.fill(0, Math.max(8, bytes));
  return page;
}

const samePage = (word: number) => fillPage(new Uint8Array(PAGE), "same", word);

/** One front of a full store, and what it was given. */
class FullStore {
  readonly store: Store;
  readonly door: Door;
  readonly pages = new Map<number, Uint8Array>();
  readonly #got = new Uint8Array(PAGE);
  readonly #limit: number;

  constructor(pool: string, open: (store: Store) => Door) {
    this.store = openStore({ memoryMax: "1MiB", pool });
    this.door = open(this.store);
    this.#limit = this.store.stats().mem_limit;
    for (let slot = 0; slot < SLOTS; slot++) {
      if (!this.put(slot, pageOf(300 + ((slot * 617) % 3500), slot))) break;
    }
  }

  put(slot: number, page: Uint8Array): boolean {
    const taken = this.door.put(slot, page);
    if (taken) this.pages.set(slot, page);
    else if (!this.door.keepsOld) this.pages.delete(slot);
    return taken;
  }

  drop(slot: number): void {
    this.door.drop(slot);
    this.pages.delete(slot);
  }

  check(slot: number): void {
    const page = this.pages.get(slot);
    const found = this.door.get(slot, this.#got);
    if (page !== undefined) {
      assert.ok(found, `page ${slot} was accepted and is gone`);
      assert.equal(Buffer.compare(this.#got, page), 0, `page ${slot} is another one`);
    } else if (found) {
      assert.ok(this.door.keepsOld, `page ${slot} was refused or dropped, and is there`);
      assert.ok(
        this.#got.every((byte) => byte === 0),
        "a hole of a device reads as zeros",
      );
    }
    assert.ok(this.store.stats().mem_used_total <= this.#limit, "the limit holds");
  }

  checkAll(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.check(slot);
    this.store.verify();
  }
}

/** [what, slot, size]: the first number says which step, the others which page. */
const step = fc.tuple(fc.nat(9), fc.nat(SLOTS - 1), fc.integer({ min: 8, max: PAGE }));

function run(pool: string, open: (store: Store) => Door, steps: number[][]): void {
  const full = new FullStore(pool, open);
  for (const [nth, [what, slot, bytes]] of (steps as [number, number, number][]).entries()) {
    const before = full.pages.get(slot);
    if (what < 4) full.put(slot, pageOf(bytes, 10_000 + nth));
    else if (what < 6 && before !== undefined) {
      assert.ok(full.put(slot, before.slice()), "the same page once more needs no more room");
    } else if (what < 8) {
      const taken = full.put(slot, samePage(nth));
      assert.ok(taken || before === undefined, "a same-filled page in the place of another");
    } else full.drop(slot);
    full.check(slot);
    if (nth % 16 === 0) full.store.verify();
  }
  full.checkAll();
  full.store.close();
}

for (const pool of poolTypes()) {
  test(`${pool}: a full store keeps its promises with every frontend`, () => {
    for (const open of Object.values(DOORS)) {
      const steps = fc.array(step, { minLength: 60, maxLength: 120 });
      fc.assert(
        fc.property(steps, (some) => run(pool, open, some)),
        { numRuns: RUNS, seed: 7 },
      );
    }
  });

  test(`${pool}: at the limit, free slots of used frames are filled again`, () => {
    const full = new FullStore(pool, DOORS["tmem"]!);
    const slots = [...full.pages.keys()];
    const freed = slots.filter((slot) => slot % 5 === 0);
    for (const slot of freed) full.drop(slot);
    // The same sizes under other keys, the largest first.
    const sizes = freed.map((slot) => 300 + ((slot * 617) % 3500)).sort((a, b) => b - a);
    const taken = sizes.filter((bytes, nth) => full.put(SLOTS + nth, pageOf(bytes, 5000 + nth)));
    assert.ok(taken.length >= freed.length * 0.9, `${taken.length} of ${freed.length} taken`);
    full.store.verify();
    full.store.close();
  });

  test(`${pool}: an overwrite in place is complete or undone, wherever it is interrupted`, () => {
    const full = new FullStore(pool, DOORS["zram"]!);
    const journals = full.store.shards.map(({ arena }) => arena.words);
    const room = journals[0]![JOURNAL_LIMIT]!;
    const setRoom = (entries: number) => {
      for (const words of journals) words[JOURNAL_LIMIT] = entries;
    };
    // Incompressible if the pool stores such objects, which cross frames in some pools.
    const slot = [...full.pages.keys()].at(-2)!;
    let undone = 0;
    for (let limit = 1; limit < 60; limit++) {
      const page = pageOf(300 + ((slot * 617) % 3500), 900 + limit);
      setRoom(limit);
      try {
        full.put(slot, page);
      } catch (error) {
        assert.match(String(error), /journal/);
        undone++;
      } finally {
        setRoom(room);
      }
      full.store.verify();
      full.check(slot);
    }
    // The saved bytes take three entries of the journal, META one.
    assert.ok(undone >= 3, `${undone} ended in the middle`);
    full.checkAll();
    full.store.close();
  });
}
