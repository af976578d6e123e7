// The control socket with difficult clients: unexpected errors, idle clients, half a line, an
// endless line, clients that do not read.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { askControl, type ControlOptions, ControlServer } from "../../src/monitor/control.ts";
import { InternalErrors } from "../../src/node/internal_errors.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const folder = temporaryFolder("control");
let sockets = 0;

async function serving(
  work: (path: string, errors: InternalErrors, logged: readonly string[]) => Promise<void>,
  options: Partial<ControlOptions> = {},
): Promise<void> {
  const path = join(folder, `${sockets++}.sock`);
  const logged: string[] = [];
  const errors = new InternalErrors({ log: (text) => logged.push(text) });
  const knobs = [{ name: "limit", describe: "how much", get: () => "1", set: () => {} }];
  const stats = () => ({ hits: 1 });
  const server = await ControlServer.start({ path, knobs, stats, errors, ...options });
  try {
    await work(path, errors, logged);
  } finally {
    await server.close();
  }
}

function client(path: string): Socket {
  return connect(path).on("error", () => {});
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

function fail(what: string): never {
  throw new TypeError(`injected: ${what}`);
}

test("an unexpected error ends the request and is logged once", async () => {
  await serving(
    async (path, errors, logged) => {
      const requests = [
        { stats: true },
        { state: true },
        { list: true },
        { get: ["bad"] },
        { set: { bad: "1" } },
      ] as const;
      for (let round = 1; round <= 3; round++) {
        for (const request of requests) {
          await assert.rejects(askControl(path, request), { code: "ERR_INTERNAL" });
        }
        assert.deepEqual(await askControl(path, { get: ["good"] }), { good: "1" });
        assert.equal(errors.count, requests.length * round);
      }
      assert.equal(logged.length, requests.length);
      for (const text of logged) assert.match(text, /injected: .*\n {4}at /);
    },
    {
      stats: () => fail("stats"),
      state: () => fail("state"),
      knobs: [
        { name: "good", describe: "", get: () => "1" },
        { name: "bad", describe: "", get: () => fail("get"), set: () => fail("set") },
      ],
    },
  );
});

test("a command may take its time, while other clients are answered", async () => {
  let end = (_: string) => {};
  const done = new Promise<string>((resolve) => {
    end = resolve;
  });
  const run = (text: string) => (text === "now" ? done : undefined);
  const knob = { name: "work", describe: "", get: () => "idle", set: () => {}, run };
  const idleMs = 50;
  await serving(
    async (path) => {
      const first = askControl(path, { set: { work: "now" } });
      for (let nth = 0; nth < 3; nth++) {
        assert.deepEqual(await askControl(path, { set: { work: "later" } }), { work: "idle" });
      }
      // A client that is idle for as long is closed; one that waits for its command is not.
      await closed(client(path));
      end("all done");
      assert.deepEqual(await first, { work: "all done" });
    },
    { knobs: [knob], idleMs },
  );
});

test("a value that can't be written as JSON is an unexpected error", async () => {
  await serving(
    async (path, errors) => {
      await assert.rejects(askControl(path, { stats: true }), { code: "ERR_INTERNAL" });
      assert.equal(errors.count, 1);
    },
    { stats: () => ({ hits: 1n }) },
  );
});

test("idle clients, however many, do not keep others out", async () => {
  await serving(async (path) => {
    const silent: Socket[] = [];
    for (let round = 0; round < 5; round++) {
      silent.push(...Array.from({ length: 60 }, () => client(path)));
      assert.deepEqual(await askControl(path, { stats: true }), { hits: 1 });
    }
    for (const socket of silent) socket.destroy();
  });
});

test("clients that send half a line, no line or an endless line are closed", async () => {
  await serving(
    async (path) => {
      const half = client(path);
      half.write('{"stats":');
      // Bytes that come slowly make no line either.
      const slow = client(path);
      const timer = setInterval(() => slow.write("x"), 20);
      const endless = client(path);
      const flood = () => {
        while (!endless.destroyed && endless.write("x".repeat(64 * 1024)));
      };
      endless.on("drain", flood);
      flood();
      await Promise.all([half, slow, endless, client(path)].map(closed));
      clearInterval(timer);
      assert.deepEqual(await askControl(path, { stats: true }), { hits: 1 });
    },
    { lineMs: 200, idleMs: 400 },
  );
});

test("pipelined lines are answered in order", async () => {
  await serving(async (path) => {
    const socket = client(path);
    const lines = 500;
    socket.end('{"stats":true}\n{"get":["limit"]}\n'.repeat(lines / 2));
    let text = "";
    socket.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    await closed(socket);
    assert.equal(text, '{"ok":{"hits":1}}\n{"ok":{"limit":"1"}}\n'.repeat(lines / 2));
  });
});

test("a client that sends without reading does not slow others", async () => {
  const big = { text: "x".repeat(50_000) };
  let asked = 0;
  await serving(
    async (path) => {
      const greedy = client(path).pause();
      for (let nth = 0; nth < 10_000; nth++) greedy.write('{"stats":true}\n');
      for (let nth = 0; nth < 20; nth++) {
        assert.deepEqual(await askControl(path, { get: ["limit"] }), { limit: "1" });
      }
      // As many answers as the system has room for, and no more.
      assert.ok(asked < 1000, `${asked} answers were made`);
      greedy.destroy();
    },
    {
      stats: () => {
        asked++;
        return big;
      },
    },
  );
});

test("the socket has mode 0600, or the mode that is set", async () => {
  for (const [mode, expected] of [
    [undefined, 0o600],
    [0o660, 0o660],
  ] as const) {
    const before = process.umask(0o000);
    try {
      await serving(
        async (path) => assert.equal(statSync(path).mode & 0o777, expected),
        mode === undefined ? {} : { mode },
      );
    } finally {
      process.umask(before);
    }
  }
});
