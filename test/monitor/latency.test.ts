// Latency of requests: one of sixty-four is measured, on any thread, by kind.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SampledTimes } from "../../src/base/sampled_times.ts";
import { startNbdServer, Zram } from "../../src/nbd/index.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { createStore } from "../../src/node/stores.ts";
import { NbdClient } from "../doubles/nbd_client.ts";
import { startMemcached } from "./fixture.ts";

const total = (buckets: readonly (readonly [number, number])[]) =>
  buckets.reduce((sum, [, count]) => sum + count, 0);

test("one of sixty-four is measured, by kind, over all threads", () => {
  const memory = SampledTimes.memory(2);
  const [one, other] = [new SampledTimes(memory), new SampledTimes(memory)];
  let begun = 0;
  for (let nth = 0; nth < 640; nth++) if (one.begin() !== 0) begun++;
  assert.equal(begun, 10);
  one.end(0, performance.now() - 1);
  other.end(0, performance.now() - 20);
  other.end(1, performance.now() - 20);
  assert.deepEqual([total(one.buckets(0)), total(one.buckets(1))], [2, 1]);
  const [[fast], [slow]] = one.buckets(0) as [[number, number], [number, number]];
  assert.ok(fast >= 1e6 && fast < 20e6 && slow >= 20e6, `${fast} and ${slow} ns`);
});

test("NBD reads and writes are measured from head to reply", async () => {
  const folder = mkdtempSync(join(tmpdir(), "zcache-times-"));
  const path = join(folder, "s");
  const store = createStore({ memoryMax: "16MiB" });
  const device = Zram.create(store, 2 ** 20);
  const server = await startNbdServer(store, {
    exports: [{ device }],
    listen: [{ path }],
    threads: 1,
    connectionsMax: 2,
  });
  const client = await NbdClient.open(path);
  const page = Buffer.alloc(4096, 7);
  for (let nth = 0; nth < 64 * 2; nth++)
    await client.request(Command.WRITE, 0, 4096, { data: page });
  for (let nth = 0; nth < 64 * 3; nth++) await client.request(Command.READ, 0, 4096);
  const { read, write, other } = server.latencies();
  assert.deepEqual([total(read), total(write), total(other)], [3, 2, 0]);
  assert.ok(read.every(([upToNs]) => upToNs > 100 && upToNs < 10e9));
  client.socket.destroy();
  await server.close();
  store.close();
  rmSync(folder, { recursive: true });
});

test("memcached measures the commands of one read from a socket", async () => {
  const memcached = await startMemcached();
  for (let nth = 0; nth < 128; nth++) await memcached.client.ask("mn\r\n", "MN\r\n");
  assert.equal(total(memcached.server.latency()), 2);
  const { latency } = memcached.monitor.picture();
  assert.equal(total(latency["request_batch"]!), 2);
  await memcached.close();
});
