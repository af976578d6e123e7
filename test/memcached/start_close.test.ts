// A server with several threads may be closed at once after its start, and be followed by another
// one in the same process: no thread polls a descriptor that is closed already.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

const SERVER = new URL("../../src/memcached/index.js", import.meta.url);
const SCRIPT = `
  const { startMemcachedServer } = await import(${JSON.stringify(SERVER.href)});
  for (let round = 0; round < 8; round++) {
    const { server } = await startMemcachedServer({ listen: [{ port: 0 }], threads: 3 });
    await server.close();
  }
  console.log("closed");
  process.exit(0);
`;

test("servers with threads are started and closed one after the other", () => {
  const args = ["--input-type=module", "-e", SCRIPT];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 300_000,
  });
  assert.deepEqual(
    { status, signal, stdout },
    { status: 0, signal: null, stdout: "closed\n" },
    stderr,
  );
});
