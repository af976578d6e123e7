// `watch`: its lines, which watchers get them, that no client waits for a watcher, and that it
// costs nothing without watchers.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { Credentials } from "../../src/memcached/auth.ts";
import { getItem } from "../../src/memcached/items/get.ts";
import { Session } from "../../src/memcached/session.ts";
import { CFD, type FixtureOptions, NOW_S, TextFixture } from "./fixture.ts";
import { Client, portOf, startServer } from "./server_fixture.ts";

/** A server with a watcher: `linesFor` returns the lines that it gets, without ts and gid. */
class WatchedFixture extends TextFixture {
  constructor(flags: string, options: FixtureOptions = {}) {
    super(options);
    assert.equal(this.send(new Session(), `watch ${flags}\r\n`).toString(), "OK\r\n");
  }

  linesFor(sent: string | Uint8Array): string[] {
    this.watched = "";
    this.send(this.session, sent);
    const lines = this.watched.split("\n");
    assert.equal(lines.pop(), "");
    return lines.map((line) => line.replace(/^ts=\d+\.\d{6} gid=\d+ /, ""));
  }
}

const MISS = "status=not_found clsid=0 cfd=7 size=0";

describe("watch", () => {
  test("fetchers get a line for each lookup of an item", () => {
    const fixture = new WatchedFixture("fetchers");
    const get = "type=item_get key=";
    assert.deepEqual(fixture.linesFor("get a b\r\n"), [`${get}a ${MISS}`, `${get}b ${MISS}`]);
    assert.deepEqual(fixture.linesFor("set a 0 0 4\r\nabcd\r\n"), [`${get}a ${MISS}`]);
    const hit = "status=found clsid=1 cfd=7 size=4";
    for (const ask of [
      "get a",
      "gats 0 a",
      "mg a v",
      "incr a 1",
      "touch a 9",
      "append a 0 0 0\r\n",
    ]) {
      assert.deepEqual(fixture.linesFor(`${ask}\r\n`), [`${get}a ${hit}`], ask);
    }
    fixture.nowS += 9;
    assert.deepEqual(fixture.linesFor("get a\r\n"), [
      `${get}a status=expired clsid=0 cfd=7 size=0`,
    ]);
    fixture.linesFor("set a 0 0 0\r\n\r\nflush_all\r\n");
    assert.deepEqual(fixture.linesFor("get a\r\n"), [
      `${get}a status=flushed clsid=0 cfd=7 size=0`,
    ]);
  });

  test("watch without a word means fetchers", () => {
    const fixture = new TextFixture();
    fixture.send(new Session(), "watch\n");
    fixture.ask("set a 0 0 0\r\n\r\n");
    assert.match(fixture.watched, /^ts=\d{10}\.\d{6} gid=1 type=item_get key=a [^\n]*\n$/);
  });

  test("mutations get a line with the outcome of each store", () => {
    const fixture = new WatchedFixture("mutations");
    const line = (status: string, cmd: string, size: number, ttl = 0) => [
      `type=item_store key=a status=${status} cmd=${cmd} ttl=${ttl} clsid=1 cfd=7 size=${size}`,
    ];
    assert.deepEqual(
      fixture.linesFor("replace a 0 0 1\r\nx\r\n"),
      line("not_stored", "replace", 1),
    );
    assert.deepEqual(fixture.linesFor("cas a 0 0 1 5\r\nx\r\n"), line("not_found", "cas", 1));
    assert.deepEqual(fixture.linesFor("set a 0 60 4\r\nabcd\r\n"), line("stored", "set", 4, 60));
    assert.deepEqual(fixture.linesFor("add a 0 0 1\r\nx\r\n"), line("not_stored", "add", 1));
    assert.deepEqual(fixture.linesFor("cas a 0 0 1 5\r\nx\r\n"), line("exists", "cas", 1));
    assert.deepEqual(fixture.linesFor("append a 0 0 2\r\nxy\r\n"), line("stored", "append", 6, 60));
    assert.deepEqual(fixture.linesFor("ms a 1 MP\r\nx\r\n"), line("stored", "prepend", 7, 60));
    assert.deepEqual(fixture.linesFor("ms a 1 C5\r\nx\r\n"), line("exists", "cas", 1));
    assert.deepEqual(fixture.linesFor("set a 0 0 2000000\r\n"), line("too_large", "set", 0));
    assert.deepEqual(fixture.linesFor("get a\r\ndelete a\r\n"), []);
  });

  test("deletions, and several words at once", () => {
    const fixture = new WatchedFixture("deletions mutations", {});
    fixture.linesFor("set a 0 0 3\r\nabc\r\nset b 0 0 0\r\n\r\n");
    assert.deepEqual(fixture.linesFor("delete a\r\nmd b\r\ndelete none\r\n"), [
      "type=deleted key=a cmd=delete clsid=1 size=3",
      "type=deleted key=b cmd=md clsid=1 size=0",
    ]);
    fixture.linesFor("set c 0 0 1\r\nc\r\n");
    assert.deepEqual(fixture.linesFor("md c I\r\n"), [], "marked stale, it is there yet");
  });

  test("commands of the binary protocol give the same lines", () => {
    const fixture = new WatchedFixture("fetchers");
    const get = Buffer.alloc(24 + 3);
    get.set([0x80, 0x00, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3]);
    get.write("foo", 24);
    assert.deepEqual(fixture.linesFor(get), [`type=item_get key=foo ${MISS}`]);
  });

  test("keys are encoded as in a URI, at any length", () => {
    const fixture = new WatchedFixture("fetchers");
    assert.match(fixture.linesFor("get n,foo-._~%\xff\r\n")[0]!, / key=n%2Cfoo-\._~%25%FF /);
    assert.equal(fixture.linesFor(`get ${"#".repeat(250)}\r\n`)[0]!.split(" ")[1]!.length, 4 + 750);
  });

  test("a watcher gets no lines from before it began, and numbers increase", () => {
    const fixture = new WatchedFixture("fetchers");
    fixture.linesFor("get a\r\nget b\r\n");
    const before = fixture.watched;
    // This event has not been sent yet when the next watcher begins.
    fixture.watch.begin(CFD);
    getItem(fixture.items, Buffer.from("old"), 0, 3);
    fixture.watch.end();
    fixture.send(new Session(), "watch fetchers\r\n");
    assert.equal(fixture.watched.match(/key=old/g)!.length, 1, "to the first watcher only");
    fixture.ask("get c\r\n");
    const gids = [...`${before}${fixture.watched}`.matchAll(/gid=(\d+)/g)].map(([, gid]) =>
      Number(gid),
    );
    // The lines of both watchers are in the same text.
    assert.deepEqual(gids, [1, 2, 3, 4, 4]);
  });

  test("known and unknown words of watch", () => {
    const fixture = new TextFixture();
    assert.equal(fixture.ask("watch fetchers nonsense\r\n"), "ERROR\r\n");
    assert.equal(fixture.ask("watch toString\r\n"), "ERROR\r\n");
    assert.equal(
      fixture.ask("version\r\nwatch\r\n").split("\r\n")[1],
      "ERROR cannot pipeline other commands before watch",
    );
    const all = "rawcmds evictions fetchers mutations sysevents connevents proxyreqs proxyevents";
    assert.equal(fixture.ask(`watch ${all} proxyuser deletions\r\nget a\r\n`), "OK\r\n");
    assert.equal(fixture.ask("get a\r\n"), "", "what a watcher sends is passed over");
    const refusing = new TextFixture({ watchEnabled: false });
    assert.equal(refusing.ask("watch\r\n"), "CLIENT_ERROR watch commands not allowed\r\n");
    const binary = new TextFixture({ protocol: "binary" });
    assert.equal(binary.ask("watch fetchers mutations\r\n"), "");
    assert.ok(binary.session.closing);
    assert.equal(binary.watcher, undefined);
  });

  test("a client that has not authenticated may not watch", () => {
    const folder = mkdtempSync(join(tmpdir(), "zcache-watch-"));
    try {
      writeFileSync(join(folder, "users"), "me:secret\n");
      const fixture = new TextFixture({ credentials: Credentials.read(join(folder, "users")) });
      assert.equal(fixture.ask("watch\r\n"), "CLIENT_ERROR unauthenticated\r\n");
      assert.equal(fixture.ask("set x 0 0 9\r\nme secret\r\n"), "STORED\r\n");
      assert.equal(fixture.ask("watch\r\n"), "OK\r\n");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("twenty connections may watch; the end of one makes room for another", () => {
    const fixture = new TextFixture();
    for (let i = 0; i < 20; i++) {
      assert.equal(fixture.send(new Session(), "watch\r\n").toString(), "OK\r\n");
    }
    const tooMany = "WATCHER_TOO_MANY log watcher limit reached\r\n";
    assert.equal(fixture.ask("watch evictions\r\n"), tooMany);
    assert.match(fixture.ask("stats\r\n"), /STAT log_watchers 20\r\n/);
    fixture.watch.remove(fixture.watcher!);
    fixture.watch.remove(fixture.watcher!);
    assert.match(fixture.ask("stats\r\n"), /STAT log_watchers 19\r\n/);
    assert.equal(fixture.ask("watch\r\n"), "OK\r\n");
    assert.equal(fixture.send(new Session(), "watch\r\n").toString(), tooMany);
  });

  test("no record is written while no watcher watches items", () => {
    const fixture = new TextFixture();
    const quiet = () => assert.ok(fixture.items.log === undefined && !fixture.watch.active);
    fixture.ask("get a\r\n");
    quiet();
    fixture.send(new Session(), "watch connevents evictions\r\n");
    fixture.ask("get a\r\n");
    quiet();
    fixture.send(new Session(), "watch fetchers\r\n");
    fixture.ask("get a\r\n");
    assert.ok(fixture.items.log !== undefined && fixture.watch.active);
    fixture.watch.remove(fixture.watcher!);
    fixture.ask("get a\r\n");
    quiet();
    assert.match(fixture.ask("stats\r\n"), /log_worker_written 1\r\n/);
  });

  test("lines beyond what a watcher leaves unread are skipped, and a line says how many", () => {
    const fixture = new WatchedFixture("fetchers", { watchBytesMax: 4096 });
    fixture.watcherWaits = 4000;
    assert.deepEqual(fixture.linesFor("get a\r\n".repeat(30)), []);
    fixture.watcherWaits = 0;
    const told = fixture.linesFor("get a\r\n");
    assert.deepEqual(told, ["skipped=30", `type=item_get key=a ${MISS}`]);
    assert.deepEqual(fixture.linesFor("get b\r\n"), [`type=item_get key=b ${MISS}`], "told once");
    const stats = fixture.ask("stats\r\n");
    assert.match(stats, /log_watcher_skipped 30\r\n/);
    assert.match(stats, /log_watcher_sent 2\r\n/);
    assert.match(stats, /log_worker_written 32\r\n/);
  });

  test("one command that makes too many lines loses some, and they are counted", () => {
    const fixture = new WatchedFixture("fetchers");
    const keys = "k ".repeat(30_000);
    const lines = fixture.linesFor(`get ${keys}\r\n`).length;
    const stats = fixture.ask("stats\r\n");
    const dropped = Number(/log_worker_dropped (\d+)/.exec(stats)![1]);
    assert.ok(dropped > 0);
    assert.equal(lines + dropped, 30_000);
  });

  test("evictions get a line for each evicted item, once", () => {
    const fixture = new WatchedFixture("evictions", { memoryMax: 4 * 1024 * 1024, codec: "none" });
    const random = new Xorshift32(5);
    const told: string[] = [];
    const count = 3000;
    for (let i = 0; i < count; i++) {
      const value = Buffer.from(Array.from({ length: 2000 }, () => random.next() & 0xff));
      const head = `set key${i} 0 ${i % 2 === 0 ? 0 : 100} 2000\r\n`;
      told.push(
        ...fixture.linesFor(Buffer.concat([Buffer.from(head), value, Buffer.from("\r\n")])),
      );
    }
    const gone = new Set(told.map((line) => / key=(\w+) /.exec(line)![1]!));
    assert.equal(gone.size, told.length);
    assert.ok(gone.size > 500);
    for (let i = 0; i < count; i++) {
      const isThere = fixture.ask(`mg key${i}\r\n`).startsWith("HD");
      assert.equal(isThere, !gone.has(`key${i}`), `key${i}`);
    }
    const odd = told.find((line) => / key=key\d*[13579] /.test(line))!;
    assert.match(odd, /^type=eviction key=key\d+ fetch=no ttl=100 la=0 clsid=1 size=2000$/);
    const even = told.find((line) => / key=key\d*[02468] /.test(line))!;
    assert.match(even, / ttl=-1 /);
    assert.equal(fixture.items.now, NOW_S);
  });

  test("evictions can be watched when memory is full, and again after a pause", () => {
    const fixture = new TextFixture({ memoryMax: 4 * 1024 * 1024, codec: "none" });
    fixture.watch.reserve();
    const random = new Xorshift32(6);
    const fill = () => {
      for (let i = 0; i < 3000; i++) {
        const value = Array.from({ length: 500 }, () => random.next().toString(36)).join("");
        fixture.ask(`set key${i} 0 0 2000\r\n${value.slice(0, 2000)}\r\n`);
      }
    };
    fill();
    for (let times = 0; times < 2; times++) {
      assert.equal(fixture.send(new Session(), "watch evictions\r\n").toString(), "OK\r\n");
      fill();
      assert.match(fixture.watched, /type=eviction/);
      fixture.watch.remove(fixture.watcher!);
      fixture.watched = "";
      fill();
      assert.equal(fixture.watched, "");
    }
    assert.match(fixture.ask("stats\r\n"), /log_worker_dropped 0\r\n/);
  });

  test("the end of a watcher of evictions takes no lines from others of its thread", () => {
    const fixture = new WatchedFixture("evictions", { memoryMax: 4 * 1024 * 1024, codec: "none" });
    fixture.send(new Session(), "watch evictions\r\n");
    fixture.watch.remove(fixture.watcher!);
    fixture.watched = "";
    const value = Buffer.alloc(2000, "v");
    for (let i = 0; i < 3000; i++) {
      value.writeUInt32LE(i);
      fixture.ask(`set key${i} 0 0 2000\r\n${value.toString("latin1")}\r\n`);
    }
    assert.match(fixture.watched, /type=eviction/);
  });
});

async function withServer(
  settings: Parameters<typeof startServer>[0],
  body: (open: () => Promise<Client>) => Promise<void>,
): Promise<void> {
  const server = await startServer(settings);
  const clients: Client[] = [];
  try {
    await body(async () => {
      const client = await Client.open({ host: "127.0.0.1", port: portOf(server) });
      clients.push(client);
      return client;
    });
  } finally {
    for (const client of clients) client.close();
    await server.close(false);
  }
}

/** Repeats a request until the reply is as wanted: the end of a connection takes time. */
async function untilAnswer(client: Client, ask: string, end: string, wanted: RegExp) {
  for (let tries = 0; tries < 6000; tries++) {
    const answer = await client.ask(ask, end);
    if (wanted.test(answer)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`${wanted} does not come`);
}

describe("watch over sockets", () => {
  test("watchers of every thread get the lines of every thread", async () => {
    await withServer({ threads: 2 }, async (open) => {
      const clients: Client[] = [];
      // `stats conns` lists the connections of one thread: repeat until the other thread has some.
      for (let isSpread = false; !isSpread && clients.length < 200; ) {
        clients.push(await open());
        const rows = await clients[0]!.ask("stats conns\r\n", "END\r\n");
        const own = rows.match(/listen_addr/g)!.length;
        isSpread = own < clients.length && own > 1;
      }
      const watchers: Client[] = [];
      for (let i = 0; i < 8; i++) {
        const watcher = await open();
        assert.equal(await watcher.ask("watch mutations\r\n"), "OK\r\n");
        watchers.push(watcher);
      }
      for (const [i, client] of clients.entries()) {
        assert.equal(await client.ask(`set key${i}_ 0 0 1\r\nx\r\n`), "STORED\r\n");
      }
      for (const watcher of watchers) {
        const text = await watcher.until(
          (so) => so.endsWith("\n") && so.split("\n").length > clients.length,
        );
        for (const i of clients.keys())
          assert.match(text, new RegExp(` key=key${i}_ status=stored`));
        const gids = text.match(/gid=\d+/g)!;
        assert.equal(
          new Set(gids).size,
          clients.length,
          "each line once, with a number of its own",
        );
      }
    });
  });

  test("a watcher that does not read delays no client, and learns how many it lost", async () => {
    const watchBytesMax = 8192;
    await withServer({ watchBytesMax }, async (open) => {
      const watcher = await open();
      assert.equal(await watcher.ask("watch\r\n"), "OK\r\n");
      watcher.socket.pause();
      const client = await open();
      const gets = `get ${"k".repeat(240)}\r\n`.repeat(1000);
      for (let rounds = 0; rounds < 200; rounds++) {
        await client.ask(`${gets}mn\r\n`, "MN\r\n");
        const stats = await client.ask("stats\r\n", "END\r\n");
        if (/log_watcher_skipped [1-9]/.test(stats)) break;
      }
      assert.match(await client.ask("stats\r\n", "END\r\n"), /log_watcher_skipped [1-9]/);
      watcher.socket.resume();
      let isTold = false;
      void watcher
        .until((text) => text.includes("skipped="))
        .then(() => {
          isTold = true;
        });
      for (let tries = 0; tries < 6000 && !isTold; tries++) {
        await client.ask("get k\r\n");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.ok(isTold);
    });
  });

  test("connevents: connections that open and close, and why", async () => {
    await withServer({}, async (open) => {
      const watcher = await open();
      const before = await open();
      await watcher.ask("watch connevents\r\n");
      const portsOf = (client: Client) => client.socket.localPort!;
      const where = (client: Client) => `rip=127.0.0.1 rport=${portsOf(client)} transport=tcp`;
      const until = (text: string) => watcher.until((so) => so.includes(text));
      const old = where(before);
      before.close();
      await until(`type=conn_close ${old} reason=normal cfd=`);
      const quits = await open();
      await until(`type=conn_new ${where(quits)} cfd=`);
      quits.send("quit\r\n");
      await until(`type=conn_close ${where(quits)} reason=normal cfd=`);
      const browser = await open();
      browser.send("GET / HTTP/1.1\r\n");
      await until(`type=conn_close ${where(browser)} reason=error cfd=`);
      await quits.untilEnd();
      await browser.untilEnd();
      const last = await open();
      last.send("quit\r\n");
      const all = await until(`type=conn_close ${where(last)}`);
      assert.equal(all.match(/conn_new/g)!.length, 3);
      assert.equal(all.match(/conn_close/g)!.length, 4, "each of them once");
    });
  });

  test("a closed connection watches no more; an open watcher is not idle", async () => {
    await withServer({ idleTimeoutS: 1 }, async (open) => {
      const stays = await open();
      await stays.ask("watch connevents\r\n");
      const leaves = await open();
      await leaves.ask("watch fetchers evictions\r\n");
      const idle = await open();
      await idle.untilEnd();
      await stays.until((text) => text.includes("reason=idle_timeout"));
      assert.ok(!stays.ended);
      const client = await open();
      assert.match(await client.ask("stats conns\r\n", "END\r\n"), /state conn_watch\r\n/);
      assert.match(await client.ask("stats\r\n", "END\r\n"), /log_watchers 2\r\n/);
      leaves.close();
      await untilAnswer(client, "stats\r\n", "END\r\n", /log_watchers 1\r\n/);
    });
  });
});
