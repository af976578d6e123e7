// The maintainer worker, started as users of zcache start it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createStore, startMaintainer, TmemKey } from "../../src/index.ts";
import { fillPage } from "../doubles/store_fixture.ts";

test("a maintainer makes room and writes back, and ends with the store", async () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-maintainer-"));
  const writeBack = { path: join(folder, "pages"), max: "16MiB" };
  const store = createStore({ memoryMax: "2MiB", writeBack, lowWatermark: 20, highWatermark: 30 });
  const worker = startMaintainer(store);
  worker.ref();
  await once(worker, "online");
  const pool = store.createPool({ persistent: true });
  const key = new TmemKey().setObject(1);
  const page = new Uint8Array(4096);
  const pages = 2000;
  for (let index = 0; index < pages; index++) {
    const stored = store.put(pool, key.setIndex(index), fillPage(page, "text", index));
    assert.equal(stored, 0);
    // Yields now and then, as a service does.
    if (index % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const expected = new Uint8Array(4096);
  for (let index = 0; index < pages; index++) {
    assert.ok(store.get(pool, key.setIndex(index), page));
    assert.deepEqual(page, fillPage(expected, "text", index));
  }
  assert.ok(store.stats().counters.written_back_pages > 0);
  store.verify();
  const exit = once(worker, "exit");
  store.close();
  const [code] = await exit;
  assert.equal(code, 0);
  rmSync(folder, { recursive: true });
});
