// The servers that the tests of the remote tier use.
import assert from "node:assert/strict";
import { test } from "node:test";
import { noServers, startCluster, startNode } from "../doubles/engine_servers.ts";

const options = { skip: noServers, timeout: 120_000 };

test("one server, killed and started again, is empty", options, async () => {
  const server = await startNode();
  try {
    assert.equal(await server.command("SET", "a", "1"), "OK");
    assert.equal(await server.command("GET", "a"), "1");
    await server.restart();
    assert.equal(await server.command("GET", "a"), null);
  } finally {
    await server.end();
  }
});

test("a cluster: a failover keeps keys, a moved slot keeps them too", options, async () => {
  const cluster = await startCluster({ masters: 3, replicas: 1 });
  try {
    assert.equal((await cluster.masters()).length, 3);
    // The slot of "foo".
    const slot = 12182;
    const old = await cluster.masterOf(slot);
    assert.equal(await old.command("SET", "foo", "1"), "OK");
    await cluster.replicated();
    await cluster.failover(old);
    const next = await cluster.masterOf(slot);
    assert.notEqual(next.port, old.port);
    assert.equal(await next.command("GET", "foo"), "1");
    await old.restart();
    await cluster.replicated();
    const other = (await cluster.masters()).find(({ port }) => port !== next.port)!;
    await cluster.moveSlot(slot, other);
    assert.equal(await other.command("GET", "foo"), "1");
    await assert.rejects(next.command("GET", "foo"), /MOVED 12182/);
    assert.equal(await cluster.keyCount(), 1);
  } finally {
    await cluster.end();
  }
});
