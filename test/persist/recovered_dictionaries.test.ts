// Dictionaries of the files: every value that is recovered can be read, in however little memory.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { Cache } from "../../src/index.ts";
import { random32 } from "../../src/node/platform.ts";
import { openStore } from "../../src/node/stores.ts";
import { OneShard } from "../../src/persist/destination.ts";
import { DICTIONARIES_MAX } from "../../src/store/value.layout.ts";
import { formatValues } from "../../src/values/format.ts";
import { Values } from "../../src/values/values.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const documentOf = (nth: number) => ({
  ...{ id: nth, name: `name of user ${nth}`, mail: `user${nth}@example.com`, roles: ["editor"] },
  address: { street: `${(nth * 7919) % 1000} Main Street`, zip: String((nth * 31) % 99_999) },
});

for (const [before, after] of [
  ["4MiB", "4MiB"],
  ["4MiB", "2MiB"],
  ["8MiB", "1536KiB"],
] as const) {
  test(`a cache of ${before} comes back in ${after}, and its values can be read`, async () => {
    const path = join(temporaryFolder("recovered-dictionaries"), "values");
    const first = Cache.create({ memoryMax: before, persist: { path } });
    const keys = 25_000;
    for (let nth = 0; nth < keys; nth++) {
      if (nth === 3000) assert.ok((await first.train())?.used, "a dictionary is in use");
      first.set(`key ${nth}`, documentOf(nth));
    }
    const stored = first.size;
    first.close();
    const again = Cache.create({ memoryMax: after, persist: { path } });
    assert.ok(again.size > 1000 && again.size <= stored);
    assert.equal(again.stats().dictionary, 1);
    let read = 0;
    for (let nth = 0; nth < keys; nth++) {
      const value = again.get(`key ${nth}`);
      if (value === undefined) continue;
      assert.deepEqual(value, documentOf(nth));
      read++;
    }
    assert.equal(read, again.size);
    again.close();
  });
}

test("dictionaries keep their numbers although one is lost; a full table takes no more", () => {
  const store = openStore({ memoryMax: "1MiB", content: "values", pageSize: 8192 });
  formatValues(store, random32, false, [1, 2]);
  const values = new Values(store, () => Date.now(), random32);
  const shard = new OneShard(values);
  const bytesOf = (nth: number) => new Uint8Array(100).fill(nth);
  for (let nth = 2; nth <= DICTIONARIES_MAX; nth++) shard.addDictionary(nth, bytesOf(nth));
  assert.equal(shard.dictionaryOf(1), 0);
  for (let nth = 2; nth <= DICTIONARIES_MAX; nth++) {
    assert.equal(shard.dictionaryOf(nth), nth);
    const { at, sizeBytes } = values.dictionaries.at(nth);
    assert.deepEqual(values.bytes.slice(at, at + sizeBytes), bytesOf(nth));
  }
  // A log repeats the dictionaries of its snapshot; another one can't have the number.
  shard.addDictionary(5, bytesOf(5));
  assert.equal(shard.dictionaryOf(5), 5);
  shard.addDictionary(6, bytesOf(60));
  assert.equal(shard.dictionaryOf(6), 0);
  assert.deepEqual(shard.dictionary, bytesOf(DICTIONARIES_MAX));
  store.close();
});
