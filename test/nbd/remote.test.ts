// A device of which most pages are in the remote tier, over NBD: reads, writes of whole pages and
// of parts, zeros, an image; while one connection waits, others go on.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { startNbdServer, Zram } from "../../src/nbd/index.ts";
import { Command } from "../../src/nbd/protocol/protocol.ts";
import { createStore } from "../../src/node/stores.ts";
import type { Store } from "../../src/store/store.ts";
import { NbdClient } from "../doubles/nbd_client.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const SIZE = 5 * MIB;
const PIECE = 64 * 1024;
const WATCHDOG_MS = 60_000;
const folder = temporaryFolder("nbd-remote");
let sockets = 0;

interface Served {
  readonly path: string;
  readonly store: Store;
  readonly device: Zram;
  readonly cluster: RemoteCluster;
}

async function serving(work: (served: Served) => Promise<void>): Promise<void> {
  const cluster = new RemoteCluster({ seed: 1 });
  // Messages arrive by themselves, as in a network.
  const network = setInterval(() => {
    for (let n = 0; n < 2000 && cluster.step(); n++);
  }, 1);
  const remote = new RemoteDouble(cluster, { batchMax: 64 });
  const store = createStore({ memoryMax: 6 * MIB, remote });
  try {
    await store.remote!.ready;
    const device = Zram.create(store, SIZE);
    store.limit(2 * MIB);
    const path = join(folder, `${sockets++}.sock`);
    const server = await startNbdServer(store, {
      ...{ exports: [{ name: "", device }], listen: [{ path }], threads: 2, connectionsMax: 4 },
    });
    await work({ path, store, device, cluster });
    await server.close();
    store.verify();
  } finally {
    store.close();
    clearInterval(network);
  }
}

/** Bytes that do not compress. */
function noise(seed: number): Buffer {
  const random = new Xorshift32(seed);
  const words = Uint32Array.from({ length: SIZE / 4 }, () => random.next());
  return Buffer.from(words.buffer);
}

async function writeAll(client: NbdClient, data: Buffer): Promise<void> {
  for (let at = 0; at < SIZE; at += PIECE) {
    const part = data.subarray(at, at + PIECE);
    const { error } = await client.request(Command.WRITE, at, PIECE, { data: part });
    assert.equal(error, 0, `a write at ${at}`);
  }
}

async function checkAll(client: NbdClient, data: Buffer): Promise<void> {
  for (let at = 0; at < SIZE; at += PIECE) {
    const { error, data: read } = await client.request(Command.READ, at, PIECE);
    assert.equal(error, 0, `a read at ${at}`);
    assert.ok(read.equals(data.subarray(at, at + PIECE)), `the bytes at ${at}`);
  }
}

for (const structured of [true, false]) {
  test(`a device of three times the memory: structured replies ${structured}`, async () => {
    await serving(async ({ path, store }) => {
      const client = await NbdClient.open(path, { structured });
      const data = noise(structured ? 1 : 2);
      await writeAll(client, data);
      assert.ok(store.stats().persistent.pagesRemote > 400, "most pages are remote");
      await checkAll(client, data);
      // Parts of pages, which are read, changed and stored.
      const random = new Xorshift32(3);
      const other = noise(6);
      for (let n = 0; n < 40; n++) {
        const at = random.below(SIZE - PIECE);
        const size = 1 + random.below(10_000);
        const part = other.subarray(at, at + size);
        assert.equal((await client.request(Command.WRITE, at, size, { data: part })).error, 0);
        part.copy(data, at);
        const zeros = random.below(SIZE - PIECE);
        assert.equal((await client.request(Command.WRITE_ZEROES, zeros, size)).error, 0);
        data.fill(0, zeros, zeros + size);
      }
      await checkAll(client, data);
      assert.equal((await client.request(Command.TRIM, 0, SIZE)).error, 0);
      await checkAll(client, Buffer.alloc(SIZE));
      client.socket.destroy();
    });
  });
}

test("while one connection waits for a node that is down, others go on", async () => {
  await serving(async ({ path, store, device, cluster }) => {
    const first = await NbdClient.open(path);
    const data = noise(4);
    await writeAll(first, data);
    for (let waited = 0; store.stats().remote!.in_transit > 0; waited += 5) {
      assert.ok(waited < WATCHDOG_MS);
      await sleep(5);
    }
    const pageOf = (isRemote: boolean) => {
      const isSo = (page: number) => device.isRemote(page * 4096, 4096) === isRemote;
      return Array.from({ length: SIZE / 4096 }, (_, page) => page).find(isSo)! * 4096;
    };
    const [away, here] = [pageOf(true), pageOf(false)];
    // No message arrives: the request waits.
    cluster.isPaused = true;
    const waiting = first.request(Command.READ, away, 4096);
    const second = await NbdClient.open(path);
    const { error, data: read } = await second.request(Command.READ, here, 4096);
    assert.equal(error, 0);
    assert.ok(read.equals(data.subarray(here, here + 4096)));
    cluster.isPaused = false;
    const late = await waiting;
    assert.equal(late.error, 0);
    assert.ok(late.data.equals(data.subarray(away, away + 4096)));
    // A node that does not answer in time is an error of this request, and of no other.
    for (const [nth] of cluster.nodes.entries()) cluster.crash(nth);
    const gone = pageOf(true);
    assert.equal((await first.request(Command.READ, gone, 4096)).error, 5);
    for (const [nth] of cluster.nodes.entries()) cluster.restart(nth);
    assert.equal((await first.request(Command.READ, gone, 4096)).error, 0);
    for (const client of [first, second]) client.socket.destroy();
  });
});
