// The text protocol: each command's replies, errors and limits, in memcached's words.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { Credentials } from "../../src/memcached/auth.ts";
import { Session } from "../../src/memcached/session.ts";
import { EngineFixture, NOW_S, SHARDS, TextFixture } from "./fixture.ts";

/** Steps of a conversation: a request and the expected reply. */
type Steps = readonly (readonly [sent: string, reply: string])[];

function converse(fixture: TextFixture, steps: Steps): void {
  for (const [sent, reply] of steps) assert.equal(fixture.ask(sent), reply, JSON.stringify(sent));
}

const CONVERSATIONS: Readonly<Record<string, Steps>> = {
  "set and get": [
    ["get a\r\n", "END\r\n"],
    ["set a 5 0 3\r\nabc\r\n", "STORED\r\n"],
    ["get a\r\n", "VALUE a 5 3\r\nabc\r\nEND\r\n"],
    ["get b a  a\n", "VALUE a 5 3\r\nabc\r\nVALUE a 5 3\r\nabc\r\nEND\r\n"],
    ["set e 0 0 0\r\n\r\n", "STORED\r\n"],
    ["get e\r\n", "VALUE e 0 0\r\n\r\nEND\r\n"],
    ["set f 4294967295 0 1\r\nx\r\n", "STORED\r\n"],
    ["get f\r\n", "VALUE f 4294967295 1\r\nx\r\nEND\r\n"],
  ],
  "add, replace, append, prepend": [
    ["replace a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"],
    ["append a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"],
    ["prepend a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"],
    ["add a 7 0 1\r\nb\r\n", "STORED\r\n"],
    ["add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"],
    ["append a 1 0 1\r\nc\r\n", "STORED\r\n"],
    ["prepend a 2 0 1\r\na\r\n", "STORED\r\n"],
    ["get a\r\n", "VALUE a 7 3\r\nabc\r\nEND\r\n"],
    ["replace a 0 0 1\r\nz\r\n", "STORED\r\n"],
    ["get a\r\n", "VALUE a 0 1\r\nz\r\nEND\r\n"],
  ],
  cas: [
    ["cas a 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n"],
    ["set a 0 0 1\r\na\r\n", "STORED\r\n"],
    ["gets a\r\n", "VALUE a 0 1 1\r\na\r\nEND\r\n"],
    ["cas a 0 0 1 0\r\nx\r\n", "EXISTS\r\n"],
    ["cas a 0 0 1 18446744073709551615\r\nx\r\n", "EXISTS\r\n"],
    ["cas a 0 0 1 18446744073709551616\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["cas a 0 0 1 1\r\nb\r\n", "STORED\r\n"],
    ["cas a 0 0 1 1\r\nc\r\n", "EXISTS\r\n"],
    ["gats 0 a\r\n", "VALUE a 0 1 2\r\nb\r\nEND\r\n"],
  ],
  "incr and decr": [
    ["incr a 1\r\n", "NOT_FOUND\r\n"],
    ["set a 3 0 2\r\n10\r\n", "STORED\r\n"],
    ["incr a 5\r\n", "15\r\n"],
    ["decr a 6\r\n", "9\r\n"],
    ["get a\r\n", "VALUE a 3 2\r\n9 \r\nEND\r\n"],
    ["decr a 100\r\n", "0\r\n"],
    ["incr a 18446744073709551615\r\n", "18446744073709551615\r\n"],
    ["incr a 3\r\n", "2\r\n"],
    ["incr a 18446744073709551616\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"],
    ["incr a -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"],
    ["set b 0 0 1\r\nx\r\n", "STORED\r\n"],
    ["incr b 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"],
    ["set b 0 0 0\r\n\r\n", "STORED\r\n"],
    ["decr b 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"],
  ],
  "delete and touch": [
    ["delete a\r\n", "NOT_FOUND\r\n"],
    ["touch a 10\r\n", "NOT_FOUND\r\n"],
    ["set a 0 0 1\r\na\r\n", "STORED\r\n"],
    ["touch a 10\r\n", "TOUCHED\r\n"],
    ["touch a x\r\n", "CLIENT_ERROR invalid exptime argument\r\n"],
    ["delete a 0\r\n", "DELETED\r\n"],
    ["delete a 1\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"],
    ["set a 0 0 1\r\na\r\n", "STORED\r\n"],
    ["delete a 0 noreply\r\n", ""],
    ["get a\r\n", "END\r\n"],
  ],
  "noreply says nothing, and the command is done": [
    ["set a 0 0 1 noreply\r\n1\r\nincr a 4 noreply\r\nappend a 0 0 1 noreply\r\n0\r\n", ""],
    ["get a\r\n", "VALUE a 0 2\r\n50\r\nEND\r\n"],
    ["set b 0 x 1 noreply\r\n", ""],
    ["flush_all noreply\r\nverbosity 1 noreply\r\ntouch a 1 noreply\r\n", ""],
    ["version noreply\r\n", "VERSION 1.6.18-zcache\r\n"],
  ],
  "what is wrong is said": [
    ["\r\n", "ERROR\r\n"],
    [" \n", "ERROR\r\n"],
    ["nothing\r\n", "ERROR\r\n"],
    ["get\r\n", "ERROR\r\n"],
    ["set a 0 0\r\n", "ERROR\r\n"],
    ["set a -1 0 1\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["set a 4294967296 0 1\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["set a 0 0 -1\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["set a 0 0 2147483647\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["set a 0 0 2\r\nabc\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n"],
    [`get ${"k".repeat(251)}\r\n`, "CLIENT_ERROR bad command line format\r\n"],
    [`get a ${"k".repeat(251)} b\r\n`, "CLIENT_ERROR bad command line format\r\n"],
    [`set ${"k".repeat(251)} 0 0 0\r\n`, "CLIENT_ERROR bad command line format\r\n"],
    [`set ${"k".repeat(250)} 0 0 0\r\n\r\n`, "STORED\r\n"],
    ["gat x a\r\n", "CLIENT_ERROR invalid exptime argument\r\n"],
    ["verbosity\r\n", "ERROR\r\n"],
    ["verbosity x\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["flush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n"],
    ["shutdown\r\n", "ERROR: shutdown not enabled\r\n"],
    ["stats nothing\r\n", "ERROR\r\n"],
    ["lru tune 1 2\r\n", "ERROR\r\n"],
    ["debugtime 5\r\n", "ERROR\r\n"],
  ],
  "a value that is too large takes the old one with it": [
    ["set a 0 0 1\r\na\r\n", "STORED\r\n"],
    [
      `set a 0 0 ${1 << 20}\r\n${"x".repeat(1 << 20)}\r\nget a\r\n`,
      "SERVER_ERROR object too large for cache\r\nEND\r\n",
    ],
  ],
};

for (const shards of SHARDS)
  describe(`text, ${shards} shard(s)`, () => {
    for (const [name, steps] of Object.entries(CONVERSATIONS)) {
      test(name, () => converse(new TextFixture({ shards }), steps));
    }

    test("times: relative, absolute, negative, never", () => {
      const fixture = new TextFixture({ shards });
      const alive = (): string => fixture.ask("get r a n z\r\n").replace(/ 0 1\r\n.\r\n/g, " ");
      fixture.ask("set r 0 10 1\r\nr\r\n");
      fixture.ask(`set a 0 ${NOW_S + 20} 1\r\na\r\n`);
      fixture.ask("set n 0 -1 1\r\nn\r\n");
      fixture.ask("set z 0 0 1\r\nz\r\n");
      assert.equal(alive(), "VALUE r VALUE a VALUE z END\r\n");
      fixture.nowS += 9;
      assert.equal(alive(), "VALUE r VALUE a VALUE z END\r\n");
      fixture.nowS += 1;
      assert.equal(alive(), "VALUE a VALUE z END\r\n");
      fixture.ask("touch a 100\r\n");
      fixture.nowS += 50;
      assert.equal(alive(), "VALUE a VALUE z END\r\n");
      assert.match(fixture.ask("gat -1 a\r\n"), /^VALUE a/);
      assert.equal(alive(), "VALUE z END\r\n");
      // 30 days are relative; one second more is a date in the past.
      fixture.ask(`set r 0 ${30 * 86_400} 1\r\nr\r\nset a 0 ${30 * 86_400 + 1} 1\r\na\r\n`);
      assert.equal(alive(), "VALUE r VALUE z END\r\n");
    });

    test("flush_all at once, later, and again", () => {
      const fixture = new TextFixture({ shards });
      fixture.ask("set a 0 0 1\r\na\r\nflush_all\r\nset b 0 0 1\r\nb\r\n");
      assert.equal(fixture.ask("get a b\r\n"), "VALUE b 0 1\r\nb\r\nEND\r\n");
      assert.equal(fixture.ask("flush_all 10\r\n"), "OK\r\n");
      fixture.nowS += 9;
      assert.equal(fixture.ask("get b\r\n"), "VALUE b 0 1\r\nb\r\nEND\r\n");
      fixture.ask("set c 0 0 1\r\nc\r\n");
      fixture.nowS += 1;
      assert.equal(fixture.ask("get b c\r\n"), "END\r\n");
      fixture.ask("set d 0 0 1\r\nd\r\n");
      assert.equal(fixture.ask("get d\r\n"), "VALUE d 0 1\r\nd\r\nEND\r\n");
      assert.equal(fixture.counters.sum("get_flushed"), 3);
    });

    test("a list of keys longer than any line is answered key by key", () => {
      const fixture = new TextFixture({ shards });
      fixture.ask("set key 0 0 1\r\nk\r\n");
      const one = "VALUE key 0 1\r\nk\r\n";
      const list = "key ".repeat(50_000);
      assert.equal(fixture.ask(`get ${list}\r\n`), `${one.repeat(50_000)}END\r\n`);
      const bad = fixture.ask(`gets ${list}${"x".repeat(300)} key\r\nget key\r\n`);
      assert.ok(
        bad.endsWith("CLIENT_ERROR bad command line format\r\nVALUE key 0 1\r\nk\r\nEND\r\n"),
      );
    });

    test("other long lines end the connection", () => {
      for (const line of [
        "x".repeat(2100),
        `set ${"y".repeat(3000)}`,
        `${" ".repeat(200)}get a `,
      ]) {
        const fixture = new TextFixture({ shards });
        assert.equal(fixture.ask(line.padEnd(2500, "z")), "");
        assert.equal(fixture.session.closing, true);
        assert.equal(fixture.receiveBuffer.pendingBytes, 0);
      }
    });

    test("a request of a browser ends the connection", () => {
      const fixture = new TextFixture({ shards });
      assert.equal(fixture.ask("GET / HTTP/1.1\r\nset a 0 0 1\r\n1\r\n"), "");
      assert.equal(fixture.session.closing, true);
      assert.equal(fixture.memory.items, 0);
    });

    test("shutdown, if it is allowed", () => {
      const fixture = new TextFixture({ shards, shutdownEnabled: true });
      assert.equal(fixture.ask("shutdown now\r\n"), "CLIENT_ERROR invalid shutdown mode\r\n");
      assert.equal(fixture.ask("shutdown graceful\r\n"), "");
      assert.deepEqual(fixture.shutdowns, [true]);
    });

    test("no room: items are evicted, or the set is refused if eviction is off", () => {
      const fixed = new TextFixture({ memoryMax: 1 << 20, itemBytesMax: 1 << 19, evicts: false });
      // Random bytes: compressible values would all fit.
      const random = new Xorshift32(7);
      const value = Array.from({ length: 100_000 }, () => 33 + (random.next() % 94))
        .map((code) => String.fromCharCode(code))
        .join("");
      const replies = Array.from({ length: 12 }, (_, i) =>
        fixed.ask(`set k${i} 0 0 ${value.length}\r\n${value}\r\n`),
      );
      assert.equal(replies.at(-1), "SERVER_ERROR out of memory storing object\r\n");
      assert.match(fixed.ask("get k0\r\n"), /^VALUE/);
      const evicting = new TextFixture({ memoryMax: 1 << 20, itemBytesMax: 1 << 19 });
      for (let i = 0; i < 12; i++) {
        assert.equal(evicting.ask(`set k${i} 0 0 ${value.length}\r\n${value}\r\n`), "STORED\r\n");
      }
      const left = Array.from({ length: 12 }, (_, i) => evicting.ask(`get k${i}\r\n`));
      assert.ok(left.some((reply) => reply === "END\r\n"));
      assert.ok(left.some((reply) => reply.startsWith("VALUE")));
      assert.ok(evicting.memory.evictions > 0);
    });

    test("stats: all kinds, and reset", () => {
      const fixture = new TextFixture({ shards });
      fixture.ask("set a 0 0 1\r\na\r\nget a\r\nget b\r\n");
      const stats = fixture.ask("stats\r\n");
      assert.match(stats, /STAT get_hits 1\r\nSTAT get_misses 1\r\n/);
      // The number of memcached 1.6.18 without its LRU maintainer, which memcached's tests count.
      const few = new TextFixture({ shards, sweeps: false }).ask("stats\r\n");
      // Only a store of several shards adds their number.
      assert.equal(few.match(/^STAT /gm)?.length, shards === 1 ? 83 : 84);
      assert.match(stats, /STAT internal_errors 0\r\n/);
      for (const kind of ["settings", "items", "slabs", "sizes", "conns", "zcache"]) {
        assert.match(fixture.ask(`stats ${kind}\r\n`), /END\r\n$/, kind);
      }
      assert.equal(fixture.ask("stats cachedump 1 10\r\n"), "ITEM a [1 b; 0 s]\r\nEND\r\n");
      assert.match(
        fixture.ask("lru_crawler metadump all\r\n"),
        /^key=a exp=-1 la=\d+ cas=1 .*\nEND\r\n$/,
      );
      assert.equal(fixture.ask("stats reset\r\n"), "RESET\r\n");
      assert.match(fixture.ask("stats\r\n"), /STAT get_hits 0\r\n/);
    });

    test("a set counts an expired item under its key, and does not count as a get", () => {
      const fixture = new TextFixture({ shards });
      fixture.ask("set a 0 1 1\r\nx\r\n");
      fixture.nowS += 2;
      assert.equal(fixture.ask("set a 0 0 1\r\ny\r\n"), "STORED\r\n");
      assert.equal(fixture.ask("set a 0 0 1\r\nz\r\n"), "STORED\r\n");
      assert.equal(fixture.counters.sum("reclaimed"), 1);
      const { gets, hits } = fixture.memory.more;
      assert.deepEqual({ gets, hits }, { gets: 0, hits: 0 });
    });

    test("expired and flushed items are swept", () => {
      const fixture = new TextFixture({ shards });
      for (let i = 0; i < 200; i++) fixture.ask(`set k${i} 0 ${i % 2 === 0 ? 5 : 0} 1\r\nx\r\n`);
      fixture.nowS += 5;
      assert.equal(fixture.ask("lru_crawler crawl 1\r\n"), "OK\r\n");
      assert.equal(fixture.memory.items, 100);
      assert.equal(fixture.counters.sum("crawler_reclaimed"), 100);
      const dump = fixture.ask("lru_crawler metadump all\r\n");
      assert.equal(dump.match(/^key=/gm)?.length, 100);
      const pipelined = fixture.ask("mn\r\nlru_crawler metadump all\r\n");
      assert.match(pipelined, /^MN\r\nERROR cannot pipeline/);
    });

    test("names and passwords", () => {
      const folder = mkdtempSync(join(tmpdir(), "zcache-auth-"));
      const file = join(folder, "auth");
      writeFileSync(file, "foo:bar\nother:se:cret\n");
      const credentials = Credentials.read(file);
      writeFileSync(file, "\n");
      assert.throws(() => Credentials.read(file), isOptionError);
      writeFileSync(file, "nocolon\n");
      assert.throws(() => Credentials.read(file), isOptionError);
      rmSync(folder, { recursive: true });
      const fixture = new TextFixture({ shards, credentials });
      converse(fixture, [
        ["get a\r\n", "CLIENT_ERROR unauthenticated\r\n"],
        ["set x 0 0 7\r\nfoo baz\r\n", "CLIENT_ERROR authentication failure\r\n"],
        ["set x 0 0 3\r\nfoo\r\n", "CLIENT_ERROR bad authentication token format\r\n"],
        ["set x 0 0 3\r\nfoooo", "CLIENT_ERROR bad command line termination\r\n"],
        ["set x 0 0 12\r\nother secret\r\n", "CLIENT_ERROR authentication failure\r\n"],
      ]);
      const again = new TextFixture({ shards, credentials });
      converse(again, [
        ["set x 0 0 13\r\nother se:cret\r\n", "STORED\r\n"],
        ["get x\r\n", "END\r\n"],
      ]);
      assert.equal(again.counters.sum("auth_cmds"), 1);
    });
  });

test("connections share items, and nothing else", () => {
  const fixture = new EngineFixture();
  const [one, two] = [new Session(), new Session()];
  assert.equal(fixture.send(one, "set a 0 0 5\r\nab").length, 0);
  assert.equal(fixture.send(two, "set b 0 0 1\r\nb\r\n").toString(), "STORED\r\n");
  assert.equal(
    fixture.send(one, "cde\r\nget b\r\n").toString(),
    "STORED\r\nVALUE b 0 1\r\nb\r\nEND\r\n",
  );
  assert.equal(fixture.send(two, "get a\r\n").toString(), "VALUE a 0 5\r\nabcde\r\nEND\r\n");
  assert.equal(fixture.receiveBuffer.pendingBytes, 0);
});

function isOptionError(error: unknown): boolean {
  return error instanceof ZcacheError && error.code === "ERR_OPTION";
}
