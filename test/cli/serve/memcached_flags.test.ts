// `zcache memcached`: memcached's own flags, what they stand for, and a server that they start.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { availableParallelism } from "node:os";
import { test } from "node:test";
import { KIB, MIB } from "../../../src/base/units.ts";
import {
  configOfFlags,
  flagsWithoutMeaning,
  type MemcachedFlags,
  memcachedCommand,
} from "../../../src/cli/serve/memcached_flags.ts";
import { memcachedAddresses } from "../../../src/cli/serve/settings.ts";
import { serveFixture } from "./fixture.ts";

const { at, zcache, server } = serveFixture();
const valuesOf = (flags: MemcachedFlags) => configOfFlags(flags).memcached;
const placesOf = (flags: MemcachedFlags) =>
  memcachedAddresses(valuesOf(flags)).map(({ prefix, host, port }) => [prefix, host, port]);

test("without flags, memcached's defaults", () => {
  const { memoryMax, maxConns, threads, maxItemSize, backlog, protocol } = valuesOf({});
  assert.deepEqual([memoryMax, maxConns, maxItemSize], [64 * MIB, 1024, MIB]);
  assert.deepEqual([backlog, protocol], [1024, "auto"]);
  assert.equal(threads, Math.min(4, availableParallelism()));
  assert.deepEqual(placesOf({}), [["", "0.0.0.0", 11_211]]);
});

test("flags stand for settings", () => {
  const values = valuesOf({
    ...{ m: "128", c: "50", t: "3", b: "10", B: "ascii", I: "2m", D: "/", Y: "users", e: "file" },
    ...{ A: true, M: true, L: true, C: true, F: true, X: true, W: true, v: true, r: true },
    o: ["idle_timeout=5,no_lru_crawler", "watcher_logbuf_size=16,modern,ext_path=cold:2G"],
  });
  assert.deepEqual([values.memoryMax, values.maxItemSize], [128 * MIB, 2 * MIB]);
  assert.deepEqual([values.maxConns, values.threads, values.backlog], [50, 3, 10]);
  assert.deepEqual([values.protocol, values.prefixDelimiter], ["ascii", "/"]);
  assert.deepEqual([values.authFile, values.persist], ["users", "file"]);
  assert.deepEqual([values.allowShutdown, values.hugePages], [true, true]);
  const { evict, cas, flush, dump, watch, sweep } = values;
  assert.deepEqual(
    { evict, cas, flush, dump, watch, sweep },
    {
      ...{ evict: false, cas: false, flush: false, dump: false, watch: false, sweep: false },
    },
  );
  assert.deepEqual([values.idleTimeout, values.watchBuffer], [5, 16 * KIB]);
  assert.deepEqual([values.writeBack, values.writeBackMax], ["cold", 2 * 1024 * MIB]);
});

test("addresses have the port of -p, or their own", () => {
  assert.deepEqual(placesOf({ p: "1234" }), [["", "0.0.0.0", 1234]]);
  const lists = { p: "77", l: ["127.0.0.1,10.0.0.1:99", "[::1]:5,::1", "notls:localhost"] };
  assert.deepEqual(placesOf(lists), [
    ["", "127.0.0.1", 77],
    ["", "10.0.0.1", 99],
    ["", "::1", 5],
    ["", "::1", 77],
    ["notls", "localhost", 77],
  ]);
  const { socket, listen, socketMode } = valuesOf({ s: ["x.sock"], a: "770", p: "0" });
  assert.deepEqual([socket, listen, socketMode], [["x.sock"], [], 0o770]);
});

test("what can't be done is refused in one line", () => {
  const cases: [MemcachedFlags, RegExp][] = [
    [{ d: true }, /^-d: the server stays in the foreground/],
    [{ S: true }, /^-S: .*-Y/],
    [{ U: "11211" }, /^-U 11211: UDP is not served; must be 0$/],
    [{ m: "64m" }, /^-m: "64m" is not allowed; write a number of megabytes$/],
    [{ p: "99999" }, /^-p: "99999" is not allowed/],
    [{ p: "0" }, /^-p 0: .*-s FILE/],
    [{ t: "0" }, /^-t: "0" is not allowed; write a whole number from 1 to 64$/],
    [{ Z: true }, /^-Z: give -o ssl_chain_cert=FILE,ssl_key=FILE$/],
    [{ o: ["idle_timeot=1"] }, /^-o: memcached has no option "idle_timeot"; did you mean idle_t/],
    [{ o: ["idle_timeout=x"] }, /^-o idle_timeout: "x" is not allowed/],
  ];
  for (const [flags, message] of cases) {
    assert.throws(() => configOfFlags(flags), { name: "ZcacheError", message });
  }
  const { status, stdout, stderr } = zcache("memcached", "-m", "64m");
  assert.deepEqual([status, stdout], [2, ""]);
  assert.match(stderr, /^zcache: -m: "64m" is not allowed; write a number of megabytes\n$/);
});

test("there is no flag without a meaning", () => {
  assert.deepEqual(flagsWithoutMeaning(), []);
});

const memcached = spawnSync("memcached", ["-h"], { encoding: "utf8" });

test("memcached's flags are all known", { skip: memcached.error && "needs memcached" }, () => {
  const theirs = [...memcached.stdout.matchAll(/^-([a-zA-Z])\b/gm)].map(([, letter]) => letter!);
  assert.ok(theirs.length > 25);
  const { options } = memcachedCommand("0");
  const ours = [...options.map(({ short }) => short?.[1]), "h"];
  assert.deepEqual(
    theirs.filter((letter) => !ours.includes(letter)),
    [],
  );
  const extended = [...memcached.stdout.matchAll(/^ {3}- (\w+): /gm)].map(([, name]) => name!);
  assert.ok(extended.length > 30);
  for (const name of extended) {
    try {
      configOfFlags({ o: [`${name}=1`] });
    } catch (error) {
      assert.doesNotMatch((error as Error).message, /has no option/);
    }
  }
});

/** Sends text to the server's socket. @returns its answer, of so many lines */
function ask(path: string, text: string, lines: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(path);
    socket.once("error", reject);
    socket.on("data", (data) => {
      answer += data;
      if (answer.split("\r\n").length <= lines) return;
      socket.destroy();
      resolve(answer);
    });
    socket.write(text);
  });
}

test("a server with the flags of a unit file", async () => {
  const flags = ["-m", "16", "-c", "100", "-t", "2", "-vv", "-P", "z.pid", "-U", "0"];
  const one = await server("memcached", ...flags, "-s", "z.sock", "-a", "0700", "-o", "modern");
  assert.equal(readFileSync(at("z.pid"), "utf8"), `${one.pid}\n`);
  assert.equal(await ask(at("z.sock"), "set a 0 0 1\r\n7\r\n", 1), "STORED\r\n");
  const stats = await ask(at("z.sock"), "stats settings\r\n", 40);
  assert.match(stats, /^STAT maxbytes 16777216\r$/m);
  assert.match(stats, /^STAT num_threads 2\r$/m);
  const { code } = await one.end();
  assert.equal(code, 0);
  assert.ok(!existsSync(at("z.pid")));
});

const isRoot = process.getuid?.() === 0;

test("root's server becomes another user", { skip: !isRoot && "needs root" }, async () => {
  const one = await server("memcached", "-m", "8", "-t", "2", "-u", "nobody", "-s", "u.sock");
  const status = readFileSync(`/proc/${one.pid}/status`, "latin1");
  assert.match(status, /^Uid:\t(?!0\t)(\d+)\t\1\t\1\t\1$/m);
  assert.match(status, /^Groups:\t\s*$/m);
  assert.equal(await ask(at("u.sock"), "version\r\n", 1), "VERSION 1.6.18-zcache\r\n");
  await one.end();
  const unknown = zcache("memcached", "-u", "no-such-user", "-s", "v.sock");
  assert.match(unknown.stderr, /^zcache: -u: there is no user no-such-user in \/etc\/passwd\n$/);
  assert.equal(unknown.status, 2);
});
