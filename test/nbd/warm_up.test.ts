// The warm-up of threads: it must have processed requests, and leaves no trace in the store.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { startNbdServer, Zram } from "../../src/nbd/index.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { createStore } from "../../src/node/stores.ts";
import { NbdClient } from "../doubles/nbd_client.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const SIZE = 8 * 1024 * 1024;
const PAGE = 4096;
const folder = temporaryFolder("warm-up");

for (const memoryMax of ["32MiB", "3MiB"]) {
  test(`a warm-up in ${memoryMax} leaves the store as it was, and its device works`, async () => {
    using store = createStore({ memoryMax });
    const device = Zram.create(store, SIZE);
    const kept = Buffer.alloc(PAGE, "what was there before ");
    assert.equal(device.write(PAGE, kept), 0);
    const before = store.stats();
    const path = join(folder, `${memoryMax}.sock`);
    const server = await startNbdServer(store, {
      exports: [{ device }],
      listen: [{ path }],
      threads: 2,
      connectionsMax: 2,
      practiceMs: 100,
    });
    const warm = store.stats();
    assert.ok(warm.mem_used_max > before.mem_used_max + 64 * PAGE, "it has stored pages");
    assert.deepEqual(warm.counters, before.counters);
    assert.deepEqual(warm.persistent.pagesInMemory, 1);
    assert.deepEqual(device.requests(), { reads: 0, writes: 1, discards: 0 });
    const client = await NbdClient.open(path);
    const reply = await client.reply(client.send(Command.READ, PAGE, PAGE));
    assert.deepEqual([reply.error, reply.data.equals(kept)], [0, true]);
    client.socket.destroy();
    await server.close();
    store.verify();
  });
}

test("`uncounted` work has its effects, and no counter counts it", async () => {
  using store = createStore({ memoryMax: "8MiB" });
  const device = Zram.create(store, SIZE);
  device.write(0, Buffer.alloc(PAGE, "counted "));
  const before = store.stats();
  await store.uncounted(async () => {
    device.write(PAGE, Buffer.alloc(PAGE, "not counted "));
    await new Promise((resolve) => setImmediate(resolve));
    device.write(0, Buffer.alloc(PAGE, "not counted either "));
  });
  const after = store.stats();
  assert.deepEqual([after.counters, after.latency], [before.counters, before.latency]);
  assert.equal(after.persistent.pagesInMemory, 2);
  await assert.rejects(
    store.uncounted(() => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.equal(device.nextStored(1), 1);
  store.verify();
});
