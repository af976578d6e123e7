// Sets by the kernel (memcached/plain_sets.as.ts) in a store with a remote tier: a set of a key
// whose item has left memory is left to the engine, with nothing changed; each set is counted once;
// replies to requests of which some wait are in order.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import { openValues } from "../../src/cache/engine.ts";
import { storeOptionsOf } from "../../src/cache/options.ts";
import { C } from "../../src/memcached/items/counters.ts";
import { Session } from "../../src/memcached/session.ts";
import type { ShardGroup } from "../../src/shard/shard_group.ts";
import { RemoteTier } from "../../src/store/remote_tier.ts";
import { stateOf } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";
import { EngineFixture } from "./fixture.ts";
import { itemShardsOf } from "./remote_simulation.ts";

/** With room in transit for 64 items, more than a test of one item stores. */
const MEMORY = 32 << 20;
const NO_ANSWER = "SERVER_ERROR other machines have not answered\r\n";

interface SideOptions {
  readonly isQuick: boolean;
  readonly evicts?: boolean;
}

/** One connection to an engine, whose items leave memory when `leave` is called. */
class Side {
  readonly cluster = new RemoteCluster({ seed: 1 });
  readonly fixture: EngineFixture;
  readonly session = new Session();
  /** Waits for other machines. */
  waits = 0;
  readonly #group: ShardGroup;
  readonly #tier: RemoteTier;

  constructor({ isQuick, evicts = true }: SideOptions) {
    const remote = new RemoteDouble(this.cluster);
    const options = storeOptionsOf({ memoryMax: MEMORY, shards: 1, codec: "lz4" });
    this.#group = openValues({ ...options, remote }, undefined, {
      front: "items",
      stays: !evicts,
    }).group;
    this.#tier = new RemoteTier(this.#group.stores.map(stateOf), remote);
    const itemShards = itemShardsOf(this.#group, new Xorshift32(1));
    this.fixture = new EngineFixture({ itemShards, isQuick });
  }

  async begin(): Promise<void> {
    await this.#tier.acquire();
  }

  get figures() {
    const { counters, remote } = this.#group.stats();
    return { counters, inTransit: remote!.in_transit };
  }

  /** Stores other items, so that a set needs no page frame, which the kernel does not take. */
  async warmUp(): Promise<void> {
    const all = Array.from({ length: 60 }, (_, nth) => setOf(`warm${nth}`, words(nth * 20 + 1)));
    assert.equal(await this.ask(all.join("")), "STORED\r\n".repeat(60));
  }

  /** Where page 0 of an item is. */
  whereIs(key: string): string {
    const { items } = this.fixture;
    const [values] = items.shards.values;
    const name = Buffer.from(key, "latin1");
    values!.has(name, name.length);
    const at = new TmemKey().setWords(values!.hashLow, values!.hashHigh, 0, 0);
    const found = this.#group.stores[0]!.explain(values!.pool, at);
    return found.stored ? found.where : found.reason;
  }

  /** Makes all items leave memory. @param isWhole false: they stay in transit */
  async leave(isWhole = true): Promise<void> {
    const [store] = this.#group.stores;
    while (store!.shrink(64) > 0) {
      if (!isWhole) return;
      await this.#work();
    }
    for (let n = 0; n < 100 && this.figures.inTransit > 0; n++) await this.#work();
    assert.equal(this.figures.inTransit, 0);
  }

  async #work(): Promise<void> {
    this.#tier.pump();
    await this.cluster.settle();
  }

  /** The whole reply to requests that arrive in one piece. */
  async ask(requests: string): Promise<string> {
    const { fixture, session } = this;
    const { engine } = fixture;
    fixture.items.tick(fixture.nowS * 1000);
    engine.begin();
    fixture.receiveBuffer.receivedCopy(session, Buffer.from(requests, "latin1"));
    while (engine.paused) {
      if (session.remote?.isPending === true) {
        this.waits++;
        const read = session.remote.read();
        for (let n = 0; n < 100 && session.remote.isPending; n++) await this.#work();
        await read;
      }
      engine.begin();
      fixture.receiveBuffer.resume(session);
    }
    assert.equal(session.pendingBytes, 0);
    return fixture.take().toString("latin1");
  }

  close(): void {
    this.#group.verify();
    this.#tier.stop();
    this.#group.detach();
  }
}

const setOf = (key: string, value: string) => `set ${key} 0 0 ${value.length}\r\n${value}\r\n`;
const hitOf = (key: string, value: string) =>
  `VALUE ${key} 0 ${value.length}\r\n${value}\r\nEND\r\n`;
const words = (bytes: number) => "the quick brown fox ".repeat(bytes / 20 + 1).slice(0, bytes);

for (const [where, isWhole] of [
  ["remote", true],
  ["in transit", false],
] as const) {
  test(`a set of an item that is ${where} is left to the engine, unchanged`, async () => {
    const side = new Side({ isQuick: true });
    await side.begin();
    const { fixture } = side;
    const { items } = fixture;
    await side.warmUp();
    await side.ask(setOf("a", words(900)) + setOf("b", words(300)));
    assert.ok(fixture.quickSets > 2, `${fixture.quickSets} by the kernel`);
    await side.leave(isWhole);
    await side.warmUp();
    assert.equal(side.whereIs("a"), where);

    let left = 0;
    const store = items.storeLines.bind(items);
    items.storeLines = (...asked) => {
      const [lines, from, , target] = asked;
      const isOfA = Buffer.from(lines.subarray(from, from + 6)).toString() === "set a ";
      const facts = () => [
        [...items.counts],
        target.at,
        items.shared.casNext,
        side.whereIs("a"),
        side.figures.counters,
        items.workBytes,
      ];
      const before = facts();
      const used = store(...asked);
      if (isOfA) {
        left++;
        assert.equal(used, 0);
        // The kernel compresses a value before it looks for its entry.
        const uncounted = (facts: unknown[]) =>
          JSON.stringify(facts, (name, value: unknown) =>
            name.startsWith("compressed_") ? undefined : value,
          );
        assert.equal(uncounted(facts()), uncounted(before));
        items.shards.group.verify();
      }
      return used;
    };
    assert.equal(await side.ask(setOf("a", "new")), "STORED\r\n");
    assert.equal(left, 1);
    assert.equal(side.whereIs("a"), "memory");
    assert.equal(await side.ask("get a\r\n"), hitOf("a", "new"));
    side.close();
  });
}

for (const isQuick of [true, false]) {
  test(`replies are in order, ${isQuick ? "with" : "without"} kernels`, async () => {
    const side = new Side({ isQuick });
    await side.begin();
    const value = words(900);
    const old = ["a", "b", "c", "d"].map((key) => setOf(key, `${key} ${value}`)).join("");
    assert.equal(await side.ask(old), "STORED\r\n".repeat(4));
    await side.leave();
    for (const key of ["a", "b", "c", "d"]) assert.equal(side.whereIs(key), "remote");
    await side.warmUp();
    const { counts } = side.fixture.items;
    const [sets, { quickSets }] = [counts[C.cmd_set]!, side.fixture];
    const batch = [
      [setOf("x", "1"), "STORED\r\n"],
      [setOf("y", "2"), "STORED\r\n"],
      [setOf("a", "3"), "STORED\r\n"],
      [setOf("z", "4"), "STORED\r\n"],
      // From here on the bytes are no longer those that the kernel takes values from.
      ["get b\r\n", hitOf("b", `b ${value}`)],
      ["get a c\r\n", hitOf("a", "3").replace("END\r\n", hitOf("c", `c ${value}`))],
      ["append d 0 0 1\r\n+\r\n", "STORED\r\n"],
      [setOf("x", "5"), "STORED\r\n"],
      ["get d\r\n", hitOf("d", `d ${value}+`)],
      ["set y 0 0 1 noreply\r\n6\r\n", ""],
      ["mg x v\r\n", "VA 1\r\n5\r\n"],
      ["get y\r\n", hitOf("y", "6")],
    ];
    const reply = await side.ask(batch.map(([request]) => request).join(""));
    assert.equal(reply, batch.map(([, expected]) => expected).join(""));
    assert.ok(side.waits >= 3, `${side.waits} requests have waited`);
    assert.equal(counts[C.cmd_set]! - sets, 7);
    const byKernel = side.fixture.quickSets - quickSets;
    assert.ok(byKernel >= (isQuick ? 3 : 0), `${byKernel} by the kernel`);
    side.close();
  });
}

test("a set that gets no answer is counted once, and a get behind it is not", async () => {
  const side = new Side({ isQuick: true, evicts: false });
  await side.begin();
  await side.ask(setOf("a", words(900)) + setOf("b", words(900)));
  await side.leave();
  const { counts } = side.fixture.items;
  assert.equal(counts[C.cmd_set], 2);
  for (const nth of side.cluster.nodes.keys()) side.cluster.crash(nth);
  assert.equal(await side.ask("append a 0 0 1\r\n+\r\n"), NO_ANSWER);
  assert.equal(counts[C.cmd_set], 3);
  for (const nth of side.cluster.nodes.keys()) side.cluster.restart(nth);
  await side.ask("get b\r\n");
  assert.equal(counts[C.cmd_set], 3);
  assert.equal(await side.ask("append b 0 0 1\r\n+\r\n"), "STORED\r\n");
  assert.equal(counts[C.cmd_set], 4);
  side.close();
});

const KEYS = 30;
const keys = fc.nat(KEYS - 1).map((nth) => `key:${nth}`);
const values = fc.constantFrom("", "1", words(90), words(700), words(3000), words(3900).repeat(3));
const request = fc.oneof(
  { arbitrary: fc.tuple(keys, values).map(([key, value]) => setOf(key, value)), weight: 8 },
  {
    arbitrary: fc
      .tuple(keys, values)
      .map(([key, value]) => `ms ${key} ${value.length} T60\r\n${value}\r\n`),
    weight: 3,
  },
  { arbitrary: keys.map((key) => `mg ${key} v c t s\r\n`), weight: 3 },
  { arbitrary: fc.tuple(keys, keys).map((some) => `gets ${some.join(" ")}\r\n`), weight: 2 },
  { arbitrary: keys.map((key) => `append ${key} 0 0 1\r\n+\r\n`), weight: 1 },
  { arbitrary: keys.map((key) => `add ${key} 0 0 1\r\n+\r\n`), weight: 1 },
  { arbitrary: keys.map((key) => `touch ${key} 50\r\n`), weight: 1 },
  { arbitrary: keys.map((key) => `delete ${key}\r\n`), weight: 1 },
);
/** Batches of requests, and whether all items leave memory before each. */
const batches = fc.array(
  fc.tuple(
    fc.array(request, { minLength: 10, maxLength: 25, size: "max" }),
    fc.boolean(),
    fc.boolean(),
  ),
  { minLength: 1, maxLength: 6 },
);
const EVERY_KEY = Array.from({ length: KEYS }, (_, nth) => setOf(`key:${nth}`, words(500))).join(
  "",
);

test("kernel and engine store alike where items are on other machines", async () => {
  let [stored, waits, remoteSets] = [0, 0, 0];
  await fc.assert(
    fc.asyncProperty(batches, async (all) => {
      const sides = [new Side({ isQuick: true }), new Side({ isQuick: false })] as const;
      for (const side of sides) {
        await side.begin();
        await side.ask(EVERY_KEY);
        await side.leave();
        await side.warmUp();
      }
      const before = sides[0].fixture.items.counts[C.cmd_set]!;
      for (const [requests, leaves, isWhole] of all) {
        if (leaves) for (const side of sides) await side.leave(isWhole);
        const isAway = (name: string) => ["remote", "in transit"].includes(sides[0].whereIs(name));
        for (const text of requests) {
          if (text.startsWith("set ") && isAway(text.split(" ")[1]!)) remoteSets++;
        }
        const replies = [];
        for (const side of sides) replies.push(await side.ask(requests.join("")));
        assert.equal(replies[0], replies[1]);
      }
      const [quick, slow] = sides.map(({ fixture }) => [...fixture.counters.own]);
      assert.deepEqual(quick, slow);
      const sent = all.flatMap(([requests]) => requests);
      const sets = sent.filter((text) => /^(set|ms|append|add) /.test(text)).length;
      assert.equal(sides[0].fixture.items.counts[C.cmd_set], before + sets);
      const items = sides.map(({ fixture }) => fixture.memory.items);
      assert.equal(items[0], items[1]);
      stored += sides[0].fixture.quickSets;
      waits += sides[0].waits;
      for (const side of sides) side.close();
    }),
    { numRuns: 40 },
  );
  assert.ok(stored > 200, `only ${stored} items were stored by the kernel`);
  assert.ok(remoteSets > 100, `only ${remoteSets} sets were of items on other machines`);
  assert.ok(waits > 50, `only ${waits} requests have waited`);
});
