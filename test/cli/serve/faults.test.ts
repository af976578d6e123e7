// Unexpected errors, thrown in every place where the daemon works for a client or in the
// background: each ends that piece of work, is logged once with its stack, and is counted.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { get } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { Command, Option } from "../../../src/nbd/protocol/protocol.ts";
import { type Damage, damagedCopy } from "../../doubles/damaged_copy.ts";
import { NbdClient } from "../../doubles/nbd_client.ts";
import { type DaemonProcess, serveFixture } from "./fixture.ts";

const PAGE = 4096;
const NO_PRLIMIT = spawnSync("prlimit", ["--version"]).status === 0 ? false : "there is no prlimit";
/** Requests for these pages of the device meet an error, or a failure that ends the thread. */
const AT = { receive: 100, turn: 101, drained: 102, ends: 103, promise: 104, timer: 105 };
const fail = (what: string) => `throw new TypeError("injected: ${what}");`;
const asked = (page: number) => `this.#request.offset === ${page * PAGE}`;

const DAMAGES: readonly Damage[] = [
  [
    "nbd/transmission.js",
    "#begin() {",
    `if (${asked(AT.receive)}) ${fail("a request")}
     if (${asked(AT.ends)}) process.exit(7);
     if (${asked(AT.promise)}) Promise.reject(new TypeError("injected: a promise"));
     if (${asked(AT.timer)}) setTimeout(() => { ${fail("a timer")} });`,
  ],
  ["nbd/transmission.js", "#resume() {", `if (${asked(AT.turn)}) ${fail("a turn")}`],
  ["nbd/transmission.js", "    drained() {", `if (${asked(AT.drained)}) ${fail("drain")}`],
  ["nbd/negotiation.js", "#list(data) {", `if (data.length === 5) ${fail("a handshake")}`],
  ["zram/idle_scan.js", "    step(nowMs) {", fail("idle pages")],
  ["cli/serve/reload.js", "export function reload(services, before, wanted) {", fail("a reload")],
  ["monitor/web/metrics.js", "    async text() {", fail("metrics")],
  ["monitor/monitor.js", "    async frames(from, to, cellsMax) {", fail("the map")],
];
const MISSING = [
  "node/maintainer_worker.js",
  "monitor/what_if_worker.js",
  "cache/dictionary_worker.js",
];

const { at, zcache, daemon } = serveFixture(await damagedCopy(DAMAGES, MISSING));

/** A daemon with all services, whose work on idle pages and thread that makes room fail. */
async function start(name: string, ...more: string[]): Promise<DaemonProcess> {
  return daemon(
    ...["--nbd-size", "64M", "--nbd-memory-max", "32M", "--nbd-threads", "2"],
    ...["--nbd-socket", at(`${name}.nbd`), "--nbd-write-back", at(`${name}.back`)],
    ...["--memcached-listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0"],
    ...["--control", at(`${name}.ctl`), ...more],
  );
}

function ask(url: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    get(url, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (piece) => {
        body += piece;
      });
      response.on("end", () => resolve({ status: response.statusCode!, body }));
    }).on("error", reject);
  });
}

function stats(name: string): Record<string, string> {
  const { stdout } = zcache("stats", "--socket", at(`${name}.ctl`));
  return Object.fromEntries(stdout.split("\n").map((line) => line.split("=") as [string, string]));
}

test("an internal error ends only one request, connection or task", async () => {
  const server = await start("all", "--nbd-image", at("image"));
  const web = /web page on (\S+)/.exec(server.text)![1]!;
  const path = at("all.nbd");
  const good = await NbdClient.open(path);
  const data = Buffer.alloc(PAGE, "before");
  assert.equal((await good.request(Command.WRITE, 0, PAGE, { data })).error, 0);

  // The web page: a worker that can't be loaded, what a service does, what the server does.
  for (const [asks, what] of [
    ["api/services/nbd/what-if?codec=lz4&pool=dense", 500],
    ["api/services/nbd/map", 500],
    ["metrics", 500],
    ["api/state", 200],
  ] as const) {
    assert.equal((await ask(web + asks)).status, what, asks);
  }
  // NBD: the connection ends, another one does not.
  for (const page of [AT.receive, AT.turn, AT.drained]) {
    const bad = await NbdClient.open(path);
    // More than a turn, and more than the system takes at once: who waits meets all of them.
    const bytes = page === AT.receive ? 512 : 8 * 1024 * 1024;
    if (page === AT.drained) bad.socket.pause();
    bad.send(Command.READ, page * PAGE, bytes);
    if (page === AT.drained) setTimeout(() => bad.socket.resume(), 300);
    await bad.end();
    assert.deepEqual((await good.request(Command.READ, 0, PAGE)).data, data);
  }
  const greeted = await NbdClient.connect(path);
  greeted.sendOption(Option.LIST, Buffer.alloc(5));
  await greeted.end();
  for (const page of [AT.promise, AT.timer]) {
    assert.equal((await good.request(Command.READ, page * PAGE, PAGE)).error, 0, `${page}`);
  }
  server.kill("SIGHUP");
  await server.untilErrors(/injected: a reload/);
  await server.untilErrors(/injected: idle pages/);
  await server.untilErrors(/injected: a timer/);

  const { "daemon.internal_errors": own, "nbd.server.internal_errors": ofNbd } = stats("all");
  assert.ok(Number(own) >= 3 + 2, `${own} errors of the daemon: ${server.errors}`);
  assert.ok(Number(ofNbd) >= 6, `${ofNbd} errors of NBD: ${server.errors}`);
  const state = JSON.parse((await ask(`${web}api/state`)).body);
  assert.ok(state.internalErrors >= Number(own));
  assert.equal(state.services[0].internalErrors, Number(ofNbd));
  assert.match(zcache("top", "--once", "--socket", at("all.ctl")).stdout, /internal errors \d/);

  assert.deepEqual((await good.request(Command.READ, 0, PAGE)).data, data);
  good.close();
  const { code, text, errors } = await server.end();
  assert.equal(code, 0, errors);
  assert.match(text, /saved 1 pages/);
  for (const what of ["a request", "a turn", "drain", "a handshake", "a promise", "a timer"]) {
    assert.equal(errors.split(`injected: ${what}\n`).length, 2, `${what} is logged once`);
  }
  for (const what of ["idle pages", "a reload", "metrics", "the map"]) {
    assert.equal(errors.split(`injected: ${what}\n`).length, 2, `${what} is logged once`);
  }
  for (const name of ["node/maintainer_worker.js", "monitor/what_if_worker.js"]) {
    assert.match(errors, new RegExp(`Cannot find module .*${name}`), name);
  }
});

test("an NBD thread that ends closes its connections and is replaced", async () => {
  const server = await start("ends", "--no-memcached", "--no-web");
  const path = at("ends.nbd");
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all([0, 1, 2, 3].map(() => openUntilServed(path)));
    const data = Buffer.alloc(PAGE, round + 1);
    assert.equal((await clients[1]!.request(Command.WRITE, 0, PAGE, { data })).error, 0);
    clients[0]!.send(Command.READ, AT.ends * PAGE, 512);
    await clients[0]!.end();
    for (const client of clients) client.close();
    const next = await openUntilServed(path);
    assert.deepEqual((await next.request(Command.READ, 0, PAGE)).data, data);
    next.close();
  }
  await server.untilErrors(/it has ended/);
  assert.equal((await server.end()).code, 0);
});

/** A thread begins within a second; on a machine with much else to do it takes longer. */
const SERVED_MS = 300_000;

/** Opens a connection: again while the thread that has just ended has no successor. */
async function openUntilServed(path: string): Promise<NbdClient> {
  for (const end = Date.now() + SERVED_MS; ; ) {
    try {
      return await NbdClient.open(path);
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((done) => setTimeout(done, 20));
    }
  }
}

test("a worker that can't be loaded is a one-line error at the start", async () => {
  const damaged = serveFixture(await damagedCopy([], ["nbd/worker.js"]));
  const { status, stderr } = damaged.zcache("serve", "nbd", "--size", "8M", "--socket", "s");
  assert.match(stderr, /^zcache: a thread for block devices has failed: Cannot find module .*\n$/);
  assert.equal(status, 1);
});

test("a failed save of the image is reported, and the previous image stays", async () => {
  const image = at("kept");
  const failing = serveFixture(
    await damagedCopy([["zram/image.js", "    async saveAsync() {", fail("saving")]]),
  );
  const server = await failing.daemon("nbd", "--size", "8M", "--socket", "s", "--image", image);
  const client = await NbdClient.open(failing.at("s"));
  client.close();
  const { code, errors } = await server.end();
  assert.equal(code, 1);
  assert.match(errors, /injected: saving/);
});

test("without free descriptors the daemon goes on, and serves again once there are some", {
  skip: NO_PRLIMIT,
}, async () => {
  const server = await start("full");
  const port = Number(/memcached on \S+:(\d+)/.exec(server.text)![1]);
  const web = new URL(/web page on (\S+)/.exec(server.text)![1]!);
  const open = readdirSync(`/proc/${server.pid}/fd`).length;
  execFileSync("prlimit", ["--pid", String(server.pid), `--nofile=${open + 8}:`]);
  const places = [
    { host: "127.0.0.1", port },
    { host: "127.0.0.1", port: Number(web.port) },
    { path: at("full.nbd") },
    { path: at("full.ctl") },
  ];
  for (let round = 0; round < 3; round++) {
    const sockets = Array.from({ length: 80 }, (_, nth) => connect(places[nth % 4]!));
    const settled = sockets.map((socket) => {
      socket.on("error", () => {}).resume();
      return Promise.race(["connect", "close"].map((event) => once(socket, event)));
    });
    await Promise.allSettled(settled);
    for (const socket of sockets) socket.destroy();
  }
  execFileSync("prlimit", ["--pid", String(server.pid), "--nofile=4096:"]);
  assert.equal((await ask(`${web.href}api/state`)).status, 200);
  const client = await NbdClient.open(at("full.nbd"));
  assert.equal((await client.request(Command.READ, 0, PAGE)).error, 0);
  client.close();
  assert.ok("daemon.internal_errors" in stats("full"));
  const { code, errors } = await server.end();
  assert.equal(code, 0, errors);
});
