// A cache whose values several machines share: here several caches of one process, over one server
// or a cluster.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { after, test } from "node:test";
import * as fc from "fast-check";
import { Cache, type CacheOptions } from "../../src/index.ts";
import { encodeRecord } from "../../src/remote/record.ts";
import { slotOf } from "../../src/remote/slots.ts";
import {
  type EngineServer,
  noServers,
  startCluster,
  startNode,
  until,
} from "../doubles/engine_servers.ts";

const OPTIONS = { skip: noServers, timeout: 120_000 };
const caches: Cache<string, unknown>[] = [];
const ends: (() => unknown)[] = [];
after(async () => {
  for (const cache of caches) cache.close();
  for (const end of ends) await end();
});

function open(nodes: readonly string[], options: CacheOptions = {}): Cache<string, unknown> {
  const remote = { nodes, prefix: "fleet", mode: "shared", timeoutMs: 20_000 } as const;
  const cache = Cache.create<string, unknown>({ memoryMax: "16MiB", remote, ...options });
  caches.push(cache);
  return cache;
}

async function start(...options: string[]): Promise<EngineServer> {
  const server = await startNode(options);
  ends.push(() => server.end());
  return server;
}

/** The token in the names of all values. */
async function tokenOf(server: EngineServer): Promise<string> {
  return String(await server.command("GET", "fleet:vclears"));
}

/** Stores bytes under a key of a server. */
class Writer {
  readonly #socket: Socket;

  constructor(server: EngineServer) {
    this.#socket = connect(server.port, "127.0.0.1");
  }

  async set(key: string, bytes: Buffer): Promise<void> {
    const head = `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${bytes.length}\r\n`;
    this.#socket.write(Buffer.concat([Buffer.from(head), bytes, Buffer.from("\r\n")]));
    const [answer] = (await once(this.#socket, "data")) as [Buffer];
    assert.equal(String(answer), "+OK\r\n");
  }

  end(): void {
    this.#socket.destroy();
  }
}

const VALUES: readonly unknown[] = [
  "text, text, text, text, text, text, text, text",
  "ümläut 漢字 🎉",
  "",
  Uint8Array.from({ length: 300 }, (_, at) => (at * at) & 255),
  new Uint8Array(0),
  Buffer.from("a buffer"),
  { list: [1, 2n, null], date: new Date(0), map: new Map([["a", 1]]) },
  42,
  "long ".repeat(100_000),
  { rows: Array.from({ length: 5000 }, (_, nth) => ({ nth, name: `row ${nth}` })) },
];

test("what one machine stores, another one reads: any value, compressed", OPTIONS, async () => {
  const server = await start();
  const one = open([server.address]);
  for (const tiers of [true, false]) {
    const two = open([server.address], tiers ? {} : { codec: "zstd", pageSize: 4096 });
    for (const [nth, value] of VALUES.entries()) {
      await one.setAsync(`key ${nth}`, value);
      assert.equal(two.get(`key ${nth}`), undefined);
      assert.deepEqual(await two.getAsync(`key ${nth}`), value);
      // A copy is here now.
      assert.deepEqual(two.get(`key ${nth}`), value);
      assert.deepEqual(one.get(`key ${nth}`), value);
    }
    assert.equal(await two.getAsync("nothing"), undefined);
  }
  const keys = (await server.command("KEYS", "fleet:v*:{*")) as string[];
  assert.equal(keys.length, VALUES.length);
  for (const key of keys) assert.ok(Number(await server.command("PTTL", key)) > 0, "a TTL");
  const long = keys.find((key) => key.endsWith("key 8"))!;
  assert.ok(Number(await server.command("STRLEN", long)) < 10_000, "compressed");
});

test("sets and deletes of one machine reach the copies of the others", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  await one.setAsync("a", "first");
  assert.equal(await two.getAsync("a"), "first");
  for (let round = 0; round < 200; round++) {
    const [writer, reader] = round % 2 === 0 ? [one, two] : [two, one];
    const value = `round ${round} `.repeat(10);
    await writer.setAsync("a", value);
    await reader.fleet!.shared.sync();
    assert.equal(await reader.getAsync("a"), value);
    // A machine keeps its copy of what it has written itself.
    assert.equal(writer.get("a"), value);
  }
  assert.equal(await one.deleteAsync("a"), true);
  await two.fleet!.shared.sync();
  assert.equal(two.get("a"), undefined);
  assert.equal(await two.getAsync("a"), undefined);
  // Without waiting: sets of one key reach the cluster in their order.
  for (let nth = 0; nth < 100; nth++) one.set("b", `value ${nth}`);
  await one.setAsync("b", "last");
  assert.equal(await two.getAsync("b"), "last");
  one.set("b", undefined);
  await one.deleteAsync("other");
  await until(async () => (await two.getAsync("b")) === undefined, "the deletion");
});

test("one load for a key over all machines; an error is the caller's", OPTIONS, async () => {
  const server = await start();
  const all = [1, 2, 3, 4].map(() => open([server.address]));
  let loads = 0;
  const loader = async (key: string) => {
    loads++;
    await new Promise((resolve) => setTimeout(resolve, 20));
    return { key, text: "loaded ".repeat(20) };
  };
  const keys = Array.from({ length: 25 }, (_, nth) => `doc ${nth}`);
  const fetched = await Promise.all(
    all.flatMap((cache) => keys.map((key) => cache.fetch(key, loader))),
  );
  assert.equal(loads, keys.length);
  for (const [nth, value] of fetched.entries()) {
    assert.equal((value as { key: string }).key, keys[nth % keys.length]);
  }
  for (const cache of all) {
    // Messages of the loads of other machines remove copies until they are known here.
    await cache.fleet!.shared.sync();
    for (const key of keys) await cache.fetch(key, loader);
    for (const key of keys) assert.notEqual(cache.get(key), undefined, "a copy in each");
  }
  assert.equal(loads, keys.length);
  await assert.rejects(
    all[0]!.fetch("bad", async () => {
      throw new Error("no such document");
    }),
    /no such document/,
  );
  assert.equal(await all[1]!.fetch("bad", async () => "good"), "good");
  assert.equal(await all[2]!.fetch("bad", loader, { forceRefresh: true }).then(() => 1), 1);
  await all[1]!.fleet!.shared.sync();
  assert.notEqual(await all[1]!.getAsync("bad"), "good");
});

test("a machine keeps copies of what it has loaded", OPTIONS, async () => {
  const server = await start();
  const cache = open([server.address]);
  // The first machine of a prefix makes the token in its names while it loads.
  for (const round of ["first", "second"]) {
    const keys = Array.from({ length: 25 }, (_, nth) => `${round} ${nth}`);
    await Promise.all(keys.map((key) => cache.fetch(key, async () => `value of ${key}`)));
    // A copy may be refused because another key with the same version counter has changed.
    const copies = keys.filter((key) => cache.get(key) === `value of ${key}`);
    assert.ok(copies.length > keys.length / 2, `${copies.length} copies`);
  }
});

test("a load that all callers have given up is not stored", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  const giveUp = new AbortController();
  const ended = new Promise<void>((resolve) => {
    const loaded = one.fetch(
      "key",
      async (_, { signal }) => {
        const isAborted = once(signal, "abort");
        giveUp.abort();
        await isAborted;
        setImmediate(resolve);
        return "given up";
      },
      { signal: giveUp.signal },
    );
    loaded.catch(() => undefined);
  });
  await ended;
  assert.equal(await two.fetch("key", async () => "loaded anew"), "loaded anew");
  assert.equal(await one.getAsync("key"), "loaded anew");
});

test("a change during a load wins over what was loaded", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  for (const change of ["set", "delete"]) {
    let begun = () => {};
    const isBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    let end = (_: string) => {};
    const loaded = one.fetch(change, () => {
      begun();
      return new Promise<string>((resolve) => {
        end = resolve;
      });
    });
    await isBegun;
    if (change === "set") await two.setAsync(change, "newer");
    else await two.deleteAsync(change);
    end("older");
    assert.equal(await loaded, "older");
    const wanted = change === "set" ? "newer" : undefined;
    for (const cache of [one, two]) assert.equal(await cache.getAsync(change), wanted);
  }
});

test("dictionaries travel too", OPTIONS, async () => {
  const server = await start();
  const [one, two, three] = [
    open([server.address]),
    open([server.address]),
    open([server.address]),
  ];
  const documentOf = (nth: number) => ({
    id: nth,
    kind: "invoice",
    customer: `customer ${nth % 7}`,
    lines: [nth, nth * 3, nth ^ 91],
  });
  for (let nth = 0; nth < 1500; nth++) one.set(`d${nth}`, documentOf(nth));
  await one.train();
  // Another machine has a dictionary of its own.
  for (let nth = 0; nth < 1500; nth++) three.set(`e${nth}`, { ...documentOf(nth), other: "field" });
  await three.train();
  assert.ok(one.stats().dictionary > 0 && three.stats().dictionary > 0);
  for (let nth = 0; nth < 200; nth++) await one.setAsync(`d${nth}`, documentOf(nth));
  assert.ok(((await server.command("KEYS", "fleet:d:*")) as string[]).length > 0);
  for (let nth = 0; nth < 200; nth++) {
    assert.deepEqual(await two.getAsync(`d${nth}`), documentOf(nth));
    assert.deepEqual(await three.getAsync(`d${nth}`), documentOf(nth));
  }
  assert.ok(two.stats().dictionary > 0, "it took the dictionary over");
});

test("after a lost connection no copy is returned that can't be trusted", OPTIONS, async () => {
  const server = await start();
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const upstream = connect(server.port, "127.0.0.1");
    sockets.add(client);
    client.pipe(upstream).pipe(client);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on("error", () => undefined);
      from.on("close", () => to.destroy());
    }
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  ends.push(() => proxy.close());
  const behind = open([`127.0.0.1:${(proxy.address() as { port: number }).port}`]);
  const direct = open([server.address]);
  await direct.setAsync("a", "old");
  assert.equal(await behind.getAsync("a"), "old");
  for (const socket of sockets) socket.destroy();
  await direct.setAsync("a", "new");
  await until(async () => behind.get("a") === undefined, "no copies");
  assert.equal(await behind.getAsync("a"), "new");
  assert.equal(behind.get("a"), "new");
  await direct.setAsync("a", "newer");
  await behind.fleet!.shared.sync();
  assert.equal(await behind.getAsync("a"), "newer");
});

test("without a cluster: misses, own loads, and errors of writes", OPTIONS, async () => {
  const server = await start();
  const remote = {
    nodes: [server.address],
    prefix: "gone",
    mode: "shared",
    timeoutMs: 500,
  } as const;
  const cache = open([], { remote });
  const faults: string[] = [];
  cache.on("fault", (error) => faults.push(error.code));
  await cache.setAsync("a", "here");
  await server.kill();
  await until(async () => cache.get("a") === undefined, "no copies");
  assert.equal(await cache.getAsync("a"), undefined);
  assert.equal(await cache.fetch("a", async () => "loaded"), "loaded");
  assert.equal(cache.get("a"), undefined, "nobody would tell of a change");
  await assert.rejects(cache.setAsync("a", "b"), { code: "ERR_REMOTE" });
  assert.equal(cache.get("a"), undefined);
  cache.set("c", "d");
  await until(async () => cache.get("c") === undefined, "what can't be sent does not stay");
  assert.ok(faults.length >= 3 && faults.every((code) => code === "ERR_REMOTE"));
  await server.restart();
  const isBack = async () => {
    await cache.setAsync("a", "back").catch(() => false);
    // The copy goes once more if an old connection ends only now.
    return cache.get("a") === "back";
  };
  await until(isBack, "the cluster");
  assert.equal(await cache.getAsync("a"), "back");
});

test("a cluster: failover and moved slots leave no old copy", OPTIONS, async () => {
  const cluster = await startCluster({ masters: 3, replicas: 1 });
  ends.push(() => cluster.end());
  const [one, two] = [open(cluster.nodes), open(cluster.nodes)];
  const keys = Array.from({ length: 60 }, (_, nth) => `k${nth}`);
  const writeAll = async (value: string) => {
    for (const key of keys) await one.setAsync(key, `${value} ${key}`);
    await two.fleet!.shared.sync();
    for (const key of keys) assert.equal(await two.getAsync(key), `${value} ${key}`);
    for (const key of keys) assert.equal(two.get(key), `${value} ${key}`);
  };
  await writeAll("first");
  await cluster.replicated();
  await cluster.failover((await cluster.masters())[0]!);
  await writeAll("second");
  const [from, to] = await cluster.masters();
  const slot = 7;
  const owner = await cluster.masterOf(slot);
  await cluster.moveSlot(slot, owner === from ? to! : from!);
  await writeAll("third");
});

test("records that no cache has written are misses, or values", OPTIONS, async () => {
  const server = await start();
  const cache = open([server.address], { pageSize: 4096 });
  await cache.setAsync("real", "a text that compresses, compresses, compresses, compresses");
  const engine = new Writer(server);
  const meta = fc.uint8Array({ minLength: 0, maxLength: 9 });
  const part = fc.record({
    expires: fc.oneof(fc.constant(Date.now() + 1e6), fc.double()),
    meta: fc.oneof(meta, fc.constantFrom(...[0, 1, 2, 3, 4].map((type) => Uint8Array.of(type)))),
    codec: fc.constantFrom("none", "lz4", "zstd", "deflate", "lzo", "other"),
    dictionary: fc.constantFrom(0, 0, 0, 1, 77),
    plainBytes: fc.oneof(fc.nat({ max: 5000 }), fc.nat({ max: 20_000_000 })),
    data: fc.uint8Array({ maxLength: 4200 }),
    prefix: fc.boolean(),
    isExact: fc.boolean(),
  });
  let found = 0;
  const property = fc.asyncProperty(part, async (parts) => {
    const head = Buffer.alloc(9 + parts.meta.length);
    head.writeDoubleLE(parts.expires, 0);
    head.set(parts.meta, 9);
    const plainBytes = parts.isExact ? parts.data.length : parts.plainBytes;
    const record = {
      ...{ codec: parts.codec, dictionary: parts.dictionary, plainBytes },
      data: Buffer.concat([head, parts.data]),
      prefixBytes: parts.prefix ? head.length : parts.meta.length,
    };
    const tag = slotOf(Buffer.from("foreign")).toString(36);
    const key = `fleet:v${await tokenOf(server)}:{${tag}}foreign`;
    const bytes = encodeRecord({ epoch: 0, key: Buffer.from(key) }, record);
    await engine.set(key, bytes);
    await cache.fleet!.shared.sync();
    try {
      if ((await cache.getAsync("foreign")) !== undefined) found++;
    } catch (error) {
      // Bytes that no serializer has made.
      assert.equal((error as { code?: string }).code, "ERR_VALUE");
    }
    cache.store.verify();
  });
  const good = {
    ...{ expires: Date.now() + 1e6, meta: Uint8Array.of(2), codec: "none", dictionary: 0 },
    ...{ plainBytes: 3, data: Uint8Array.of(65, 66, 67), prefix: true, isExact: true },
  };
  await fc.assert(property, { numRuns: 300, examples: [[good]] });
  engine.end();
  assert.ok(found > 0, "some are values");
  assert.equal(cache.get("real"), "a text that compresses, compresses, compresses, compresses");
});

test("options that do not go together are refused", () => {
  const remote = { nodes: ["127.0.0.1:1"], prefix: "p", mode: "shared" } as const;
  const cases: readonly [CacheOptions, RegExp][] = [
    [{ remote, persist: { path: "x" } }, /remote has no persist/],
    [{ remote: { ...remote, mode: "other" as "shared" } }, /remote.mode "other": must be "shared"/],
    [{ remote: { ...remote, ttl: "999d" } }, /remote.ttl/],
    [{ remote: { ...remote, prefix: "*" } }, /prefix/],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => Cache.create(options), { code: "ERR_OPTION", message });
  }
  const cache = Cache.create({ memoryMax: "8MiB", remote });
  assert.throws(() => cache.share(), { code: "ERR_OPTION", message: /has no share/ });
  cache.close();
});

test("touch gives the value in the cluster a new time to live", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  const ttlOf = async () => {
    const [name] = (await server.command("KEYS", "fleet:v*}a")) as string[];
    return Number(await server.command("PTTL", name!));
  };
  await one.setAsync("a", { some: "value" }, "10s");
  assert.ok((await ttlOf()) <= 10_000);
  assert.equal(await two.touchAsync("a", "1h"), true);
  assert.ok((await ttlOf()) > 3_000_000);
  assert.ok(two.remainingTtl("a") > 3_000_000, "a copy is here");
  await one.fleet!.shared.sync();
  assert.deepEqual(await one.getAsync("a"), { some: "value" });
  assert.ok(one.remainingTtl("a") > 3_000_000);
  assert.equal(await one.touchAsync("none", "1h"), false);
  one.touch("a", "20s");
  await until(async () => (await ttlOf()) <= 20_000, "the shorter time");
  // A value that is replaced meanwhile is not brought back.
  for (let round = 0; round < 100; round++) {
    const touched = one.touchAsync("a", "1h");
    await two.setAsync("a", `round ${round}`);
    await touched;
    await one.fleet!.shared.sync();
    assert.equal(await one.getAsync("a"), `round ${round}`);
  }
});

test("clear removes the values of all machines, without a search", OPTIONS, async () => {
  const cluster = await startCluster({ masters: 3, replicas: 0 });
  ends.push(() => cluster.end());
  const nodes = cluster.servers.map(({ address }) => address);
  const [one, two] = [open(nodes), open(nodes)];
  const keys = Array.from({ length: 60 }, (_, nth) => `key ${nth}`);
  for (let round = 0; round < 20; round++) {
    const [clears, other] = round % 2 === 0 ? [one, two] : [two, one];
    await Promise.all(keys.map((key) => one.setAsync(key, `${key} of round ${round}`)));
    for (const key of keys) assert.equal(await other.getAsync(key), `${key} of round ${round}`);
    // What is set before is gone; what is set afterwards stays.
    clears.set("before", round);
    clears.set("before", round + 1);
    const cleared = clears.clearAsync();
    clears.set("after", round);
    assert.equal(clears.get("key 1"), undefined);
    await cleared;
    await other.fleet!.shared.sync();
    for (const cache of [clears, other]) {
      for (const key of keys) assert.equal(await cache.getAsync(key), undefined);
      assert.equal(await cache.getAsync("before"), undefined);
    }
    await until(async () => (await other.getAsync("after")) === round, "what was set afterwards");
  }
});

test("a load that a clear has overtaken is not stored", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  let isLoading = () => {};
  const loading = new Promise<void>((resolve) => {
    isLoading = resolve;
  });
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const loaded = one.fetch("a", async () => {
    isLoading();
    await finished;
    return "old";
  });
  await loading;
  await two.clearAsync();
  await one.fleet!.shared.sync();
  finish();
  assert.equal(await loaded, "old");
  assert.equal(await two.getAsync("a"), undefined);
  assert.equal(await one.getAsync("a"), undefined);
});

test("clear of a prefix; a server that was emptied", OPTIONS, async () => {
  const server = await start();
  const [one, two] = [open([server.address]), open([server.address])];
  for (let nth = 0; nth < 1500; nth++) one.set(`users:${nth}`, nth);
  await one.setAsync("user:1", "stays");
  await two.clearAsync("users:");
  await one.fleet!.shared.sync();
  for (const cache of [one, two]) {
    assert.equal(await cache.getAsync("users:7"), undefined);
    assert.equal(await cache.getAsync("users:1499"), undefined);
    assert.equal(await cache.getAsync("user:1"), "stays");
  }
  const token = await tokenOf(server);
  await server.command("FLUSHALL");
  await one.fleet!.shared.sync();
  await until(async () => (await one.getAsync("user:1")) === undefined, "the copy is gone");
  assert.notEqual(await tokenOf(server), token, "a lost token does not come back");
  await one.setAsync("user:1", "new");
  await two.fleet!.shared.sync();
  assert.equal(await two.getAsync("user:1"), "new");
});
