// Failures of a cluster with three masters and three replicas: nodes that are killed, stopped or
// slow, slots that move, and records that nobody owns any more.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Remote } from "../../src/backing/remote_contract.ts";
import type { RemoteOptions } from "../../src/remote/options.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { slotOf } from "../../src/remote/slots.ts";
import {
  type EngineCluster,
  type EngineServer,
  noServers,
  startCluster,
  until,
} from "../doubles/engine_servers.ts";
import {
  assertFound,
  keyOf,
  listAll,
  PREFIX,
  recordOf,
  removeAll,
  upTo,
} from "./remote_fixture.ts";

/** Far longer than a failover takes, on a loaded machine too. */
const TIMEOUT_MS = 40_000;
const COUNT = 200;

describe("a cluster", { skip: noServers, timeout: 600_000 }, () => {
  let cluster: EngineCluster;
  let remote: Remote;
  let epoch: number;

  before(async () => {
    cluster = await startCluster({ masters: 3, replicas: 1 });
    remote = open();
    epoch = await remote.acquire();
  });

  after(async () => {
    await remote.close();
    await cluster.end();
  });

  function open(options: Partial<RemoteOptions> = {}): Remote {
    const { nodes } = cluster;
    const all = { nodes, prefix: PREFIX, copies: 2, timeoutMs: TIMEOUT_MS, leaseMs: 600_000 };
    return createRemote({ ...all, ...options });
  }

  const slotOfRecord = (nth: number) => slotOf(Buffer.from(keyOf(nth, epoch).run, "latin1"));
  const keys = (from = 0) => upTo(COUNT).map((nth) => keyOf(from + nth, epoch));

  async function putAll(from = 0): Promise<void> {
    const puts = await remote.put(upTo(COUNT).map((nth) => recordOf(from + nth, epoch)));
    assert.deepEqual(puts, new Array(COUNT).fill("stored"));
  }

  async function assertAll(from = 0): Promise<void> {
    const found = await remote.get(keys(from), true);
    for (const [nth, one] of found.entries()) assertFound(one, from + nth);
  }

  /** A killed server comes back as a replica. */
  async function revive(server: EngineServer): Promise<void> {
    await server.restart();
    await cluster.settled();
    await cluster.replicated();
  }

  test("a master is killed: no acknowledged record is lost, and requests go on", async () => {
    await putAll();
    const victim = await cluster.masterOf(slotOfRecord(0));
    const isReplaced = await cluster.killMaster(victim);
    const asked = [assertAll(), remote.get([keyOf(0, epoch)], true)] as const;
    const [first] = await asked[1];
    assertFound(first, 0);
    await asked[0];
    await isReplaced();
    await revive(victim);
    await putAll(1000);
    await assertAll(1000);
    assert.ok(remote.figures().nodes.some((node) => node.failures > 0));
    await assertAll();
    await until(async () => remote.figures().health === "up", "a cluster that is up");
  });

  test("a master is stopped: its replica is asked, and its old view is not believed", async () => {
    const victim = await cluster.masterOf(slotOfRecord(0));
    const others = cluster.servers.filter((one) => one !== victim);
    // Its slots have one node for as long as it is stopped.
    const single = open({ copies: 1, prefix: "single" });
    const own = await single.acquire();
    const nths = upTo(COUNT);
    victim.pause();
    try {
      // Within one request: the stopped node does not answer, its replica takes over.
      await assertAll();
      assert.notEqual(await masterSeenBy(others[0]!, slotOfRecord(0)), victim.port);
      const puts = await single.put(nths.map((nth) => recordOf(nth, own)));
      assert.deepEqual(puts, new Array(COUNT).fill("stored"));
    } finally {
      victim.resume();
    }
    for (let round = 0; round < 20; round++) {
      const found = await single.get(
        nths.map((nth) => keyOf(nth, own)),
        true,
      );
      for (const [nth, one] of found.entries()) assertFound(one, nth);
    }
    assert.equal(await removeAll(single), COUNT);
    await single.close();
    await cluster.settled();
    await cluster.replicated();
  });

  async function masterSeenBy(server: EngineServer, slot: number): Promise<number> {
    const ranges = (await server.command("CLUSTER", "SLOTS")) as readonly [
      number,
      number,
      unknown[],
    ][];
    const range = ranges.find(([first, last]) => slot >= first && slot <= last)!;
    return (range[2] as [string, number])[1];
  }

  test("a request that is not patient fails while a node is down, and others succeed", async () => {
    const alone = await startCluster({
      masters: 3,
      options: ["--cluster-require-full-coverage", "no"],
    });
    const options = { nodes: alone.nodes, prefix: PREFIX, leaseMs: 600_000, timeoutMs: 3000 };
    const client = createRemote(options);
    try {
      const own = await client.acquire();
      await client.put(upTo(100).map((nth) => recordOf(nth, own)));
      const victim = await alone.masterOf(slotOfRecord(0));
      await victim.kill();
      const wanted = upTo(100).map((nth) => keyOf(nth, own));
      const found = await client.get(wanted, false);
      const failed = found.filter((one) => one instanceof Error);
      assert.ok(failed.length > 0 && failed.length < 100, `${failed.length} failed`);
      for (const error of failed) assert.equal((error as { code?: string }).code, "ERR_REMOTE");
      const [patient] = await client.get([wanted[0]!], true);
      assert.ok(patient instanceof Error, "no node has the slot");
      assert.notEqual(client.figures().health, "up");
      const down = client.figures().nodes.find(({ address }) => address === victim.address)!;
      assert.ok(!down.isUp && down.failures > 0);
      // It comes back without its records: "missing", and the loss is reported.
      await victim.restart();
      await alone.settled();
      const [missing] = await client.get([wanted[0]!], true);
      assert.equal(missing, "missing");
      const isReported = async () => (client.figures().problem ?? "").includes(victim.address);
      await until(isReported, "the report of an emptied node");
    } finally {
      await client.close();
      await alone.end();
    }
  });

  test("without as many replicas as copies, a put is an error, and succeeds later", async () => {
    const slot = slotOfRecord(0);
    const master = await cluster.masterOf(slot);
    const replica = await cluster.replicaOf(master);
    await replica.kill();
    const impatient = open({ timeoutMs: 3000, prefix: "other" });
    try {
      const own = await impatient.acquire().catch((error: unknown) => error);
      // The lease may lie on the same node: then it is refused already.
      const [put] = typeof own === "number" ? await impatient.put([recordOf(0, own)]) : [own];
      assert.ok(put instanceof Error, String(put));
    } finally {
      await impatient.close();
      await revive(replica);
    }
    await putAll(3000);
  });

  test("slots that move: ASK, TRYAGAIN and MOVED are followed", async () => {
    const slot = slotOfRecord(0);
    const from = await cluster.masterOf(slot);
    const to = (await cluster.masters()).find((one) => one !== from)!;
    const before = remote.figures().redirections;
    await cluster.beginMove(slot, to);
    // New records of the slot go to the new owner, old ones are read from the old one.
    await assertAll();
    await putAll(4000);
    assert.deepEqual(await remote.put([recordOf(0, epoch), recordOf(1, epoch)]), [
      "stored",
      "stored",
    ]);
    await cluster.endMove(slot, to);
    await assertAll();
    await assertAll(4000);
    assert.ok(remote.figures().redirections > before);
    assert.deepEqual(await remote.remove([keyOf(3, epoch)]), ["done"]);
    assert.deepEqual(await remote.put([recordOf(3, epoch)]), ["stored"]);
  });

  test("records of all epochs are listed, and after a sweep the cluster is empty", async () => {
    const wanted = new Set<string>();
    for (const key of await listAll(remote)) wanted.add(key.name);
    assert.ok(wanted.size >= COUNT);
    const listing = await remote.list(undefined);
    assert.ok("keys" in listing);
    // In the middle of a listing a master fails: nothing is left out.
    const victim = await cluster.masterOf(slotOfRecord(0));
    await cluster.failover(victim);
    const seen = new Set(listing.keys.map(({ name }) => name));
    for (let cursor = listing.cursor; cursor !== undefined; ) {
      const page = await remote.list(cursor);
      if (page instanceof Error) continue;
      for (const { name } of page.keys) seen.add(name);
      cursor = page.cursor;
    }
    for (const name of wanted) assert.ok(seen.has(name), name);
    await remote.close();
    remote = open();
    const next = await remote.acquire();
    assert.ok(next > epoch);
    assert.ok((await removeAll(remote)) >= COUNT);
    await remote.close();
    // What is left ends by itself: the epoch, and the markers.
    for (const master of await cluster.masters()) {
      for (const key of (await master.command("KEYS", `${PREFIX}:*`)) as string[]) {
        assert.match(key, /:(m:|\{lease\}:epoch)/);
        assert.ok(Number(await master.command("PTTL", key)) > 0, key);
      }
    }
  });
});
