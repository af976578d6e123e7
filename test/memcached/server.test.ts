// A server over real sockets (TCP, Unix, TLS): slow readers, incomplete values, many connections.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { connect as tlsConnect } from "node:tls";
import { ZcacheError } from "../../src/base/errors.ts";
import { startMemcachedServer } from "../../src/memcached/index.ts";
import { openItems } from "../../src/memcached/items/open.ts";
import { MemcachedServer } from "../../src/memcached/server.ts";
import { Client, portOf, startServer, WORKER_URL } from "./server_fixture.ts";

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "zcache-memcached-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A server for one test, with a function to connect; both are closed after the test. */
async function serving(
  settings: Parameters<typeof startServer>[0],
  body: (open: () => Promise<Client>, server: MemcachedServer) => Promise<void>,
): Promise<void> {
  const server = await startServer(settings);
  const clients: Client[] = [];
  const open = async () => {
    const client = await Client.open({ host: "127.0.0.1", port: portOf(server) });
    clients.push(client);
    return client;
  };
  try {
    await body(open, server);
  } finally {
    for (const client of clients) client.close();
    await server.close(false);
  }
}

describe("server", () => {
  test("pipelined commands, large values, in pieces of any size", async () => {
    await serving({}, async (open) => {
      const client = await open();
      const value = "0123456789abcdef".repeat(60_000);
      const set = `set big 1 0 ${value.length}\r\n${value}\r\n`;
      for (let at = 0; at < set.length; at += 77_777) client.send(set.slice(at, at + 77_777));
      assert.equal(await client.until((text) => text.endsWith("\r\n")), "STORED\r\n");
      const expected = `VALUE big 1 ${value.length}\r\n${value}\r\nEND\r\n`;
      client.send("get big\r\n".repeat(5));
      const got = await client.untilBytes(8 + 5 * expected.length);
      assert.ok(got.toString("latin1") === `STORED\r\n${expected.repeat(5)}`);
    });
  });

  test("the reply buffer is free for other clients while one does not read", async () => {
    let hits = 0;
    const open: typeof openItems = (settings, events) => {
      const opened = openItems(settings, events);
      const values = opened.shards.values[0]!;
      const finder = values.finder()!;
      const answer = finder.answerGets.bind(finder);
      finder.answerGets = (...asked) => {
        const [lines, from] = asked;
        const used = answer(...asked);
        if (lines[from + "get ".length] === "b".charCodeAt(0)) hits += finder.found;
        return used;
      };
      values.finder = () => finder;
      return opened;
    };
    const server = await startServer({}, {}, open);
    const where = { host: "127.0.0.1", port: portOf(server) };
    const [deaf, other] = await Promise.all([Client.open(where), Client.open(where)]);
    try {
      const value = "v".repeat(4000);
      for (const key of "ab") await other.ask(`set ${key} 0 0 4000\r\n${value}\r\n`);
      const one = await other.ask("get b\r\n", "END\r\n");
      deaf.socket.pause();
      deaf.send("get a\r\n".repeat(20_000));
      for (let gets = -1, tries = 0; gets !== server.stats()["cmd_get"]; tries++) {
        assert.ok(tries < 1000, "at some time its backlog is full");
        gets = server.stats()["cmd_get"] as number;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.ok((server.stats()["cmd_get"] as number) < 20_000, "it does not get all of them");
      assert.equal(await other.ask("get b\r\n".repeat(10), one.repeat(10)), one.repeat(10));
      assert.equal(hits, 10);
    } finally {
      deaf.close();
      other.close();
      await server.close(false);
    }
  });

  test("the server stops reading from a client that does not read, and serves others", async () => {
    const backlogBytesMax = 64 * 1024;
    await serving({ backlogBytesMax }, async (open, server) => {
      const slow = await open();
      const value = "x".repeat(100_000);
      await slow.ask(`set big 0 0 ${value.length}\r\n${value}\r\n`);
      slow.socket.pause();
      const gets = 2000;
      slow.send("get big\r\n".repeat(gets));
      const other = await open();
      // 200 MB are requested. Beyond the system's buffers, the server may hold one value and the
      // limit.
      const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external;
      for (let i = 0; i < 200; i++) {
        assert.equal(await other.ask("set a 0 0 1\r\na\r\n"), "STORED\r\n");
      }
      const held = process.memoryUsage().arrayBuffers + process.memoryUsage().external - before;
      assert.ok(held < 30e6, `${held} bytes`);
      assert.ok((server.stats()["conn_yields"] as number) > 0);
      const expected = 8 + gets * (value.length + "VALUE big 0 100000\r\n\r\nEND\r\n".length);
      // The rest is counted without keeping it: it arrives when the client reads.
      let bytes = 8;
      slow.socket.removeAllListeners("data");
      await new Promise<void>((resolve) => {
        slow.socket.on("data", (chunk) => {
          bytes += chunk.length;
          if (bytes >= expected) resolve();
        });
        slow.socket.resume();
      });
      assert.equal(bytes, expected);
    });
  });

  test("a list of keys with a longer reply than any buffer waits for its reader", async () => {
    await serving({ backlogBytesMax: 64 * 1024 }, async (open) => {
      const slow = await open();
      const value = "y".repeat(500_000);
      await slow.ask(`set k 0 0 ${value.length}\r\n${value}\r\n`);
      const keys = 100;
      slow.send(`get ${"k ".repeat(keys)}\r\nversion\r\n`);
      const one = value.length + "VALUE k 0 500000\r\n\r\n".length;
      const all = await slow.untilBytes(8 + keys * one + 5 + 23);
      assert.ok(all.subarray(-28).toString() === "END\r\nVERSION 1.6.18-zcache\r\n");
    });
  });

  test("incomplete values take as much memory as was received, up to a limit", async () => {
    await serving({ pendingBytesMax: 512 * 1024 }, async (open, server) => {
      const half: Client[] = [];
      for (let i = 0; i < 8; i++) {
        const client = await open();
        client.send(`set k${i} 0 0 1000000\r\nabc`);
        half.push(client);
      }
      const watcher = await open();
      await watcher.ask("version\r\n");
      const held = server.stats()["read_buf_bytes"] as number;
      assert.ok(held > 0 && held < 8 * 1024, `${held} bytes for eight values of a megabyte`);
      for (const client of half) client.send("z".repeat(200_000));
      // The server has read everything that was sent, or has ended the connection.
      const end = Date.now() + 60_000;
      for (let before = -1, looks = 0; looks < 25; ) {
        assert.ok(Date.now() < end, "it comes to rest, and some are refused");
        const read = server.stats()["bytes_read"] as number;
        looks = read === before && (server.stats()["read_buf_oom"] as number) > 0 ? looks + 1 : 0;
        before = read;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const refused = half.filter((client) => client.ended);
      assert.ok(refused.length > 0 && refused.length < 8, `${refused.length} refused`);
      assert.equal(await refused[0]!.untilEnd(), "SERVER_ERROR out of memory reading request\r\n");
      assert.equal(await watcher.ask("get k0\r\n"), "END\r\n");
      assert.ok((server.stats()["read_buf_oom"] as number) >= refused.length);
    });
  });

  test("a connection beyond the limit is refused with a message", async () => {
    await serving({ connectionsMax: 2 }, async (open, server) => {
      const first = await open();
      await first.ask("version\r\n");
      const second = await open();
      await second.ask("version\r\n");
      const third = await open();
      assert.equal(await third.untilEnd(), "ERROR Too many open connections\r\n");
      assert.equal(server.stats()["rejected_connections"], 1);
      second.close();
      // A connection is available when the server has noticed the end.
      for (let tries = 0; server.stats()["curr_connections"] !== 1; tries++) {
        assert.ok(tries < 6000, "the connection is closed");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      const fourth = await open();
      assert.match(await fourth.ask("version\r\n"), /^VERSION/);
    });
  });

  test("quit, garbage and idle connections end", async () => {
    await serving({ idleTimeoutS: 1 }, async (open, server) => {
      const quits = await open();
      quits.send("set a 0 0 1\r\na\r\nquit\r\nget a\r\n");
      assert.equal(await quits.untilEnd(), "STORED\r\n");
      const garbage = await open();
      garbage.send(Buffer.alloc(100_000, 0x81));
      await garbage.untilEnd();
      const idle = await open();
      await idle.untilEnd();
      assert.ok((server.stats()["idle_kicks"] as number) >= 1);
    });
  });

  test("a client that has quit does not count, even if it keeps its side open", async () => {
    await serving({}, async (open, server) => {
      const client = await open();
      const quits = await open();
      quits.send("quit\r\n");
      await quits.untilEnd();
      const where = { host: "127.0.0.1", port: portOf(server), allowHalfOpen: true };
      const stays = await Client.open(where);
      try {
        stays.send("quit\r\n");
        await stays.untilEnd();
        for (let tries = 0; server.connections > 1 && tries < 6000; tries++) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        assert.equal(server.connections, 1);
        assert.match(await client.ask("version\r\n"), /^VERSION/);
      } finally {
        stays.close();
      }
    });
  });

  test("a Unix socket", async () => {
    const path = join(folder, "socket");
    const server = await startServer({}, { path });
    const client = await Client.open({ path });
    assert.equal(await client.ask("set a 0 0 1\r\na\r\n"), "STORED\r\n");
    assert.deepEqual(server.addresses, [path]);
    const rows = await client.ask("stats conns\r\n", "END\r\n");
    assert.ok(rows.includes(`:addr unix:${path}\r\n`), "who listens");
    assert.ok(rows.includes(`:listen_addr unix:${path}\r\n`), "and who has come");
    await assert.rejects(startServer({}, { path }), /it is in use/);
    client.close();
    await server.close(false);
  });

  test("the socket of a killed server is replaced", async () => {
    const path = join(folder, "left");
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => {
      process.kill(process.pid, "SIGKILL");
    })`;
    assert.throws(() => execFileSync(process.execPath, ["-e", script], { stdio: "ignore" }));
    assert.ok(existsSync(path));
    const server = await startServer({}, { path });
    const client = await Client.open({ path });
    assert.match(await client.ask("version\r\n"), /^VERSION/);
    client.close();
    await server.close(false);
  });

  test("an address in use is an error that names it", async () => {
    await serving({}, async (_open, server) => {
      const port = portOf(server);
      await assert.rejects(startServer({}, { port }), (error: unknown) => {
        assert.ok(error instanceof ZcacheError && error.code === "ERR_IO");
        assert.match(error.message, new RegExp(`127.0.0.1:${port}: it is in use`));
        return true;
      });
    });
  });

  test("a setting that is not allowed is an error that names it", async () => {
    for (const settings of [
      { threads: 0 },
      { connectionsMax: 0 },
      { itemBytesMax: 1000 },
      { memoryMax: 1 << 20, itemBytesMax: 1 << 20 },
      { prefixDelimiter: "::" },
      { protocol: "http" as "auto" },
    ]) {
      const name = Object.keys(settings).at(-1)!;
      await assert.rejects(startServer(settings), (error: unknown) => {
        assert.ok(error instanceof ZcacheError && error.code === "ERR_OPTION");
        assert.match(error.message, new RegExp(`^${name}: `));
        return true;
      });
    }
  });

  test("knobs change a running server, and refuse values that are not allowed", async () => {
    await serving({}, async (open, server) => {
      const knobs = new Map(server.knobs().map((knob) => [knob.name, knob]));
      const flush = knobs.get("memcached.flushEnabled")!;
      const client = await open();
      assert.equal(await client.ask("flush_all\r\n"), "OK\r\n");
      flush.set(false);
      assert.equal(flush.get(), false);
      assert.equal(await client.ask("flush_all\r\n"), "CLIENT_ERROR flush_all not allowed\r\n");
      assert.throws(() => flush.set(1), ZcacheError);
      assert.throws(() => knobs.get("memcached.connectionsMax")!.set(0), ZcacheError);
      knobs.get("memcached.memoryMax")!.set(32 << 20);
      assert.match(await client.ask("stats\r\n", "END\r\n"), /limit_maxbytes 33554432/);
    });
  });
});

test("the entry point: a server and its store, and options that are checked", async () => {
  const { server, store } = await startMemcachedServer({
    listen: [{ host: "127.0.0.1", port: 0 }],
    memoryMax: 4 << 20,
    itemBytesMax: 1 << 20,
  });
  const client = await Client.open({ port: portOf(server), host: "127.0.0.1" });
  assert.equal(await client.ask("set a 0 0 1\r\na\r\n"), "STORED\r\n");
  assert.equal(store.stats().ephemeral.pagesInMemory, 1);
  const stats = server.stats();
  assert.equal(stats["curr_items"], 1);
  // Removed items by reason: to make room, file full, damaged, expired.
  for (const name of ["evicted_ephemeral_pages", "dropped_from_file", "lost_pages", "expired"]) {
    assert.equal(stats[name], 0, name);
  }
  const itemBytesMax = server.knobs().find(({ name }) => name === "memcached.itemBytesMax")!;
  itemBytesMax.set(1024);
  const long = `set a 0 0 2000\r\n${"x".repeat(2000)}\r\n`;
  assert.equal(await client.ask(long), "SERVER_ERROR object too large for cache\r\n");
  const idle = server.knobs().find(({ name }) => name === "memcached.idleTimeoutS")!;
  idle.set(1);
  assert.equal(await client.untilEnd().then(() => server.stats()["idle_kicks"]), 1);
  await server.close();
  const wrong = { memory: 1 } as object;
  await assert.rejects(startMemcachedServer(wrong), /no option "memory"; did you mean memoryMax\?/);
});

test("further threads listen on the same descriptor; statistics cover all threads", async () => {
  const server = await MemcachedServer.start({
    settings: { threads: 2 },
    endpoints: [{}],
    open: openItems,
    worker: WORKER_URL,
    onShutdown: () => {},
  });
  const clients = await Promise.all(
    Array.from({ length: 40 }, () => Client.open({ host: "127.0.0.1", port: portOf(server) })),
  );
  for (const client of clients) assert.match(await client.ask("version\r\n"), /^VERSION/);
  for (const client of clients) await client.ask("get nothing\r\n");
  // All threads serve the same items.
  for (const [nth, client] of clients.entries()) {
    assert.equal(await client.ask(`set key${nth} 0 0 5\r\nvalue\r\n`), "STORED\r\n");
  }
  for (const client of clients) {
    assert.match(await client.ask("get key0 key39\r\n", "END\r\n"), /key0 0 5\r\n.*key39 0 5/s);
  }
  const stats = server.stats();
  assert.equal(stats["curr_connections"], 40);
  assert.equal(stats["get_misses"], 40);
  server
    .knobs()
    .find(({ name }) => name === "memcached.flushEnabled")!
    .set(false);
  // The other thread learns of the change a little later.
  for (const client of clients) {
    for (let tries = 0; ; tries++) {
      if ((await client.ask("flush_all\r\n")).startsWith("CLIENT_ERROR")) break;
      assert.ok(tries < 6000, "the knob reaches every thread");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  for (const client of clients) client.close();
  await server.close(false);
});

function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const skip = !hasOpenssl() && process.env["CI"] !== "true" && "openssl is not installed";

test("TLS with client certificates", { skip }, async () => {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048"];
  execFileSync("openssl", ["req", "-x509", ...subject, "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  assert.ok(existsSync(cert));
  const server = await startServer({}, { tls: { cert, key, ca: cert } });
  const port = portOf(server);
  const { readFileSync } = await import("node:fs");
  const pem = { key: readFileSync(key), cert: readFileSync(cert) };
  const known = new Client(
    tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pem }),
  );
  assert.equal(await known.ask("set a 0 0 1\r\na\r\n"), "STORED\r\n");
  const large = "z".repeat(900_000);
  known.send(`set b 0 0 ${large.length}\r\n${large}\r\nget b\r\n`);
  await known.untilBytes(8 + 8 + large.length);
  const stranger = new Client(tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false }));
  stranger.send("get a\r\n");
  assert.equal(await stranger.untilEnd(), "");
  server.prepareRefresh()();
  known.close();
  await server.close(false);
  const missing = startServer({}, { tls: { cert: join(folder, "none"), key } });
  await assert.rejects(missing, (error: unknown) => {
    return error instanceof ZcacheError && /^--tls-(cert|key): /.test(error.message);
  });
});
