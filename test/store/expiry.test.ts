// Expired values make room before living values have to, with any policy and pool, when a put finds
// no room and when maintenance makes room.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { policyNames } from "../../src/policy/registry.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { Store } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

const TTL_MS = 60_000;
const BYTES = 900;

class Fixture {
  readonly store: Store;
  readonly values: Values;
  readonly clock = { ms: 1_700_000_000_000 };
  readonly #random = new Xorshift32(5);
  readonly #value = new Uint8Array(BYTES);

  constructor(options: StoreOptions, persistent = false) {
    this.store = Store.create({ memoryMax: "4MiB", content: "values", ...options }, nodePlatform());
    formatValues(this.store, () => 7, persistent);
    this.values = new Values(
      this.store,
      () => this.clock.ms,
      () => 9,
    );
  }

  set(key: string, expiresMs = Number.POSITIVE_INFINITY): boolean {
    for (let at = 0; at < BYTES; at++) this.#value[at] = this.#random.next();
    const name = new TextEncoder().encode(key);
    const sizes = { keyBytes: name.length, valueBytes: BYTES };
    const request = { key: name, value: this.#value, expiresMs, ...sizes };
    return this.values.set(Object.assign(new SetRequest(), request)) === 0;
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
    test(`${policy}, ${pool}: no living value is evicted while an expired one is stored`, () => {
      const fixture = new Fixture({ policy, pool });
      const count = fixture.fill();
      fixture.clock.ms += TTL_MS + 1000;
      const before = fixture.evicted;
      for (let nth = 0; nth < count * PUSHED; nth++) assert.ok(fixture.set(`new ${nth}`));
      assert.equal(fixture.evicted, before, "nothing that lives has gone");
      assert.ok(fixture.expired > count * 0.2, `${fixture.expired} of ${count} made room`);
      for (let nth = 0; nth < count * PUSHED; nth++) assert.ok(fixture.has(`new ${nth}`));
      fixture.store.verify();
      fixture.store.close();
    });
  }
}

test("values stored or touched after a search has found nothing are found when they expire", () => {
  const fixture = new Fixture({});
  const count = fixture.fill();
  // Nothing has expired: searches find nothing, and learn when the first value will.
  for (let nth = 0; nth < 2000; nth++) fixture.set(`again ${nth}`);
  assert.equal(fixture.expired, 0);
  for (let nth = 0; nth < 500; nth++) fixture.set(`short ${nth}`, fixture.clock.ms + 5000);
  fixture.clock.ms += 6000;
  const before = fixture.evicted;
  for (let nth = 0; nth < 250; nth++) fixture.set(`new ${nth}`);
  assert.equal(fixture.evicted, before);
  assert.ok(fixture.expired > 100, `${fixture.expired} of ${count}`);
  fixture.store.close();
});

test("if nothing may be evicted, new values replace expired ones", () => {
  const fixture = new Fixture({}, true);
  const count = fixture.fill();
  fixture.clock.ms += TTL_MS + 1000;
  for (let nth = 0; nth < count / 3; nth++) assert.ok(fixture.set(`new ${nth}`), `new ${nth}`);
  for (let nth = 0; nth < count - 1; nth += 2) assert.ok(fixture.has(`live ${nth}`), `live ${nth}`);
  fixture.store.verify();
  fixture.store.close();
});

test("maintenance removes expired values before living ones", () => {
  const fixture = new Fixture({ lowWatermark: 10, highWatermark: 30 });
  fixture.fill();
  fixture.clock.ms += TTL_MS + 1000;
  const before = fixture.evicted;
  while (fixture.store.maintain());
  assert.equal(fixture.evicted, before);
  assert.ok(fixture.expired > 100);
  fixture.store.close();
});
