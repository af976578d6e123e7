// One suite for all implementations of the remote tier's contract: the double, one server, and a
// cluster with replicas.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { Remote } from "../../src/backing/remote_contract.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { noServers, startCluster, startNode } from "../doubles/engine_servers.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";
import { assertFound, keyOf, listAll, PREFIX, recordOf, upTo } from "./remote_fixture.ts";

interface Implementation {
  /** Another client of the same servers. */
  readonly open: () => Remote;
  /** Lets a call come to its end. */
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
  readonly end: () => Promise<void>;
}

interface Case {
  readonly name: string;
  readonly skip: string | false;
  readonly start: () => Promise<Implementation>;
}

const TIMEOUT_MS = 20_000;

const CASES: readonly Case[] = [
  {
    name: "the double",
    skip: false,
    start: async () => {
      const cluster = new RemoteCluster({ seed: 1 });
      return {
        open: () => new RemoteDouble(cluster, { copies: 2 }),
        until: (promise) => cluster.until(promise),
        end: async () => {},
      };
    },
  },
  {
    name: "one server",
    skip: noServers,
    start: async () => {
      const server = await startNode();
      const nodes = [server.address];
      return {
        open: () => createRemote({ nodes, prefix: PREFIX, timeoutMs: TIMEOUT_MS }),
        until: (promise) => promise,
        end: () => server.end(),
      };
    },
  },
  {
    name: "a cluster",
    skip: noServers,
    start: async () => {
      const cluster = await startCluster({ masters: 3, replicas: 1 });
      const options = { nodes: cluster.nodes, prefix: PREFIX, timeoutMs: TIMEOUT_MS, copies: 2 };
      return {
        open: () => createRemote(options),
        until: (promise) => promise,
        end: () => cluster.end(),
      };
    },
  },
];

for (const { name, skip, start } of CASES) {
  describe(name, { skip, timeout: 120_000 }, () => {
    let implementation: Promise<Implementation> | undefined;
    const remotes: Remote[] = [];
    const open = async () => {
      implementation ??= start();
      const { open: make, until } = await implementation;
      const remote = make();
      remotes.push(remote);
      return { remote, until };
    };
    after(async () => {
      for (const remote of remotes) await remote.close();
      await (await implementation)?.end();
    });

    test("records are put, read, removed and listed", async () => {
      const { remote, until } = await open();
      assert.equal(remote.epoch, 0);
      const epoch = await remote.acquire();
      assert.equal(remote.epoch, epoch);
      const count = Math.min(100, remote.batchMax);
      const puts = await until(remote.put(upTo(count).map((nth) => recordOf(nth, epoch))));
      assert.deepEqual(puts, new Array(count).fill("stored"));
      const keys = upTo(count).map((nth) => keyOf(nth, epoch));
      for (const [nth, found] of (await until(remote.get(keys, true))).entries()) {
        assertFound(found, nth);
      }
      assert.deepEqual(await until(remote.remove([keys[7]!])), ["done"]);
      const gone = await until(remote.get([keys[7]!, keyOf(5, epoch - 1)], true));
      assert.deepEqual(gone, ["missing", "missing"]);
      assert.deepEqual(await until(remote.remove([keys[8]!, keys[7]!])), ["done", "done"]);
      const listed = (await listAll(remote, until)).map((key) => key.name).sort();
      const wanted = upTo(count).filter((nth) => nth !== 7 && nth !== 8);
      assert.deepEqual(listed, wanted.map((nth) => keyOf(nth, epoch).name).sort());
      assert.equal(remote.figures().health, "up");
      assert.equal(remote.figures().problem, undefined);
      await remote.close();
    });

    test("the data of a put is read at once", async () => {
      const { remote, until } = await open();
      const epoch = await remote.acquire();
      const record = recordOf(30, epoch);
      const put = remote.put([record]);
      record.data.fill(0);
      assert.deepEqual(await until(put), ["stored"]);
      const [found] = await until(remote.get([record.key], true));
      assertFound(found, 30);
      await remote.close();
    });

    test("one owner at a time, and each epoch is larger", async () => {
      const { remote: one } = await open();
      const { remote: two } = await open();
      const first = await one.acquire();
      await assert.rejects(two.acquire(), { code: "ERR_REMOTE_OWNED" });
      assert.equal(two.epoch, 0);
      await one.close();
      assert.equal(one.epoch, 0);
      assert.ok((await two.acquire()) > first);
      await two.close();
    });

    test("without a lease, each call answers ERR_REMOTE", async () => {
      const { remote } = await open();
      const results = [
        ...(await remote.put([recordOf(1, 1)])),
        ...(await remote.get([keyOf(1, 1)], true)),
        ...(await remote.remove([keyOf(1, 1)])),
        await remote.list(undefined),
      ];
      assert.equal(results.length, 4);
      for (const result of results) {
        assert.ok(result instanceof Error && "code" in result && result.code === "ERR_REMOTE");
      }
    });

    test("records of an earlier owner are read by the next one", async () => {
      const { remote: one, until } = await open();
      const epoch = await one.acquire();
      await until(one.put([recordOf(50, epoch)]));
      await one.close();
      const { remote: two } = await open();
      await two.acquire();
      const [found] = await until(two.get([keyOf(50, epoch)], true));
      assertFound(found, 50);
      await two.close();
    });
  });
}
