// A short run of bench/fuzz: whatever clients send and wherever it is cut, the daemon lives, data
// written before reads back, no unexpected error is thrown, and memory stays bounded.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fuzz, NBD_KEPT } from "../../../bench/fuzz/servers.ts";
import { askControl } from "../../../src/monitor/control.ts";
import { Command } from "../../../src/nbd/protocol/protocol.ts";
import { NbdClient } from "../../doubles/nbd_client.ts";
import { serveFixture } from "./fixture.ts";

const { at, daemon } = serveFixture();
/** The arenas, the engine and its heaps, and the buffers of all connections. */
const RESIDENT_BYTES_MAX = 700 * 2 ** 20;

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
}

test("random and mutated input over NBD, HTTP and the control socket", async () => {
  const server = await daemon(
    ...["--nbd-size", "64M", "--nbd-export", "ro=1M"],
    ...["--nbd-export", `${NBD_KEPT.name}=1M`, "--nbd-memory-max", "48M"],
    ...["--nbd-socket", at("n"), "--nbd-threads", "2", "--memcached-listen", "127.0.0.1:0"],
    ...["--web-listen", "127.0.0.1:0", "--control", at("c")],
  );
  const web = new URL(/web page on (\S+)/.exec(server.text)![1]!);
  const data = Buffer.from(
    Array.from({ length: NBD_KEPT.sizeBytes }, (_, nth) => (nth * 7) & 0xff),
  );
  const writer = await NbdClient.open(at("n"), { name: NBD_KEPT.name });
  const written = await writer.request(Command.WRITE, 0, data.length, { data });
  assert.equal(written.error, 0);
  writer.close();
  const runs = await Promise.all([
    fuzz({ kind: "nbd", place: { path: at("n") }, inputs: 3000, seed: 1 }),
    fuzz({ kind: "control", place: { path: at("c") }, inputs: 1500, seed: 2 }),
    fuzz({
      ...{ kind: "web", inputs: 1500, seed: 3 },
      place: { host: web.hostname, port: Number(web.port) },
    }),
  ]);
  for (const { inputs } of runs) assert.ok(inputs >= 1500);
  const reader = await NbdClient.open(at("n"), { name: NBD_KEPT.name });
  const read = await reader.request(Command.READ, 0, data.length);
  assert.equal(read.error, 0);
  assert.ok(read.data.equals(data), "what was written before reads back");
  reader.close();
  assert.equal((await fetch(`${web.href}api/state`)).status, 200);
  type Counted = { daemon: object; nbd: { server: Record<string, number> } };
  const stats = (await askControl(at("c"), { stats: true })) as Counted;
  assert.deepEqual(stats.daemon, { internal_errors: 0 });
  assert.equal(stats.nbd.server["internal_errors"], 0, server.errors);
  const resident = residentBytes(server.pid);
  assert.ok(resident < RESIDENT_BYTES_MAX, `${resident} bytes are resident`);
  const { code, errors } = await server.end();
  assert.equal(code, 0);
  assert.doesNotMatch(errors, /internal error|bug/);
});
