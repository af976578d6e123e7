// The web server's answers and access rules: methods, host names, tokens, limits, garbage. Clients
// write HTTP to a socket, because a library would not send invalid requests.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Knob } from "../../src/base/knob.ts";
import type { HitRates, State } from "../../src/dashboard/api.ts";
import { monitorStore } from "../../src/monitor/monitor.ts";
import { WebServer } from "../../src/monitor/web/server.ts";
import { fillDevice, type NbdFixture, startNbd, startWeb } from "./fixture.ts";

const TOKEN = "correct horse battery".replaceAll(" ", "-");
const DEADLINE_MS = 60_000;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

let nbd: NbdFixture;
let open: WebServer;
let guarded: WebServer;
let limit = "1000";
const knobs: readonly Knob[] = [
  {
    name: "limit",
    describe: "how much",
    get: () => limit,
    set: (text) => {
      limit = text;
    },
  },
  { name: "pool", describe: "which", get: () => "dense" },
];

before(async () => {
  nbd = await startNbd();
  fillDevice(nbd, 500);
  open = await startWeb([nbd.monitor], { knobs });
  guarded = await startWeb([nbd.monitor], { knobs, token: TOKEN, hostnames: ["Cache.Example"] });
});

after(async () => {
  await open.close();
  await guarded.close();
  await nbd.close();
});

function connectTo(server: WebServer): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("connect", () => resolve(socket)));
}

/** A client that connects and says nothing. */
function silent(server: WebServer): Socket {
  const { hostname, port } = new URL(server.url);
  return connect({ host: hostname, port: Number(port) }).on("error", () => {});
}

/**
 * Sends bytes as they are, and gives all that comes until the other side ends.
 * @param ends whether this side ends first, so that an answer that takes time is not waited for
 */
async function raw(server: WebServer, bytes: string | Uint8Array, ends = true): Promise<string> {
  const socket = await connectTo(server);
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  if (ends) socket.end(bytes);
  else socket.write(bytes);
  const timer = setTimeout(() => socket.destroy(), DEADLINE_MS);
  await closed;
  clearTimeout(timer);
  return Buffer.concat(pieces).toString("latin1");
}

async function request(
  server: WebServer,
  line: string,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): Promise<Answer> {
  const all = { host: new URL(server.url).host, connection: "close", ...headers };
  const length = body === "" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const lines = Object.entries({ ...all, ...length }).map(([name, value]) => `${name}: ${value}`);
  const head = `${line} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
  return parse(await raw(server, head + body, false));
}

function parse(text: string): Answer {
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const [first = "", ...lines] = head.split("\r\n");
  const headers = lines.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
  });
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1]);
  return { status, headers: Object.fromEntries(headers), body: rest.join("\r\n\r\n") };
}

const get = (server: WebServer, path: string, headers: Readonly<Record<string, string>> = {}) =>
  request(server, `GET ${path}`, headers);

test("the page and its files are served", async () => {
  for (const [path, type] of [
    ["/", "text/html"],
    ["/app.js", "text/javascript"],
    ["/app.css", "text/css"],
    ["/chart.js", "text/javascript"],
  ] as const) {
    const { status, headers, body } = await get(open, path);
    assert.equal(status, 200, path);
    assert.match(headers["content-type"]!, new RegExp(`^${type};`));
    assert.match(headers["content-security-policy"]!, /^default-src 'none';.*script-src 'self';/);
    assert.equal(headers["access-control-allow-origin"], undefined);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.ok(body.length > 500);
    const head = await request(open, `HEAD ${path}`);
    assert.deepEqual([head.status, head.body], [200, ""]);
    const again = await get(open, path, { "if-none-match": headers["etag"]! });
    assert.deepEqual([again.status, again.body], [304, ""]);
  }
  // The policy allows neither, and so the page has neither.
  const { body } = await get(open, "/");
  assert.doesNotMatch(body, /<style|style=|<script>|onclick=|https?:/);
});

test("the state has figures of every service", async () => {
  const { status, headers, body } = await get(open, "/api/state");
  assert.equal(status, 200);
  assert.equal(headers["cache-control"], "no-store");
  const state = JSON.parse(body) as State;
  const [service] = state.services;
  const stats = nbd.store.stats();
  assert.equal(service!.name, "nbd");
  assert.equal(service!.memory.usedBytes, stats.mem_used_total);
  assert.equal(service!.memory.logicalBytes, stats.orig_data_size);
  const parts = Object.values(service!.memory.parts).reduce((sum, n) => sum + n, 0);
  assert.equal(parts, service!.memory.usedBytes, "the parts add up");
  assert.equal(service!.stored.sameFilled, stats.same_pages);
  assert.equal(service!.operations["write"], 500);
  assert.equal(state.mayChange, false);
  const sizes = JSON.parse((await get(open, "/api/services/nbd/sizes")).body);
  assert.equal(sizes.looked, stats.persistent.pagesInMemory);
  assert.equal(sizes.sameFilled, stats.same_pages);
  assert.equal(sizes.raw, stats.huge_pages);
  assert.equal(
    sizes.bins.reduce((sum: number, n: number) => sum + n, 0),
    sizes.looked,
  );
  assert.equal(sizes.bins.at(-1), stats.huge_pages);
});

test("unknown paths and invalid parameters are refused", async () => {
  for (const path of [
    ...["/nothing", "/api", "/api/services/nbd", "/api/services/other/map", "/../package.json"],
    ...["/api/knobs", "/app.js/", "/%2e%2e/package.json", "//etc/passwd", "/index.html"],
  ]) {
    assert.equal((await get(open, path)).status, 404, path);
  }
  for (const query of [
    "from=-1",
    "cells=0",
    "cells=99999999999",
    "to=0",
    "from=5&to=5",
    "from=x",
  ]) {
    const { status, body } = await get(open, `/api/services/nbd/map?${query}`);
    assert.equal(status, 400, query);
    assert.match(JSON.parse(body).error, /is not a number from|less than/);
  }
  const { status, body } = await get(open, "/api/services/nbd/what-if?codec=%3Cscript%3E&pool=x");
  assert.equal(status, 400);
  assert.match(JSON.parse(body).error, /^codec "<script>" is not one of /);
  assert.equal((await request(open, "GET http://elsewhere.example/")).status, 400);
  assert.equal((await request(open, "OPTIONS *")).status, 400);
});

test("studies of hit rates are started with a length, one at a time", async () => {
  const path = "/api/services/nbd/hit-rates";
  for (const seconds of ["0", "-1", "3601", "x", "", "1e3"]) {
    const { status, body } = await get(open, `${path}?seconds=${seconds}`);
    assert.equal(status, 400, seconds);
    assert.match(JSON.parse(body).error, /^seconds ".*" is not a number from 1 to 3600$/);
  }
  const one = await startNbd();
  fillDevice(one, 200);
  const other = monitorStore({
    ...{ name: "other", kind: "test", store: one.store },
    figures: () => ({ operations: {}, connections: { now: 0, accepted: 0, refused: 0 } }),
  });
  const server = await startWeb([one.monitor, other]);
  const study = async (query = "") => {
    const { status, body } = await get(server, path + query);
    assert.equal(status, 200, body);
    return JSON.parse(body) as HitRates;
  };
  assert.equal((await study()).state, "none");
  assert.equal((await study("?seconds=3600")).state, "running");
  assert.equal((await study("?seconds=60")).seconds, 3600, "the running study goes on");
  const refused = await get(server, "/api/services/other/hit-rates?seconds=60");
  assert.equal(refused.status, 429);
  assert.match(refused.body, /a study of another service is running/);
  assert.equal((await get(server, "/api/services/other/hit-rates")).status, 200);
  await one.monitor.close();
  assert.equal((await study()).why, "the service has ended");
  await server.close();
  await one.close();
});

test("other methods are refused, and nothing can be set without a token", async () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]) {
    for (const path of ["/", "/api/state", "/metrics", "/api/knobs"]) {
      const answer = await request(open, `${method} ${path}`);
      assert.equal(answer.status, 405, `${method} ${path}`);
      assert.equal(answer.headers["allow"], "GET, HEAD");
    }
  }
  assert.equal((await get(open, "/api/knobs")).status, 404);
});

test("knobs are set with the token only, and as JSON only", async () => {
  const right = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const body = JSON.stringify({ name: "limit", value: "2000" });
  for (const authorization of [undefined, "Bearer wrong", `Basic ${TOKEN}`, "Bearer ", TOKEN]) {
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (authorization !== undefined) headers["authorization"] = authorization;
    for (const line of ["POST /api/knobs", "GET /api/knobs", "DELETE /api/knobs"]) {
      const answer = await request(guarded, line, headers, line.startsWith("POST") ? body : "");
      assert.equal(answer.status, 401, `${line} ${authorization}`);
      assert.equal(answer.headers["www-authenticate"], "Bearer");
    }
  }
  assert.equal(limit, "1000");
  const form = { ...right, "content-type": "text/plain" };
  assert.equal((await request(guarded, "POST /api/knobs", form, body)).status, 415);
  const big = JSON.stringify({ name: "limit", value: "9".repeat(5000) });
  assert.equal((await request(guarded, "POST /api/knobs", right, big)).status, 413);
  for (const wrong of ["{", "null", "[]", '{"name":1,"value":"2"}', '{"name":"limit"}']) {
    assert.equal((await request(guarded, "POST /api/knobs", right, wrong)).status, 400, wrong);
  }
  const fixed = JSON.stringify({ name: "pool", value: "zbud" });
  const answer = await request(guarded, "POST /api/knobs", right, fixed);
  assert.deepEqual(
    [answer.status, JSON.parse(answer.body).error],
    [400, '"pool" can\'t be set; settings are limit'],
  );
  assert.equal(limit, "1000");
  const set = await request(guarded, "POST /api/knobs", right, body);
  assert.equal(set.status, 200);
  assert.equal(limit, "2000");
  const listed = await get(guarded, "/api/knobs", right);
  assert.deepEqual(
    JSON.parse(listed.body).map((knob: { name: string; writable: boolean }) => knob.writable),
    [true, false],
  );
  assert.equal(
    (await request(guarded, "PUT /api/knobs", right)).headers["allow"],
    "GET, HEAD, POST",
  );
});

test("requests for an unknown host name are refused", async () => {
  const statusOf = async (server: WebServer, host: string) =>
    (await get(server, "/api/state", { host })).status;
  for (const host of ["127.0.0.1", "localhost:80", "10.1.2.3:80", "[::1]:80", "a.localhost"]) {
    assert.equal(await statusOf(open, host), 200, host);
  }
  for (const host of [
    "evil.example",
    "127.0.0.1.evil.example",
    "a b",
    "localhost@evil",
    "[evil]",
  ]) {
    assert.ok([400, 403].includes(await statusOf(open, host)), host);
  }
  assert.equal(await statusOf(guarded, "cache.example:8080"), 200);
  assert.equal(await statusOf(guarded, "other.example"), 403);
  assert.equal(parse(await raw(open, "GET / HTTP/1.0\r\n\r\n")).status, 403);
  for (const site of ["cross-site", "same-site"]) {
    assert.equal((await get(open, "/metrics", { "sec-fetch-site": site })).status, 403);
  }
  assert.equal((await get(open, "/metrics", { "sec-fetch-site": "same-origin" })).status, 200);
});

test("comparisons run one at a time with a rest in between", async () => {
  const path = "/api/services/nbd/what-if?codec=lz4&pool=zbud";
  const statuses = await Promise.all(
    [1, 2, 3].map(async () => {
      const { status, headers } = await get(open, path);
      if (status === 429) assert.equal(headers["retry-after"], "1");
      return status;
    }),
  );
  assert.deepEqual(statuses.sort(), [200, 429, 429]);
  assert.equal((await get(open, path)).status, 429);
  await sleep(1100);
  assert.equal((await get(open, path)).status, 200);
});

test("simultaneous requests share one walk", async () => {
  let walks = 0;
  const slow = {
    ...{ name: "slow", kind: "test" },
    picture: () => nbd.monitor.picture(),
    choices: () => nbd.monitor.choices(),
    frames: (from: number, to: number, cells: number) => nbd.monitor.frames(from, to, cells),
    whatIf: (codec: string, pool: string) => nbd.monitor.whatIf(codec, pool),
    hitRates: () => nbd.monitor.hitRates(),
    sizes: async () => {
      walks++;
      await sleep(100);
      return await nbd.monitor.sizes();
    },
    close: async () => {},
  };
  const server = await startWeb([slow]);
  const asked = Array.from({ length: 20 }, () => get(server, "/api/services/slow/sizes"));
  assert.ok((await Promise.all(asked)).every(({ status }) => status === 200));
  assert.equal(walks, 1);
  const others = [0, 1, 2, 3, 4, 5, 6, 7].map((from) =>
    get(server, `/api/services/slow/map?from=${from}&cells=1`),
  );
  const statuses = (await Promise.all(others)).map(({ status }) => status);
  assert.ok(statuses.includes(200));
  assert.ok(statuses.every((status) => status === 200 || status === 429));
  await server.close();
});

test("large headers, endless requests and too many clients are refused", async () => {
  const huge = await get(open, "/", { "x-much": "a".repeat(9000) });
  assert.equal(huge.status, 431);
  const sockets = await Promise.all(Array.from({ length: 64 }, () => connectTo(open)));
  const gone = new Promise<void>((resolve) => sockets[0]!.once("close", () => resolve()));
  sockets[0]!.resume();
  assert.equal((await get(open, "/")).status, 200, "the 65th is served");
  await gone;
  // Who says nothing is closed.
  const begun = performance.now();
  const closed = sockets.slice(1).map((socket) => {
    socket.resume();
    return new Promise<void>((resolve) => socket.once("close", () => resolve()));
  });
  for (const socket of sockets.slice(0, 8)) socket.write("GET / HTTP/1.1\r\nx: ");
  for (const socket of sockets.slice(32)) socket.destroy();
  await Promise.race([Promise.all(closed), sleep(DEADLINE_MS, undefined, { ref: false })]);
  assert.ok(performance.now() - begun < DEADLINE_MS, "idle clients were closed in time");
  assert.equal((await get(open, "/")).status, 200);
});

test("idle connections, however many, do not keep others out", async () => {
  const sockets = Array.from({ length: 300 }, () => silent(open));
  for (let nth = 0; nth < 5; nth++) {
    assert.equal((await get(open, "/api/state")).status, 200);
    sockets.push(...Array.from({ length: 100 }, () => silent(open)));
  }
  for (const socket of sockets) socket.destroy();
});

test("a client that pipelines many requests without reading is closed", async () => {
  const socket = await connectTo(open);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => {});
  socket.write("GET /api/state HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000));
  socket.resume();
  await closed;
  assert.equal((await get(open, "/api/state")).status, 200);
});

test("the head of a request, a request and a connection have time limits", async () => {
  const limits = { headersMs: 200, requestMs: 300, keepAliveMs: 200, idleMs: 400 };
  const quick = await startWeb([], { limits, token: TOKEN });
  try {
    const beginnings = [
      "",
      "GET",
      "GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
      "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
      `POST /api/knobs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKEN}\r\n\
content-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
    ];
    await Promise.all(
      beginnings.map(async (text) => {
        const socket = await connectTo(quick);
        socket.on("error", () => {}).resume();
        socket.write(text);
        await new Promise<void>((resolve) => socket.once("close", () => resolve()));
      }),
    );
    assert.equal((await get(quick, "/api/state")).status, 200);
  } finally {
    await quick.close();
  }
});

test("garbage is refused, and the next request is answered", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc
          .tuple(fc.constantFrom("GET", "POST", "FOO"), fc.webPath(), fc.string())
          .map(([method, path, rest]) =>
            Buffer.from(`${method} ${path} HTTP/1.1\r\n${rest}\r\n\r\n`),
          ),
        fc
          .webPath()
          .map((path) => Buffer.from(`GET /api${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`)),
      ),
      async (bytes) => {
        const text = await raw(open, bytes);
        assert.match(text, /^$|^HTTP\/1\.1 [234]\d\d /);
      },
    ),
    { numRuns: 60 },
  );
  assert.equal((await get(open, "/api/state")).status, 200);
});

test("invalid options and addresses in use are refused", async () => {
  const { port } = new URL(open.url);
  const wrong: readonly [Parameters<typeof startWeb>[1], string][] = [
    [{ port: 70_000 }, "ERR_OPTION"],
    [{ port: Number.NaN }, "ERR_OPTION"],
    [{ token: "short" }, "ERR_OPTION"],
    [{ port: Number(port) }, "ERR_IO"],
    [{ host: "256.0.0.1" }, "ERR_IO"],
  ];
  for (const [options, code] of wrong) {
    await assert.rejects(startWeb([nbd.monitor], options), { code }, JSON.stringify(options));
  }
  await assert.rejects(startWeb([nbd.monitor, nbd.monitor]), { code: "ERR_OPTION" });
  const named = { ...nbd.monitor, name: "a/b" };
  await assert.rejects(WebServer.start({ port: 0, monitors: [named] }), { code: "ERR_OPTION" });
});

test("closing ends clients and running walks", async () => {
  const other = await startNbd();
  fillDevice(other, 1500);
  const server = await startWeb([other.monitor]);
  const socket = await connectTo(server);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.resume();
  const asked = get(server, "/api/services/nbd/what-if?codec=zstd&pool=zbud");
  await sleep(30);
  await server.close();
  await closed;
  assert.equal((await asked).status, Number.NaN, "nobody answers any more");
  await other.close();
});
