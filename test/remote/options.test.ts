// Options of the remote tier: what is refused, where a password comes from, and that no message
// shows one. No server is needed.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { loadEnginePackage } from "../../src/remote/engine_package.ts";
import { type RemoteOptions, resolveRemote } from "../../src/remote/options.ts";
import { createRemote } from "../../src/remote/remote.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const GOOD: RemoteOptions = { nodes: ["127.0.0.1:6379"], prefix: "app" };
const VARIABLE = "ZCACHE_REMOTE_PASSWORD";

test("wrong options are refused, and the message says what is allowed", () => {
  const cases: readonly [Record<string, unknown>, RegExp][] = [
    [{ nodes: [] }, /nodes an array: must be an array of 1 to 1000 texts "host:port"/],
    [{ nodes: "127.0.0.1:6379" }, /nodes .*must be an array/],
    [{ nodes: ["127.0.0.1"] }, /nodes "127.0.0.1": must be "host:port"/],
    [{ nodes: ["a:0"] }, /"a:0"/],
    [{ nodes: ["a:70000"] }, /"a:70000"/],
    [{ prefix: "a*b" }, /prefix "a\*b": must be 1 to 64 letters, digits and _ \. : -/],
    [{ prefix: "" }, /prefix/],
    [{ copies: 0 }, /copies 0: must be a whole number from 1 to 10/],
    [{ ephemeral: 1 }, /ephemeral 1: must be true or false/],
    [{ timeoutMs: -1 }, /timeoutMs/],
    [{ ttl: "500d" }, /ttl "500d": must be from 1/],
    [{ leaseMs: 10 }, /leaseMs 10: must be from 1000/],
    [{ tls: "yes" }, /tls "yes": must be true, false, or an object/],
    [{ username: "me" }, /username without a password/],
    [{ password: "" }, /password: must be a text/],
    [{ password: "a", passwordFile: "b" }, /either password or passwordFile/],
    [{ passwordFile: "no/such/file" }, /passwordFile no\/such\/file can't be read: ENOENT/],
    [{ copys: 2 }, /did you mean copies\?/],
  ];
  for (const [options, message] of cases) {
    const all = { ...GOOD, ...options } as RemoteOptions;
    assert.throws(() => createRemote(all), { code: "ERR_OPTION", message });
  }
});

test("a password comes from the option, the file or the environment", () => {
  const path = join(temporaryFolder("remote-options"), "password");
  writeFileSync(path, "from a file\nsecond line\n");
  const passwordOf = (options: Partial<RemoteOptions>) =>
    resolveRemote({ ...GOOD, ...options }).connection.password;
  const before = process.env[VARIABLE];
  try {
    delete process.env[VARIABLE];
    assert.equal(passwordOf({}), undefined);
    assert.equal(passwordOf({ passwordFile: path }), "from a file");
    process.env[VARIABLE] = "from the environment";
    assert.equal(passwordOf({}), "from the environment");
    assert.equal(passwordOf({ password: "given" }), "given");
    writeFileSync(path, "\n");
    assert.throws(() => passwordOf({ passwordFile: path }), /empty first line/);
  } finally {
    if (before === undefined) delete process.env[VARIABLE];
    else process.env[VARIABLE] = before;
  }
});

test("a remote that is printed does not show its password", () => {
  const remote = createRemote({ ...GOOD, password: "pass-word-1" });
  assert.doesNotMatch(inspect(remote, { depth: 9, showHidden: true }), /pass-word-1/);
});

test("without the package, the error says what to install", () => {
  const missing = () => {
    throw new Error("Cannot find module 'ioredis'");
  };
  assert.throws(() => loadEnginePackage(missing), {
    code: "ERR_REMOTE",
    message: /needs the package ioredis: install it: npm install ioredis/,
  });
  assert.throws(() => loadEnginePackage(() => ({})), { code: "ERR_REMOTE", message: /version/ });
});
