// The setting memory-max-ceiling: what the memory limit of a running daemon can be raised to. What
// is refused, and a daemon that grows beyond its first size, and beyond one arena.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { Xorshift32 } from "../../../src/base/random.ts";
import { GIB, MIB } from "../../../src/base/units.ts";
import { resolveConfig } from "../../../src/cli/serve/config.ts";
import { parseConfig } from "../../../src/cli/serve/config_file.ts";
import { Command, NbdError } from "../../../src/nbd/protocol/protocol.ts";
import { machineMemory } from "../../../src/node/machine_memory.ts";
import { NbdClient } from "../../doubles/nbd_client.ts";
import { Client } from "../../memcached/server_fixture.ts";
import { serveFixture } from "./fixture.ts";

const { at, zcache, daemon } = serveFixture();
const configOf = (text: string) =>
  resolveConfig([parseConfig(text, "z.toml")], (section, key) => `${section.name}.${key}`);

test("a ceiling is a size or a part of the machine's memory, from the limit on", () => {
  const { memcached, nbd } = configOf(
    '[memcached]\nmemory-max = "1G"\nmemory-max-ceiling = "20G"\n' +
      '[nbd]\nsize = "1G"\nmemory-max = "10%"\nmemory-max-ceiling = "40%"\n',
  );
  assert.equal(memcached.memoryMaxCeiling, 20 * GIB);
  assert.equal(nbd.memoryMaxCeiling, Math.floor(machineMemory().bytes * 0.4));
  assert.equal(configOf("").memcached.memoryMaxCeiling, undefined);
  for (const [section, text, message] of [
    ["memcached", 'memory-max = "2G"\nmemory-max-ceiling = "1G"', /1073741824 is less than .*2147/],
    ["memcached", 'memory-max-ceiling = "5G"', /5368709120 is more than 64 times .*67108864/],
    ["memcached", 'memory-max-ceiling = "101%"', /write a size, or 1% to 100%/],
    ["memcached", 'memory-max-ceiling = "300G"', /300G is not allowed/],
    ["nbd", 'size = "1G"\nmemory-max = "2G"\nmemory-max-ceiling = "1G"', /is less than .*2147/],
    // The devices say how much memory is enough.
    ["nbd", 'size = "4G"\nmemory-max-ceiling = "1G"', /is less than nbd.memory-max \(\d+\)/],
    ["nbd", 'size = "1G"\nmemory-max = "1G"\nmemory-max-ceiling = "9G"\nshards = 2', /needs 3 sh/],
  ] as const) {
    assert.throws(
      () => configOf(`[${section}]\n${text}`),
      (error: Error) => {
        assert.match(error.message, message);
        assert.match(error.message, new RegExp(`^(z.toml:\\d: )?${section}.memory-max-ceiling: `));
        return true;
      },
    );
  }
});

test("a ceiling that can't be is a usage error of one line", () => {
  for (const [service, ...args] of [
    ["memcached", "--memory-max", "2G", "--memory-max-ceiling", "1G"],
    ["nbd", "--size", "1G", "--socket", "a", "--memory-max", "1G", "--memory-max-ceiling", "65G"],
  ] as const) {
    const { status, stdout, stderr } = zcache("serve", service, "--no-control", ...args);
    assert.match(
      stderr,
      /^zcache: --memory-max-ceiling: \d+ is (less|more) than .*memory-max.*\n$/,
    );
    assert.deepEqual([status, stdout], [2, ""]);
  }
});

const VALUE_BYTES = 500_000;
const VALUES = 140;
const BLOCK_BYTES = MIB;
const BLOCKS = 72;

/** Bytes that do not compress. */
function noise(bytes: number): Buffer {
  const random = new Xorshift32(11);
  return Buffer.from(Uint8Array.from({ length: bytes }, () => random.next()));
}

/** Sets all values, each of which begins with its number. @returns how many are stored */
async function setAll(client: Client, value: Buffer): Promise<number> {
  for (let nth = 0; nth < VALUES; nth++) {
    value.writeUInt32LE(nth, 0);
    client.send(`set key:${nth} 0 0 ${value.length} noreply\r\n`);
    client.send(Buffer.from(value));
    client.send("\r\n");
    // The server has read them: this process keeps none of them.
    if (nth % 16 === 15) assert.equal(await client.ask("mn\r\n", "MN\r\n"), "MN\r\n");
  }
  return Number(/^STAT curr_items (\d+)/m.exec(await client.ask("stats\r\n", "END\r\n"))![1]);
}

async function checkAll(client: Client, value: Buffer): Promise<void> {
  for (let nth = 0; nth < VALUES; nth += 13) {
    value.writeUInt32LE(nth, 0);
    const answer = await client.ask(`get key:${nth}\r\n`, "\r\nEND\r\n");
    const head = `VALUE key:${nth} 0 ${VALUE_BYTES}\r\n`;
    assert.ok(answer.startsWith(head), answer.slice(0, 40));
    const found = Buffer.from(answer.slice(head.length, head.length + VALUE_BYTES), "latin1");
    assert.ok(found.equals(value), `value ${nth}`);
  }
}

/** Writes the device from its beginning. @returns how many blocks have been written */
async function writeAll(client: NbdClient, block: Buffer): Promise<number> {
  for (let nth = 0; nth < BLOCKS; nth++) {
    block.writeUInt32LE(nth, 0);
    const at = nth * BLOCK_BYTES;
    const { error } = await client.request(Command.WRITE, at, BLOCK_BYTES, { data: block });
    if (error === NbdError.ENOSPC) return nth;
    assert.equal(error, 0);
  }
  return BLOCKS;
}

test("a running daemon grows beyond its first size, up to the ceiling and no further", async () => {
  const config = (limit: string, ceiling: string) =>
    writeFileSync(
      at("c.toml"),
      `[memcached]\nmemory-max = "${limit}"\nmemory-max-ceiling = "${ceiling}"\ntiers = false\n`,
    );
  config("64M", "4G");
  const server = await daemon(
    ...["--config", "c.toml", "--memcached-listen", "127.0.0.1:0", "--no-web"],
    ...["--nbd-size", "96M", "--nbd-memory-max", "64M", "--nbd-memory-max-ceiling", "4G"],
    ...["--nbd-socket", "c.sock", "--nbd-recompress", "none", "--control", "c.ctl"],
  );
  const ctl = (...args: string[]) => zcache("ctl", "--socket", "c.ctl", ...args);
  // One arena has 64 KiB less than 4 GiB.
  assert.match(server.text, /^memcached on \S+; 64\.0 MiB in 2 shards/m);
  assert.equal(
    ctl("memcached.memory-max-ceiling").stdout,
    "memcached.memory-max-ceiling=4294967296\n",
  );

  const port = Number(/^memcached on 127.0.0.1:(\d+)/m.exec(server.text)![1]);
  const client = await Client.open({ port, host: "127.0.0.1" });
  const device = await NbdClient.open(at("c.sock"));
  const [value, block] = [noise(VALUE_BYTES), noise(BLOCK_BYTES)];
  const before = await setAll(client, value);
  assert.ok(before < VALUES, "64 MiB have no room for all values");
  assert.ok((await writeAll(device, block)) < BLOCKS, "nor for the whole device");

  const grown = ctl("memcached.memory-max=4G", "nbd.mem_limit=4G");
  assert.match(grown.stdout, /^memcached.memory-max=4294967296\nnbd.mem_limit=42949\d+\n$/);
  assert.equal(await setAll(client, value), VALUES);
  await checkAll(client, value);
  assert.equal(await writeAll(device, block), BLOCKS);
  for (let nth = 0; nth < BLOCKS; nth += 9) {
    block.writeUInt32LE(nth, 0);
    const { data } = await device.request(Command.READ, nth * BLOCK_BYTES, BLOCK_BYTES);
    assert.ok(data.equals(block), `block ${nth}`);
  }

  // The shards have room for more, but the ceiling holds.
  for (const knob of ["memcached.memory-max", "nbd.mem_limit"]) {
    const { status, stderr } = ctl(`${knob}=5G`);
    assert.match(stderr, /can grow to 4294967296 bytes, .* with a larger memory-max-ceiling/, knob);
    assert.equal(status, 2);
  }
  assert.match(await client.ask("cache_memlimit 5000\r\n"), /^MEMLIMIT_ADJUST_FAILED/);
  assert.equal(await client.ask("cache_memlimit 4096\r\n"), "OK\r\n");
  config("2G", "8G");
  server.kill("SIGHUP");
  await server.untilErrors(/ceiling/);
  assert.equal(
    server.errors,
    "zcache: reload: memcached.memory-max is now 2147483648\n" +
      "zcache: reload: memcached.memory-max-ceiling is unchanged: a change needs a restart\n",
  );
  await checkAll(client, value);
  client.close();
  device.close();
  assert.equal((await server.end()).code, 0);
});
