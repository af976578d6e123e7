// `zcache serve memcached`: options and their errors, the warning, and the end of the server.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Client } from "./server_fixture.ts";

const CLI = fileURLToPath(
  new URL(`../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url),
);

const USAGE_ERRORS: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [["--bogus"], /^zcache: unknown option '--bogus'/],
  [["--threads", "0"], /^zcache: --threads: "0" is not allowed; write a whole number from 1 to 64/],
  [["--max-conns", "-1"], /^zcache: --max-conns: "-1" is not allowed/],
  [["--memory-max", "lots"], /^zcache: --memory-max: "lots" is not a size/],
  [
    ["--max-item-size", "1000"],
    /^zcache: --max-item-size: "1000" is not allowed; write at least 1024 bytes/,
  ],
  [
    ["--max-item-size", "40M"],
    /^zcache: --max-item-size: 41943040 is more than half of --memory-max/,
  ],
  [
    ["--protocol", "http"],
    /^zcache: --protocol: "http" is not allowed; write one of auto, ascii, binary/,
  ],
  [["--listen", "1:2:3"], /^zcache: --listen: "1:2:3" is not allowed; write HOST:PORT/],
  [["--listen", "host:99999"], /^zcache: --listen: "host:99999" is not allowed/],
  [["--tls-cert", "x"], /^zcache: --tls-cert and --tls-key: give both or neither/],
  [["--tls-ca", "x"], /^zcache: --tls-ca: needs --tls-cert and --tls-key/],
  [["--persist", "x", "--remote", "host:1"], /^zcache: --persist and --remote: give one of them/],
  [["--remote", "host:1:2"], /^zcache: --remote: "host:1:2" is not allowed/],
];

describe("zcache serve memcached", () => {
  for (const [args, message] of USAGE_ERRORS) {
    test(`${args.join(" ")}: a usage error, exit code 2`, () => {
      const result = spawnSync(process.execPath, [CLI, "serve", "memcached", ...args], {
        encoding: "utf8",
        timeout: 30_000,
      });
      assert.equal(result.status, 2, result.stderr);
      assert.match(result.stderr, message);
      assert.equal(result.stderr.trim().split("\n").length, 1, "one line, and no stack");
      assert.equal(result.stdout, "");
    });
  }

  test("missing files: exit code 1", () => {
    for (const args of [
      ["--auth-file", "none"],
      ["--tls-cert", "none", "--tls-key", "none"],
    ]) {
      const command = [CLI, "serve", "memcached", "--listen", "127.0.0.1:0", ...args];
      const result = spawnSync(process.execPath, command, { encoding: "utf8", timeout: 30_000 });
      assert.equal(result.status, 1, result.stderr);
      assert.match(result.stderr, /^zcache: .*none/);
    }
  });

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal} ends the server when its replies are sent`, { timeout: 60_000 }, async () => {
      const folder = mkdtempSync(join(tmpdir(), "zcache-serve-"));
      const path = join(folder, "socket");
      const where = ["--listen", "0.0.0.0:0", "--socket", path];
      const server = spawn(process.execPath, [CLI, "serve", "memcached", "--no-control", ...where]);
      const warned = once(server.stderr, "data");
      const [line] = (await once(server.stdout, "data")) as [Buffer];
      assert.match(String(line), /^memcached on 0\.0\.0\.0:\d+, .*socket; 64\.0 MiB in 1 thread/);
      assert.match(
        String((await warned)[0]),
        /^zcache: warning: memcached: 0\.0\.0\.0 is open to other/,
      );
      const client = await Client.open({ path });
      assert.equal(await client.ask("set a 0 0 1\r\na\r\n"), "STORED\r\n");
      const ended = once(server, "exit");
      server.kill(signal);
      await client.untilEnd();
      assert.deepEqual(await ended, [0, null]);
      rmSync(folder, { recursive: true });
    });
  }
});
