// Values of a store with a remote tier: the bound of their index, and values of many chunks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openValues } from "../../src/cache/engine.ts";
import { random32 } from "../../src/node/platform.ts";
import { RemoteWait } from "../../src/store/remote_arrivals.ts";
import { RemoteTier } from "../../src/store/remote_tier.ts";
import { RemoteTrim, remoteEntriesMax } from "../../src/store/remote_trim.ts";
import { stateOf } from "../../src/store/store.ts";
import { useRemote } from "../../src/values/remote_values.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";

async function open(memoryMax: number) {
  const cluster = new RemoteCluster({ seed: 1 });
  const remote = new RemoteDouble(cluster, { batchMax: 128 });
  const settings = { content: "values", memoryMax, shards: 1, remote } as const;
  const { group } = openValues(settings, undefined, { front: "", stays: false });
  const store = group.stores[0]!;
  const values = new Values(store, () => 0, random32);
  const tier = new RemoteTier([stateOf(store)], remote);
  await tier.acquire();
  const request = new SetRequest();
  const set = (name: string, value: Uint8Array) => {
    request.key = Buffer.from(name);
    request.keyBytes = name.length;
    request.value = value;
    request.valueBytes = value.length;
    return values.set(request);
  };
  const pump = async () => {
    tier.pump();
    await cluster.settle();
  };
  return { cluster, store, values, tier, set, pump };
}

/** Noise, which does not become smaller. */
function noise(seed: number, bytes: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: bytes }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 16;
  });
}

test("entries of values that the cluster may have dropped do not fill the memory", async () => {
  const { store, tier, set, pump } = await open(2 ** 20);
  const trim = new RemoteTrim(tier);
  const most = remoteEntriesMax(stateOf(store));
  const value = noise(1, 1500);
  for (let nth = 0; nth < 2 * most; nth++) {
    assert.equal(set(`key${nth}`, value), 0);
    if (nth % 4 !== 0) continue;
    await pump();
    trim.step();
  }
  trim.step();
  const { ephemeral, memory } = store.stats();
  assert.ok(ephemeral.pagesRemote > most * 0.8, `${ephemeral.pagesRemote} of ${most} are used`);
  assert.ok(ephemeral.pagesRemote <= most, `${ephemeral.pagesRemote} are more than ${most}`);
  assert.ok(memory.index < 2 ** 20 * 0.55, `the index takes ${memory.index} bytes`);
  assert.ok(ephemeral.pagesInMemory > 100, "values have room beside it");
  store.verify();
  tier.stop();
});

test("all chunks of a value are read together", async () => {
  const { cluster, store, values, tier, set, pump } = await open(2 ** 21);
  const value = noise(7, 100_000);
  assert.equal(set("long", value), 0);
  while (store.stats().ephemeral.pagesInMemory > 0) {
    store.shrink(8);
    await pump();
  }
  await pump();
  assert.equal(store.stats().ephemeral.pagesRemote, store.stats().remote!.orphans + 25);
  const wait = new RemoteWait(useRemote([values])!);
  const key = Buffer.from("long");
  let rounds = 0;
  for (;;) {
    try {
      assert.ok(values.find(key, key.length));
      assert.deepEqual(values.read(key, key.length), value);
      break;
    } catch (error) {
      assert.equal((error as { code?: string }).code, "ERR_REMOTE_PAGE");
      assert.ok(wait.addWanted());
      await cluster.until(wait.read());
      rounds++;
    }
  }
  assert.equal(rounds, 2, "the first page, then all others");
  wait.release();
  tier.stop();
});
