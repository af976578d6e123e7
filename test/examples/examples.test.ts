// Each example is started as its first lines say, asked, and stopped.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const EXAMPLES = join(dirname(fileURLToPath(import.meta.url)), "../../../examples");
const LIMIT_MS = 300_000;

function start(name: string): { child: ChildProcess; lines: AsyncIterator<string> } {
  const child = spawn(process.execPath, [join(EXAMPLES, name)], {
    env: { ...process.env, PORT: "0", NODE_TEST_CONTEXT: "" },
    stdio: ["ignore", "pipe", "inherit"],
    timeout: LIMIT_MS,
  });
  return { child, lines: createInterface({ input: child.stdout! })[Symbol.asyncIterator]() };
}

/** Asks a web server that an example has started for a page, twice and at once. */
async function ask(name: string): Promise<void> {
  const { child, lines } = start(name);
  const exit = once(child, "exit");
  try {
    const port = /listening on (\d+)/.exec(String((await lines.next()).value))?.[1];
    assert.ok(port !== undefined, "it says where it listens");
    const get = async (path: string) => {
      const response = await fetch(`http://localhost:${port}${path}`);
      const { status, headers } = response;
      return {
        status,
        hit: headers.get("x-cache"),
        type: headers.get("content-type"),
        body: await response.text(),
      };
    };
    const first = await get("/report/7");
    assert.deepEqual([first.status, first.hit], [200, "MISS"]);
    assert.equal(JSON.parse(first.body).lines[99].total, 693);
    assert.deepEqual(await get("/report/7"), { ...first, hit: "HIT" });
    assert.equal((await get("/report/8")).hit, "MISS");
    for (let times = 0; times < 2; times++) assert.equal((await get("/report/none")).status, 404);
    child.kill("SIGTERM");
    assert.deepEqual(await exit, [0, null]);
  } finally {
    child.kill("SIGKILL");
  }
}

test("Express with cached responses", { timeout: LIMIT_MS }, () => ask("express.mjs"));

test("Fastify with cached responses", { timeout: LIMIT_MS }, () => ask("fastify.mjs"));

test("worker threads with one cache", { timeout: LIMIT_MS }, async () => {
  const { child, lines } = start("workers.mjs");
  const exit = once(child, "exit");
  const made = /by each worker: ([\d, ]+)$/.exec(String((await lines.next()).value))?.[1];
  assert.equal(made?.split(", ").length, 4);
  assert.equal(
    made?.split(", ").reduce((sum, count) => sum + Number(count), 0),
    10,
  );
  const [, bytes, stored] = /^10 values of (\d+) bytes, stored in (\d+)$/.exec(
    String((await lines.next()).value),
  )!;
  assert.ok(Number(stored) < Number(bytes) / 2, `${stored} of ${bytes}`);
  assert.deepEqual(await exit, [0, null]);
});
