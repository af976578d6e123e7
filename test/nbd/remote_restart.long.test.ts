// A server of a device of which most is in a cluster, ended by SIGTERM and killed under load. With
// an image, the next server has what the last planned end has left, byte by byte; without one, it
// begins empty, and the records of the one before are removed.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { serveFixture } from "../cli/serve/fixture.ts";
import { type EngineServer, noServers, startNode, until } from "../doubles/engine_servers.ts";
import { NbdClient } from "../doubles/nbd_client.ts";

const SIZE = 20 * MIB;
const PIECE = 64 * KIB;
const ROUNDS = 4;
const OPTIONS = { skip: noServers, timeout: 600_000 };
const { at, daemon } = serveFixture();

const servers: EngineServer[] = [];
after(async () => {
  for (const server of servers) await server.end();
});

async function engine(): Promise<EngineServer> {
  const server = await startNode();
  servers.push(server);
  return server;
}

/** Bytes of which a half does not compress. */
function bytesOf(seed: number, size: number): Buffer {
  const random = new Xorshift32(seed);
  const words = Uint32Array.from({ length: size / 4 }, (_, nth) =>
    (nth >> 6) % 2 === 0 ? random.next() : seed,
  );
  return Buffer.from(words.buffer);
}

async function write(client: NbdClient, at: number, data: Buffer, flags = 0): Promise<void> {
  const { error } = await client.request(Command.WRITE, at, data.length, { data, flags });
  assert.equal(error, 0, `a write at ${at}`);
}

async function readAll(client: NbdClient): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let offset = 0; offset < SIZE; offset += PIECE) {
    const { error, data } = await client.request(Command.READ, offset, PIECE);
    assert.equal(error, 0, `a read at ${offset}`);
    parts.push(data);
  }
  return Buffer.concat(parts);
}

const argsFor = (server: EngineServer, name: string, ...more: string[]) => [
  ...["nbd", "--size", "20M", "--memory-max", "10M", "--threads", "2", "--socket", `${name}.sock`],
  ...["--remote", server.address, "--remote-prefix", name, "--control", `${name}.ctl`, ...more],
];

test("with an image: what the last planned end has left", OPTIONS, async () => {
  const server = await engine();
  const args = argsFor(server, "disk", "--image", "disk.image");
  const random = new Xorshift32(3);
  const content = bytesOf(1, SIZE);
  let saved = Buffer.alloc(SIZE);
  let serial = 1;
  for (let round = 0; round < ROUNDS; round++) {
    for (const how of ["SIGKILL", "SIGTERM"] as const) {
      const process = await daemon(...args);
      const client = await NbdClient.open(at("disk.sock"));
      assert.ok((await readAll(client)).equals(saved), `round ${round}, before ${how}`);
      saved.copy(content);
      if (round === 0) {
        for (let offset = 0; offset < SIZE; offset += PIECE) {
          const data = bytesOf(++serial, PIECE);
          await write(client, offset, data);
          data.copy(content, offset);
        }
      }
      const writes = 20 + random.below(60);
      for (let n = 0; n < writes; n++) {
        const offset = random.below((SIZE - PIECE) / 512) * 512;
        const data = bytesOf(++serial, 512 * (1 + random.below(100)));
        await write(client, offset, data);
        data.copy(content, offset);
      }
      if (how === "SIGKILL") {
        // In the middle of writes that are not acknowledged.
        for (let n = 0; n < 8; n++) {
          const data = bytesOf(++serial, PIECE);
          client.send(Command.WRITE, n * PIECE, PIECE, { data });
        }
        await process.end("SIGKILL");
        client.socket.destroy();
        continue;
      }
      assert.ok((await readAll(client)).equals(content), `round ${round}, written`);
      client.socket.destroy();
      const { text, errors, code } = await process.end();
      assert.equal(code, 0, errors);
      assert.match(text, /saved \d+ pages to disk.image/);
      saved = Buffer.from(content);
    }
  }
  const records = (await server.command("KEYS", "disk:r:*")) as string[];
  assert.ok(records.length > 1000, `${records.length} pages stay in the cluster`);
});

test("without an image: nothing, after SIGTERM and after kill -9", OPTIONS, async () => {
  const server = await engine();
  const args = argsFor(server, "swap");
  const recordsLeft = async () => ((await server.command("KEYS", "swap:r:*")) as string[]).length;
  for (const how of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
    const process = await daemon(...args);
    const client = await NbdClient.open(at("swap.sock"));
    assert.ok((await readAll(client)).equals(Buffer.alloc(SIZE)), "it begins empty");
    await until(async () => (await recordsLeft()) === 0, "no record of an earlier owner");
    for (let offset = 0; offset < SIZE; offset += PIECE) {
      await write(client, offset, bytesOf(offset + 1, PIECE));
    }
    assert.ok((await recordsLeft()) > 1000);
    client.socket.destroy();
    await process.end(how);
    if (how === "SIGTERM") assert.equal(await recordsLeft(), 0);
  }
});
