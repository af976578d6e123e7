// The double of the remote tier does what the contract says, and fails as it is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RemoteKey, RemoteRecord } from "../../src/backing/remote_contract.ts";
import { NO_REMOTE_FAULTS, RemoteCluster, RemoteDouble } from "../doubles/remote.ts";

const keyOf = (nth: number, epoch = 1): RemoteKey => ({
  epoch,
  run: `1.${nth}.0`,
  name: `0.${nth}`,
});

function recordOf(nth: number, isPersistent = true): RemoteRecord {
  const data = Uint8Array.from({ length: 10 }, (_, i) => nth + i);
  return {
    key: keyOf(nth),
    prefixBytes: 0,
    codec: "lz4",
    dictionary: 0,
    plainBytes: 4096,
    data,
    isPersistent,
  };
}

const upTo = (count: number) => Array.from({ length: count }, (_, nth) => nth);

test("records are put, read, removed and listed", async () => {
  const cluster = new RemoteCluster({ seed: 1 });
  const remote = new RemoteDouble(cluster);
  assert.equal(await remote.acquire(), 1);
  const puts = await cluster.until(remote.put(upTo(30).map((nth) => recordOf(nth))));
  assert.ok(puts.every((result) => result === "stored"));
  const [found] = await cluster.until(remote.get([keyOf(7)], true));
  assert.ok(typeof found === "object" && "data" in found && found.data[0] === 7);
  await cluster.until(remote.remove([keyOf(7)]));
  assert.deepEqual(await cluster.until(remote.get([keyOf(7), keyOf(99)], true)), [
    "missing",
    "missing",
  ]);
  await cluster.until(remote.remove([keyOf(8)]));
  const listed: string[] = [];
  for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
    const page = await cluster.until(remote.list(cursor));
    assert.ok("keys" in page);
    listed.push(...page.keys.map(({ name }) => name));
    cursor = page.cursor;
  }
  assert.deepEqual(
    listed.sort(),
    upTo(30)
      .filter((nth) => nth !== 7 && nth !== 8)
      .map((nth) => `0.${nth}`)
      .sort(),
  );
});

test("a failover loses no record that two copies have acknowledged", async () => {
  let lost = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const cluster = new RemoteCluster({ seed, nodes: 1 });
    const two = new RemoteDouble(cluster, { copies: 2 });
    await two.acquire();
    await cluster.until(two.put([recordOf(1)]));
    const one = new RemoteDouble(cluster);
    two.loseLease();
    await one.acquire();
    await cluster.until(one.put([recordOf(2)]));
    cluster.failOver(0);
    const [first, second] = await cluster.until(one.get([keyOf(1), keyOf(2)], true));
    assert.ok(typeof first === "object");
    if (second === "missing") lost++;
  }
  assert.ok(lost > 0 && lost < 20, "a record that one node has acknowledged may be lost");
});

test("faults happen, and the same seed gives the same run", async () => {
  const runs = [3, 3].map(async (seed) => {
    const faults = { loseRequest: 5, loseAnswer: 5, duplicate: 5, damage: 5, full: 5 };
    const cluster = new RemoteCluster({ seed, faults });
    const remote = new RemoteDouble(cluster);
    await remote.acquire();
    const results: unknown[] = [];
    for (const nth of upTo(50)) {
      results.push(...(await cluster.until(remote.put([recordOf(nth)]))).map(String));
      results.push(...(await cluster.until(remote.get([keyOf(nth)], true))).map(String));
    }
    await cluster.settle();
    return { results, tally: cluster.tally, names: cluster.names };
  });
  const [first, second] = await Promise.all(runs);
  assert.deepEqual(first, second);
  for (const fault of Object.keys(NO_REMOTE_FAULTS)) assert.ok(first!.tally[fault]! > 0, fault);
});

test("one owner at a time; without a lease nothing is sent", async () => {
  const cluster = new RemoteCluster({ seed: 4, recordsMax: 1, nodes: 1 });
  const [one, two] = [new RemoteDouble(cluster), new RemoteDouble(cluster)];
  await one.acquire();
  await assert.rejects(two.acquire(), { code: "ERR_REMOTE_OWNED" });
  const puts = await cluster.until(one.put([recordOf(1), recordOf(2)]));
  assert.deepEqual([...puts].sort(), ["full", "stored"]);
  one.loseLease();
  const [refused] = await one.get([keyOf(1)], true);
  assert.ok(refused instanceof Error);
  assert.equal(await two.acquire(), 2);
  cluster.crash(0);
  const [down] = await cluster.until(two.get([keyOf(1)], true));
  assert.ok(down instanceof Error && down.message.includes("down"));
  cluster.restart(0);
  cluster.empty();
  assert.deepEqual(await cluster.until(two.get([keyOf(1)], true)), ["missing"]);
});
