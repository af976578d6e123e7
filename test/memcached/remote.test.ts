// A memcached server with a remote tier in memory: clients that wait, clients that do not, the
// order of replies, nodes that are down, the bound of the index, and the end.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { openItems } from "../../src/memcached/items/open.ts";
import type { MemcachedServer } from "../../src/memcached/server.ts";
import type { MemcachedSettings } from "../../src/memcached/settings.ts";
import { until } from "../doubles/engine_servers.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";
import { Client, portOf, startServer } from "./server_fixture.ts";

const MIB = 2 ** 20;
const OPTIONS = { timeout: 240_000 };
const ITEMS = 900;
const NAMES = Array.from({ length: ITEMS }, (_, nth) => `item${nth}`);
/** Noise, which does not become smaller. */
const valueAt = (nth: number) => {
  let state = nth + 1;
  return Array.from({ length: 2000 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return String.fromCharCode(97 + ((state >>> 16) % 26));
  }).join("");
};

const ends: (() => Promise<void>)[] = [];
after(async () => {
  for (const end of ends) await end();
});

interface Started {
  readonly server: MemcachedServer;
  readonly cluster: RemoteCluster;
  open(): Promise<Client>;
}

/** A server whose cluster works all the time, unless it is paused. */
async function start(settings: Partial<MemcachedSettings>): Promise<Started> {
  const cluster = new RemoteCluster({ seed: 1 });
  const remote = new RemoteDouble(cluster);
  const given = { memoryMax: MIB, itemBytesMax: MIB / 2, ...settings };
  const server = await startServer(given, { port: 0, host: "127.0.0.1" }, (...args) => {
    const [checked, events] = args;
    return openItems(checked, events, remote);
  });
  let isOver = false;
  const work = () => {
    for (let n = 0; n < 50 && cluster.step(); n++);
    if (!isOver) setImmediate(work);
  };
  work();
  const clients: Client[] = [];
  const end = async () => {
    for (const { socket } of clients) socket.destroy();
    await server.close();
    isOver = true;
  };
  ends.push(end);
  const open = async () => {
    const client = await Client.open({ port: portOf(server), host: "127.0.0.1" });
    clients.push(client);
    return client;
  };
  return { server, cluster, open };
}

/** Stores all items, of which most have to leave memory. */
async function fill({ server, open }: Started): Promise<void> {
  const client = await open();
  for (let from = 0; from < ITEMS; from += 20) {
    const some = NAMES.slice(from, from + 20);
    client.send(
      some.map((name, nth) => `set ${name} 7 0 2000\r\n${valueAt(from + nth)}\r\n`).join(""),
    );
    const replies = await client.until((text) => text.length >= (from + some.length) * 8);
    assert.equal(replies, "STORED\r\n".repeat(from + some.length));
    // Items that find no way out in time are forgotten.
    await until(async () => server.stats()["remote_in_transit"] === 0, "items have left");
  }
  client.socket.destroy();
  assert.ok(Number(server.stats()["pages_remote"]) > ITEMS / 10, JSON.stringify(server.stats()));
}

/** Checks the replies to gets of all items, in order. @returns how many were found */
function checkGets(text: string): number {
  let left = text;
  let found = 0;
  for (const [nth, name] of NAMES.entries()) {
    const hit = `VALUE ${name} 7 2000\r\n${valueAt(nth)}\r\nEND\r\n`;
    if (left.startsWith(hit)) {
      found++;
      left = left.slice(hit.length);
    } else {
      assert.ok(left.startsWith("END\r\n"), `the reply for ${name}: ${left.slice(0, 80)}`);
      left = left.slice(5);
    }
  }
  assert.equal(left, "MN\r\n");
  return found;
}

for (const threads of [1, 3]) {
  test(
    `${threads} thread(s): who asks for a remote item waits, others do not`,
    OPTIONS,
    async () => {
      const started = await start({ threads, shards: 1 });
      const { server, cluster, open } = started;
      await fill(started);
      const remoteItems = Number(server.stats()["pages_remote"]);
      cluster.isPaused = true;
      const waiting = await Promise.all([open(), open(), open(), open()]);
      const all = NAMES.map((name) => `get ${name}\r\n`).join("");
      for (const client of waiting) client.send(`${all}mn\r\n`);
      const other = await open();
      other.send("set own 0 0 2\r\nhi\r\nget own\r\nmn\r\n");
      const reply = await other.until((text) => text.endsWith("MN\r\n"));
      assert.equal(reply, "STORED\r\nVALUE own 0 2\r\nhi\r\nEND\r\nMN\r\n");
      cluster.isPaused = false;
      for (const client of waiting) {
        const text = await client.until((received) => received.endsWith("MN\r\n"));
        const found = checkGets(text);
        assert.ok(found >= remoteItems / 2, `${found} found, ${remoteItems} were remote`);
      }
      assert.ok(Number(server.stats()["remote_eph_pages_succ_get"]) > 0);
      assert.equal(server.cluster?.health, "up");
      await server.close();
      assert.deepEqual(cluster.names, [], "no record is left");
    },
  );
}

test("a node that is down: misses, and no client hangs", OPTIONS, async () => {
  const started = await start({ shards: 1 });
  const { cluster, open } = started;
  await fill(started);
  for (const nth of cluster.nodes.keys()) cluster.crash(nth);
  const client = await open();
  const all = NAMES.map((name) => `get ${name}\r\n`).join("");
  client.send(`${all}mn\r\n`);
  const fewer = checkGets(await client.until((text) => text.endsWith("MN\r\n")));
  for (const nth of cluster.nodes.keys()) cluster.restart(nth);
  const again = await open();
  again.send(`${all}mn\r\n`);
  const more = checkGets(await again.until((text) => text.endsWith("MN\r\n")));
  assert.ok(more > fewer, `${fewer} found while all nodes were down, ${more} afterwards`);
});

test("a client that goes away while it waits leaves nothing behind", OPTIONS, async () => {
  const started = await start({ shards: 1 });
  const { server, cluster, open } = started;
  await fill(started);
  cluster.isPaused = true;
  const client = await open();
  client.send(NAMES.map((name) => `get ${name}\r\n`).join(""));
  await until(async () => cluster.pending > 0, "a record is asked for");
  client.socket.destroy();
  // Nothing is read from a client that waits, so its end is seen after the answer.
  cluster.isPaused = false;
  await until(async () => server.connections === 0, "the connection has ended");
  const next = await open();
  next.send(`${NAMES.map((name) => `get ${name}\r\n`).join("")}mn\r\n`);
  checkGets(await next.until((text) => text.endsWith("MN\r\n")));
});

test("remote and persist can't be combined", async () => {
  const remote = new RemoteDouble(new RemoteCluster({ seed: 1 }));
  await assert.rejects(
    startServer({ persist: { path: "items" } }, { port: 0 }, (checked) =>
      openItems(checked, {}, remote),
    ),
    { code: "ERR_OPTION", message: /^persist: can't be combined with remote/ },
  );
});
