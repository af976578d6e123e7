// Values that have expired make room before living ones do, whatever the policy and the pool, when
// a put finds no room and when maintenance makes some.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { policyNames } from "../../src/policy/registry.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { Store } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { KeyedValues } from "../../src/values/values.ts";

const TTL_MS = 60_000;
const BYTES = 900;

class Rig {
  readonly store: Store;
  readonly values: KeyedValues;
  readonly clock = { ms: 1_700_000_000_000 };
  readonly #random = new Xorshift32(5);
  readonly #value = new Uint8Array(BYTES);

  constructor(options: StoreOptions, persistent = false) {
    this.store = Store.create({ memoryMax: "4MiB", content: "values", ...options }, nodePlatform());
    formatValues(this.store, () => 7, persistent);
    this.values = new KeyedValues(
      this.store,
      () => this.clock.ms,
      () => 9,
    );
  }

  set(key: string, expiresMs = Number.POSITIVE_INFINITY): boolean {
    for (let at = 0; at < BYTES; at++) this.#value[at] = this.#random.next();
    const name = new TextEncoder().encode(key);
    const none = new Uint8Array(0);
    return this.values.set(name, name.length, none, 0, this.#value, BYTES, expiresMs) === 0;
  }

  has(key: string): boolean {
    const name = new TextEncoder().encode(key);
    return this.values.find(name, name.length);
  }

  get evicted(): number {
    return this.store.stats().counters.evicted_ephemeral_pages;
  }

  get expired(): number {
    return this.store.stats().counters.expired;
  }

  /** Sets values that live and values that soon do not, in turns, until memory runs short. */
  fill(): number {
    let count = 0;
    for (let taken = true; taken && this.evicted === 0; count++) {
      taken = this.set(count % 2 === 0 ? `live ${count}` : `dead ${count}`, this.#untilOf(count));
    }
    return count;
  }

  #untilOf(count: number): number {
    return count % 2 === 0 ? Number.POSITIVE_INFINITY : this.clock.ms + TTL_MS;
  }
}

const PUSHED = 0.4; // of what is stored, new values that come in: fewer than have expired

for (const policy of policyNames()) {
  for (const pool of ["dense", "zsmalloc"]) {
    test(`${policy}, ${pool}: no living value goes while there are expired ones`, () => {
      const rig = new Rig({ policy, pool });
      const count = rig.fill();
      rig.clock.ms += TTL_MS + 1000;
      const before = rig.evicted;
      for (let nth = 0; nth < count * PUSHED; nth++) assert.ok(rig.set(`new ${nth}`));
      assert.equal(rig.evicted, before, "nothing that lives has gone");
      assert.ok(rig.expired > count * 0.2, `${rig.expired} of ${count} made room`);
      for (let nth = 0; nth < count * PUSHED; nth++) assert.ok(rig.has(`new ${nth}`));
      rig.store.verify();
      rig.store.close();
    });
  }
}

test("what was stored, and what was renewed, after a walk has found nothing counts too", () => {
  const rig = new Rig({});
  const count = rig.fill();
  // Nothing has expired: walks go round in vain, and learn when the first one will.
  for (let nth = 0; nth < 2000; nth++) rig.set(`again ${nth}`);
  assert.equal(rig.expired, 0);
  for (let nth = 0; nth < 500; nth++) rig.set(`short ${nth}`, rig.clock.ms + 5000);
  rig.clock.ms += 6000;
  const before = rig.evicted;
  for (let nth = 0; nth < 250; nth++) rig.set(`new ${nth}`);
  assert.equal(rig.evicted, before);
  assert.ok(rig.expired > 100, `${rig.expired} of ${count}`);
  rig.store.close();
});

test("where nothing may be evicted, new values take the place of expired ones", () => {
  const rig = new Rig({}, true);
  const count = rig.fill();
  rig.clock.ms += TTL_MS + 1000;
  for (let nth = 0; nth < count / 3; nth++) assert.ok(rig.set(`new ${nth}`), `new ${nth}`);
  for (let nth = 0; nth < count - 1; nth += 2) assert.ok(rig.has(`live ${nth}`), `live ${nth}`);
  rig.store.verify();
  rig.store.close();
});

test("maintenance removes what has expired before anything that lives", () => {
  const rig = new Rig({ lowWatermark: 10, highWatermark: 30 });
  rig.fill();
  rig.clock.ms += TTL_MS + 1000;
  const before = rig.evicted;
  while (rig.store.maintain());
  assert.equal(rig.evicted, before);
  assert.ok(rig.expired > 100);
  rig.store.close();
});
