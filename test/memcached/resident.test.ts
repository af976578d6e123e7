// The memory of a server: objects that must not outlive their use, and code that must not be loaded
// before it is needed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Connections } from "../../src/memcached/connections.ts";
import { Client, portOf, startServer } from "./server_fixture.ts";

const CLI = fileURLToPath(
  new URL(`../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url),
);
const CLIENTS = 40;
/** Node's modules that only other commands and TLS need; each stands for many others. */
const UNWANTED = ["http", "https", "tls"];
/** Preloaded into the program: prints at its end which of Node's modules were loaded. */
const REPORTER = `data:text/javascript,process.on("exit", () =>
  console.error(process.moduleLoadList.map((name) => name.replace(/^NativeModule /, "")).join()))`;

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

describe("resident memory", () => {
  test("an accepted socket is collected when its handle is taken", {
    timeout: 60_000,
  }, async (t) => {
    const accepted: WeakRef<Socket>[] = [];
    const { accept } = Connections.prototype;
    // Not a mock, which would keep its arguments alive.
    Connections.prototype.accept = function (socket, encrypted) {
      accepted.push(new WeakRef(socket));
      accept.call(this, socket, encrypted);
    };
    t.after(() => {
      Connections.prototype.accept = accept;
    });
    const server = await startServer();
    t.after(() => server.close(false));
    const where = { host: "127.0.0.1", port: portOf(server) };
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => Client.open(where)));
    for (const client of clients) assert.match(await client.ask("version\r\n"), /^VERSION/);
    // The target of a new weak reference lives until the turn of the event loop ends.
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    const left = accepted.filter((socket) => socket.deref() !== undefined).length;
    assert.equal(accepted.length, CLIENTS);
    assert.ok(left <= 2, `${left} of ${CLIENTS} sockets without a handle are held`);
    for (const client of clients) client.close();
  });

  test("the server does not load the code of other commands", { timeout: 60_000 }, async () => {
    const args = ["serve", "memcached", "--listen", "127.0.0.1:0", "--no-control"];
    const server = spawn(process.execPath, ["--import", REPORTER, CLI, ...args]);
    let said = "";
    server.stderr.on("data", (piece: Buffer) => {
      said += piece.toString();
    });
    await once(server.stdout, "data");
    server.kill("SIGTERM");
    await once(server, "close");
    const loaded = said.trim().split(",");
    assert.ok(loaded.includes("net"), said);
    assert.deepEqual(
      UNWANTED.filter((name) => loaded.includes(name)),
      [],
    );
  });
});
