// Real clients against the server: memccapable, memcslap and memcaslap of libmemcached, memcached's
// own tests, and the clients memjs and memcached from npm.
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { without } from "../../bench/programs.ts";
import { RUNNING, STARTED, STARTED_TLS, STARTED_UNCOMPRESSED } from "./memcached/suites.ts";

const run = promisify(execFile);
const CI = process.env["CI"] === "true";
const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const STAND_IN = fileURLToPath(new URL("./memcached/debug_server.js", import.meta.url));
/** Where scripts/fetch-memcached-tests.sh puts memcached's tests. */
const SOURCE = fileURLToPath(new URL("../../../build/memcached", import.meta.url));
const require = createRequire(import.meta.url);

function packageMissing(name: string): string | false {
  if (CI) return false;
  try {
    require.resolve(name);
    return false;
  } catch {
    return `${name} is not among the packages`;
  }
}

const servers: ChildProcess[] = [];

/** A server of its own process. @returns its port */
async function serve(...options: readonly string[]): Promise<number> {
  const args = [CLI, "serve", "memcached", "--listen", "127.0.0.1:0", ...options];
  const server = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  servers.push(server);
  const line = await new Promise<string>((resolve, reject) => {
    server.stdout!.once("data", (chunk) => resolve(String(chunk)));
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return Number(/127\.0\.0\.1:(\d+)/.exec(line)![1]);
}

const folder = mkdtempSync(join(tmpdir(), "zcache-memcached-"));
after(() => {
  for (const server of servers) server.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

for (const shards of ["1", "3"]) {
  describe(`libmemcached, ${shards} shard(s)`, () => useLibmemcached(shards));
}

function useLibmemcached(shards: string): void {
  let port: number;
  before(async () => {
    port = await serve("--shards", shards);
  });

  for (const [mode, name] of [
    ["-a", "text"],
    ["-b", "binary"],
  ] as const) {
    test(`memccapable, ${name}`, { skip: without("memccapable"), timeout: 120_000 }, async () => {
      const args = ["-h", "127.0.0.1", "-p", String(port), mode];
      const { stdout, stderr } = await run("memccapable", args, { timeout: 110_000 });
      assert.match(stdout, /All tests passed/);
      assert.doesNotMatch(stdout + stderr, /\[FAIL\]/);
    });
  }

  for (const extra of [[], ["--binary"]]) {
    const name = `memcslap ${extra.join(" ")}`;
    test(name, { skip: without("memcslap"), timeout: 120_000 }, async () => {
      for (const kind of ["set", "get", "mget"]) {
        const load = ["--concurrency=4", "--execute-number=500", `--test=${kind}`, ...extra];
        await run("memcslap", [`--servers=127.0.0.1:${port}`, ...load], { timeout: 100_000 });
      }
    });
  }

  for (const extra of [[], ["-B"]]) {
    const name = `memcaslap verifies what it gets ${extra.join(" ")}`;
    test(name, { skip: without("memcaslap"), timeout: 60_000 }, async () => {
      const load = ["-t", "2s", "-T", "1", "-c", "16", "-v", "0.5", ...extra];
      const args = ["-s", `127.0.0.1:${port}`, ...load];
      const { stdout } = await run("memcaslap", args, { timeout: 50_000 });
      assert.match(stdout, /verify_failed: 0/);
      assert.match(stdout, /verify_misses: 0/);
    });
  }
}

/** prove of some of memcached's tests, several at a time. */
async function prove(tests: readonly string[], env: NodeJS.ProcessEnv, jobs: number) {
  const files = tests.map((name) => `t/${name}.t`);
  const options = { cwd: SOURCE, env: { ...process.env, ...env }, timeout: 590_000 };
  try {
    await run("prove", ["-j", String(jobs), ...files], options);
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    assert.fail(`${stdout}\n${stderr}`.slice(-6000));
  }
}

const noSource =
  !CI && !existsSync(SOURCE) && "memcached's tests are not there: scripts/fetch-memcached-tests.sh";
const noProve = noSource || without("prove");

describe("memcached's own tests", () => {
  before(() => {
    if (noProve !== false) return;
    // With nothing of ours on the test's own output, which it reads line by line.
    const script = `#!/bin/sh
[ "$1" = -h ] && exec "${process.execPath}" "${STAND_IN}" -h
exec "${process.execPath}" "${STAND_IN}" "$@" </dev/null >/dev/null 2>&1
`;
    writeFileSync(`${SOURCE}/memcached-debug`, script, { mode: 0o755 });
  });

  test("against a running server", { skip: noProve, timeout: 600_000 }, async () => {
    for (const name of RUNNING) {
      const path = join(folder, name);
      const port = await serve("--debug-time", "--socket", path);
      await prove([name], { T_MEMD_USE_DAEMON: `127.0.0.1:${port}` }, 1);
      servers.pop()!.kill("SIGKILL");
    }
  });

  test("with servers that they start", { skip: noProve, timeout: 600_000 }, async () => {
    await prove(STARTED, {}, 4);
    await prove(STARTED_UNCOMPRESSED, { ZCACHE_UNCOMPRESSED: "1" }, 1);
  });

  test("over TLS", { skip: noProve, timeout: 600_000 }, async () => {
    await prove(STARTED_TLS, { SSL_TEST: "1" }, 1);
  });
});

interface MemjsClient {
  set(key: string, value: string | Buffer, options: { expires?: number }): Promise<boolean>;
  get(key: string): Promise<{ value: Buffer | null }>;
  add(key: string, value: string, options: object): Promise<boolean>;
  delete(key: string): Promise<boolean>;
  increment(key: string, by: number, options: { initial: number }): Promise<{ value: number }>;
  close(): void;
}

test("memjs", { skip: packageMissing("memjs"), timeout: 60_000 }, async () => {
  const port = await serve();
  const { Client } = require("memjs") as { Client: { create(servers: string): MemjsClient } };
  const client = Client.create(`127.0.0.1:${port}`);
  const large = Buffer.alloc(500_000, "abc");
  assert.equal(await client.set("a", "va", { expires: 100 }), true);
  assert.equal(String((await client.get("a")).value), "va");
  assert.equal(await client.set("large", large, {}), true);
  assert.deepEqual((await client.get("large")).value, large);
  assert.equal(await client.add("a", "x", {}), false);
  assert.equal((await client.increment("n", 5, { initial: 10 })).value, 10);
  assert.equal((await client.increment("n", 5, { initial: 10 })).value, 15);
  assert.equal(await client.delete("a"), true);
  assert.equal((await client.get("a")).value, null);
  client.close();
});

type Call = (...args: unknown[]) => void;

for (const shards of ["1", "3"]) {
  const options = { skip: packageMissing("memcached"), timeout: 60_000 };
  test(`memcached of npm, ${shards} shard(s)`, options, () => useMemcachedClient(shards));
}

async function useMemcachedClient(shards: string): Promise<void> {
  const port = await serve("--shards", shards);
  const Memcached = require("memcached") as new (server: string) => Record<string, Call>;
  const client = new Memcached(`127.0.0.1:${port}`);
  const call = (name: string, ...args: unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      client[name]!(...args, (error: Error | undefined, data: unknown) =>
        error ? reject(error) : resolve(data),
      );
    });
  assert.equal(await call("set", "a", "va", 100), true);
  assert.equal(await call("get", "a"), "va");
  const { a, cas } = (await call("gets", "a")) as { a: string; cas: string };
  assert.equal(a, "va");
  assert.equal(await call("cas", "a", "vb", cas, 100), true);
  assert.equal(await call("append", "a", "x"), true);
  assert.deepEqual(await call("getMulti", ["a", "none"]), { a: "vbx" });
  await call("set", "n", "5", 0);
  assert.equal(await call("incr", "n", 4), 9);
  assert.equal(await call("touch", "a", 50), true);
  assert.equal(await call("del", "a"), true);
  assert.equal(await call("get", "a"), undefined);
  client["end"]!();
}
