// Unexpected errors: each ends one connection or one task, is logged once with its stack, is
// counted, and never ends the process, other connections or other tasks.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { openItems } from "../../src/memcached/items/open.ts";
import type { MemcachedServer } from "../../src/memcached/server.ts";
import { Client, portOf, startServer, WORKER_URL } from "./server_fixture.ts";

const ACCESS_URL = new URL(WORKER_URL.href.replace("memcached/worker", "memcached/items/access"));

const servers: MemcachedServer[] = [];
after(async () => {
  for (const server of servers) await server.close(false);
});

/** Items that throw on an operation with a key that names the operation. */
const openFailing: typeof openItems = (settings, events) => {
  const opened = openItems(settings, events);
  const values = opened.shards.values[0]!;
  let key = "";
  const lock = values.lock.bind(values);
  values.lock = (bytes, keyBytes) => {
    key = Buffer.from(bytes.subarray(0, keyBytes)).toString("latin1");
    lock(bytes, keyBytes);
  };
  for (const name of ["find", "has", "set", "read"] as const) {
    const method = (values[name] as (...args: never[]) => unknown).bind(values);
    Object.assign(values, {
      [name]: (...args: never[]) => {
        if (key === `boom-${name}`) throw new RangeError(`planted in ${name}`);
        return method(...args);
      },
    });
  }
  const scan = values.scan.bind(values);
  values.scan = (cursor, visit) => {
    if (key === "scan") throw new TypeError("planted in scan");
    return scan(cursor, visit);
  };
  return opened;
};

async function failing(threads = 1) {
  const log: string[] = [];
  const server = await startServer({ threads }, {}, openFailing, {
    log: (text) => log.push(text),
  });
  servers.push(server);
  const port = portOf(server);
  return { server, log, open: () => Client.open({ port, host: "127.0.0.1" }) };
}

describe("an unexpected error", () => {
  test("ends only the connection in which it happens", async () => {
    const { server, log, open } = await failing();
    const other = await open();
    assert.equal(await other.ask("set sane 0 0 2\r\nok\r\n"), "STORED\r\n");
    const asked = [
      "get boom-find\r\n",
      "set boom-has 0 0 1\r\nx\r\n",
      "set boom-set 0 0 1\r\nx\r\n",
      "mg boom-find v t\r\n",
      "get sane sane boom-find\r\n",
    ];
    for (const [nth, text] of asked.entries()) {
      const client = await open();
      client.send(text);
      // No part of a reply, and no part of another client's reply.
      assert.equal(await client.untilEnd(), "");
      assert.equal(server.stats()["internal_errors"], nth + 1);
      assert.equal(await other.ask("get sane\r\n", "END\r\n"), "VALUE sane 0 2\r\nok\r\nEND\r\n");
    }
    assert.equal(server.connections, 1);
    assert.equal(
      await other
        .ask("stats\r\n", "END\r\n")
        .then((text) => /internal_errors (\d+)/.exec(text)![1]),
      "5",
    );
    assert.ok(log.length >= 3 && log.length <= 5);
    assert.match(log[0]!, /ended memcached: a connection.*planted in find\n +at /);
  });

  test("is logged once, however often it happens", async () => {
    const { server, log, open } = await failing();
    for (let i = 0; i < 20; i++) {
      const client = await open();
      client.send("get boom-find\r\n");
      await client.untilEnd();
    }
    assert.equal(server.stats()["internal_errors"], 20);
    assert.equal(log.length, 1);
  });

  test("in the search for expired items is counted, and the search goes on", async () => {
    const { server, log, open } = await failing();
    const client = await open();
    await client.ask("set scan 0 0 1\r\nx\r\n");
    const until = Date.now() + 20_000;
    while (Number(server.stats()["internal_errors"]) < 2 && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.ok(Number(server.stats()["internal_errors"]) >= 2);
    assert.equal(log.length, 1);
    assert.match(log[0]!, /a search for expired items: TypeError: planted in scan/);
    assert.equal(await client.ask("get scan\r\n", "END\r\n"), "VALUE scan 0 1\r\nx\r\nEND\r\n");
  });

  test("of the caller's own functions ends nothing", async () => {
    const fail = () => {
      throw new Error("planted by the caller");
    };
    const log: string[] = [];
    const server = await startServer({ shutdownEnabled: true }, {}, openItems, {
      onShutdown: fail,
      log: (text) => log.push(text),
    });
    servers.push(server);
    const client = await Client.open({ port: portOf(server), host: "127.0.0.1" });
    client.send("shutdown\r\n");
    await client.untilEnd();
    assert.match(log[0]!, /planted by the caller/);
    assert.equal(server.stats()["internal_errors"], 1);
  });
});

describe("in a worker thread", () => {
  test("errors, uncaught exceptions and rejections end one unit; the thread goes on", async () => {
    // The worker's module first installs the errors, then runs the usual worker.
    const source = `
      const { ItemAccess } = await import(${JSON.stringify(ACCESS_URL.href)});
      const find = ItemAccess.prototype.find, lock = ItemAccess.prototype.lock;
      let key = "";
      ItemAccess.prototype.lock = function (bytes, from, to) {
        key = Buffer.from(bytes.subarray(from, to)).toString("latin1");
        lock.call(this, bytes, from, to);
      };
      ItemAccess.prototype.find = function () {
        if (key === "boom") throw new RangeError("planted in a worker");
        if (key === "later") setTimeout(() => { throw new RangeError("planted in a timer"); });
        if (key === "reject") Promise.reject(new RangeError("planted in a promise"));
        return find.call(this);
      };
      await import(${JSON.stringify(WORKER_URL.href)});
    `;
    const log: string[] = [];
    const worker = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    const server = await startServer({ threads: 3 }, {}, openItems, {
      worker,
      log: (text) => log.push(text),
    });
    servers.push(server);
    const port = portOf(server);
    const clients: Client[] = [];
    // The system chooses which thread accepts a connection.
    const counted = () => Number(server.stats()["internal_errors"]);
    const until = Date.now() + 60_000;
    for (const key of ["later", "reject", "boom"]) {
      const before = counted();
      while (counted() === before && Date.now() < until) {
        const client = await Client.open({ port, host: "127.0.0.1" });
        clients.push(client);
        client.send(`get ${key}\r\n`);
        await client.until((text) => text.endsWith("END\r\n") || client.ended);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.ok(counted() > before, key);
    }
    const wanted = ["planted in a worker", "planted in a timer", "planted in a promise"];
    while (!wanted.every((text) => log.some((one) => one.includes(text))) && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const text of wanted)
      assert.ok(
        log.some((one) => one.includes(text)),
        text,
      );
    for (let i = 0; i < 12; i++) {
      const client = await Client.open({ port, host: "127.0.0.1" });
      assert.equal(await client.ask("mn\r\n"), "MN\r\n");
      client.close();
    }
    for (const client of clients) client.close();
  });

  test("a missing file is an error of the start, with a code", async () => {
    const worker = pathToFileURL("/nowhere/memcached_worker.js");
    await assert.rejects(startServer({ threads: 2 }, {}, openItems, { worker }), {
      name: "ZcacheError",
      code: "ERR_IO",
      message: /memcached: thread 1 can't start: .*memcached_worker/,
    });
  });
});
