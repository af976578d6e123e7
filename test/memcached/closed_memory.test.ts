// The memory of a server that is closed while the process goes on: it goes back to the system, also
// if the server had several threads, which stay until the process ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { KIB, MIB } from "../../src/base/units.ts";
import { openItems } from "../../src/memcached/items/open.ts";
import { residentBytes, whyNotReturned } from "../doubles/resident.ts";
import { Client, noise, portOf, set, startServer } from "./server_fixture.ts";

const skip = whyNotReturned() ?? false;
const VALUE_BYTES = 400_000;
const VALUES = 40;

for (const [nth, [threads, shards, gracefully]] of (
  [
    [1, 1, true],
    [3, 1, true],
    [3, 3, true],
    [2, 3, false],
  ] as const
).entries()) {
  const how = gracefully ? "gracefully" : "at once";
  test(`a server of ${threads} thread(s) and ${shards} shard(s) is closed ${how}`, {
    skip,
  }, async () => {
    let sizes: number[] = [];
    const server = await startServer(
      // A size that no other mapping has.
      { memoryMax: 40 * MIB + (64 + nth) * 192 * KIB, threads, shards, dictionary: false },
      { host: "127.0.0.1", port: 0 },
      (...args) => {
        const opened = openItems(...args);
        sizes = opened.shards.group.stores.map(({ arena }) => arena.bytes.length);
        return opened;
      },
    );
    // Threads accept in turns: several clients meet several of them.
    const clients = await Promise.all(
      Array.from({ length: 4 }, () => Client.open({ port: portOf(server), host: "127.0.0.1" })),
    );
    const value = noise(1, VALUE_BYTES);
    for (let at = 0; at < VALUES; at++) {
      const answer = await clients[at % clients.length]!.ask(set(`key:${at}`, value));
      assert.equal(answer, "STORED\r\n");
    }
    const full = residentBytes(sizes);
    assert.ok(full > (VALUES * VALUE_BYTES) / 2, `${full} bytes are resident`);
    await server.close(gracefully);
    // Sockets that are closing may still read into the memory.
    const left = residentBytes(sizes);
    assert.ok(left < 2 * MIB, `${left} bytes are resident`);
    await server.close();
    for (const client of clients) client.close();
  });
}
