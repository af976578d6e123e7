// `zcache serve memcached --remote …` with a real Valkey or Redis server: items come back from it,
// a server that is paused gives misses and then hits, and nothing is left there after SIGTERM, nor
// after a kill and the next start.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Xorshift32 } from "../../src/base/random.ts";
import { type EngineServer, noServers, startNode, until } from "../doubles/engine_servers.ts";
import { Client } from "./server_fixture.ts";

const CLI = fileURLToPath(
  new URL(`../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url),
);
const OPTIONS = { skip: noServers, timeout: 240_000 };
const ITEMS = 2000;

const processes: ChildProcess[] = [];
let node: EngineServer | undefined;
after(async () => {
  for (const process of processes) process.kill("SIGKILL");
  await node?.end();
});

/** Starts the command. @returns its process and the port that it says */
async function serve(...more: string[]): Promise<{ process: ChildProcess; port: number }> {
  const listen = ["--listen", "127.0.0.1:0", "--no-control", "--memory-max", "2M"];
  const args = ["serve", "memcached", ...listen, "--max-item-size", "500K", ...more];
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  processes.push(child);
  let said = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on("data", (chunk) => {
      said += String(chunk);
    });
  }
  await until(async () => {
    assert.equal(child.exitCode, null, said);
    return /memcached on \S+:\d+;/.test(said);
  }, "the server listens");
  return { process: child, port: Number(/memcached on \S+:(\d+);/.exec(said)![1]) };
}

/** Noise: while the test runs, the server compresses items anew, and more would fit into memory. */
function itemAt(nth: number): string {
  const random = new Xorshift32(nth + 1);
  const bytes = Uint8Array.from({ length: 1950 }, () => random.below(256));
  return Buffer.from(bytes).toString("base64");
}

async function ask(client: Client, request: string): Promise<string> {
  const before = client.bytes;
  client.send(`${request}mn\r\n`);
  const text = await client.until((all) => all.length > before && all.endsWith("MN\r\n"));
  return text.slice(before, -4);
}

async function fill(client: Client): Promise<void> {
  for (let nth = 0; nth < ITEMS; nth++) {
    const value = itemAt(nth);
    assert.equal(
      await ask(client, `set item${nth} ${nth} 0 ${value.length}\r\n${value}\r\n`),
      "STORED\r\n",
    );
    if (nth % 50 !== 49) continue;
    // Items that find no way out in time are forgotten.
    const isCalm = async () => (await statsOf(client))["remote_in_transit"] === 0;
    await until(isCalm, "items have left");
  }
}

/** @returns how many items are there, each of which is right */
async function count(client: Client): Promise<number> {
  let found = 0;
  for (let nth = 0; nth < ITEMS; nth++) {
    const reply = await ask(client, `get item${nth}\r\n`);
    if (reply === "END\r\n") continue;
    const value = itemAt(nth);
    assert.equal(reply, `VALUE item${nth} ${nth} ${value.length}\r\n${value}\r\nEND\r\n`);
    found++;
  }
  return found;
}

async function statsOf(client: Client): Promise<Record<string, number>> {
  const lines = (await ask(client, "stats zcache\r\n")).matchAll(/^STAT (\S+) (\S+)/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name!, Number(value)]));
}

test("items on a real server", OPTIONS, async () => {
  const server = await startNode();
  node = server;
  const remote = ["--remote", server.address, "--remote-prefix", "mc", "--remote-timeout", "2"];
  const recordsOf = async () => Number(await server.command("DBSIZE"));

  const first = await serve(...remote);
  const client = await Client.open({ port: first.port, host: "127.0.0.1" });
  await fill(client);
  const stats = await statsOf(client);
  assert.ok(stats["pages_remote"]! > ITEMS / 4, JSON.stringify(stats));
  const all = await count(client);
  assert.ok(all > ITEMS * 0.8, `${all} of ${ITEMS} items are there`);
  const names = (await server.command("KEYS", "mc:r:*")) as string[];
  const ttl = Number(await server.command("PTTL", names[0]!));
  assert.ok(ttl > 0, "records of items have a time to live");

  // A change of an item that is on the server.
  assert.equal(await ask(client, "delete item1\r\n"), "DELETED\r\n");
  assert.equal(await ask(client, "get item1\r\n"), "END\r\n");
  assert.equal(await ask(client, "append item2 0 0 3\r\nxyz\r\n"), "STORED\r\n");
  assert.ok((await ask(client, "get item2\r\n")).endsWith("xyz\r\nEND\r\n"));

  first.process.kill("SIGKILL");
  await once(first.process, "exit");
  const left = await recordsOf();
  assert.ok(left > ITEMS / 4, `${left} records are left`);

  const second = await serve(...remote);
  const again = await Client.open({ port: second.port, host: "127.0.0.1" });
  assert.equal(await ask(again, "get item5\r\n"), "END\r\n", "a server begins without items");
  // The lease and its counter stay.
  const emptied = async () => {
    const left = (await server.command("KEYS", "mc:r:*")) as string[];
    return left.length === 0;
  };
  await until(emptied, "the records of the killed process are gone");
  await fill(again);
  second.process.kill("SIGTERM");
  const [code] = (await once(second.process, "exit")) as [number];
  assert.equal(code, 0);
  // The server has ten seconds to remove its records; the next one removes what is left.
  await serve(...remote);
  await until(emptied, "no record is left");
});
