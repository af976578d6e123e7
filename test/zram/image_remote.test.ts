// An image of devices whose pages are in a remote tier: the next process finds them by their
// records; after a kill, the devices are as the last image says. A page reads as it was saved or as
// an error, never as another page or an older one.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import type { RemoteKey } from "../../src/backing/remote_contract.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Zram } from "../../src/nbd/index.ts";
import { serveRemote } from "../../src/node/remote_service.ts";
import { Scheduler } from "../../src/node/scheduler.ts";
import { openStore } from "../../src/node/stores.ts";
import { recordNameOf } from "../../src/store/remote_name.ts";
import type { Store } from "../../src/store/store.ts";
import { DeviceImage, devicesIn } from "../../src/zram/image.ts";
import { RemoteCluster, RemoteDouble } from "../doubles/remote.ts";
import { fillPage } from "../doubles/store_fixture.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const PAGE = 4096;
const PAGES = 400;
/** Pages that are read at a time. */
const READS = 32;
const NAMES = ["first", "second"];
const SETTINGS = { prefix: "p", codec: "lz4", recompress: "none", pool: "dense" };
const home = temporaryFolder("image-remote");

/** What each page of each device holds: the seed of its bytes; 0: a hole. */
type Model = readonly number[][];

const copyOf = (model: Model): Model => model.map((pages) => [...pages]);

/** One process that serves the devices. */
class Process {
  readonly store: Store;
  readonly devices: { name: string; device: Zram }[];
  readonly image: DeviceImage;
  readonly #remote: RemoteDouble;
  readonly #scheduler: Scheduler;
  readonly #cluster: RemoteCluster;

  private constructor(
    cluster: RemoteCluster,
    path: string,
    shards: number,
    names: readonly string[],
  ) {
    this.#cluster = cluster;
    this.#remote = new RemoteDouble(cluster, { batchMax: 32 });
    this.store = openStore({ memoryMax: shards * 2 * MIB, shards, remote: this.#remote });
    this.#scheduler = new Scheduler(() => this.store.isClosed);
    serveRemote(this.store, this.#remote, this.#scheduler);
    const order = [...new Set([...devicesIn(path), ...names])];
    this.devices = order.map((name, number) => ({
      name,
      device: Zram.create(this.store, PAGES * PAGE, number),
    }));
    this.image = new DeviceImage(path, this.devices, "recover", SETTINGS);
  }

  /** Starts as the daemon does. */
  static async start(
    cluster: RemoteCluster,
    path: string,
    shards = 1,
    sweeps = true,
    names: readonly string[] = NAMES,
  ): Promise<Process> {
    const one = new Process(cluster, path, shards, names);
    await one.store.remote!.ready;
    if (one.image.exists) await cluster.until(one.image.loadAsync());
    if (sweeps) one.store.remote!.sweep();
    // Little memory, so that most pages leave.
    one.store.limit(shards * MIB);
    return one;
  }

  deviceOf(nth: number): Zram {
    return this.devices.find(({ name }) => name === NAMES[nth])!.device;
  }

  async write(nth: number, page: number, seed: number): Promise<void> {
    const bytes = fillPage(new Uint8Array(PAGE), seed % 9 === 0 ? "same" : "noise", seed);
    for (let tries = 0; this.deviceOf(nth).write(page * PAGE, bytes) !== 0; tries++) {
      assert.ok(tries < 10_000, "a write finds room");
      await this.#cluster.settle();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Ends as the daemon does on SIGTERM. */
  async end(): Promise<void> {
    const remote = this.store.remote!;
    remote.holdPages();
    await this.#cluster.until(this.image.saveAsync());
    await this.#cluster.until(remote.releaseKept());
    for (let turns = 0; this.store.stats().remote!.removals_waiting > 0; turns++) {
      assert.ok(turns < 10_000, "removals end");
      await this.#cluster.settle();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await this.#close();
  }

  /** Ends as `kill -9` does: nothing is saved, nothing is removed. */
  async kill(): Promise<void> {
    this.#scheduler.stop();
    await this.#remote.close();
    // Messages that are on their way arrive later, at whatever the cluster is then.
    this.store.close();
  }

  async #close(): Promise<void> {
    this.#scheduler.stop();
    await this.#remote.close();
    await this.#cluster.settle();
    this.store.verify();
    this.store.close();
  }

  /** Reads a page. @returns undefined for an error */
  async read(nth: number, page: number): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(PAGE);
    try {
      await this.#cluster.until(this.deviceOf(nth).readAsync(page * PAGE, bytes));
      return bytes;
    } catch (error) {
      assert.equal((error as { code: string }).code, "ERR_CORRUPT", String(error));
      return undefined;
    }
  }

  /**
   * Records of earlier processes that the image does not name. Those that it names stay, also if
   * their pages are in memory again.
   */
  get orphans(): RemoteKey[] {
    const { kept } = this.store.remote!;
    return this.#cluster.keys.filter((key) => {
      const name = recordNameOf(key);
      return name === undefined || (name.epoch !== this.#remote.epoch && !kept.has(name));
    });
  }

  /** Reads all pages, some at a time, so that they wait for the network together. */
  async #readAll(nth: number): Promise<(Uint8Array | undefined)[]> {
    const found: (Uint8Array | undefined)[] = [];
    while (found.length < PAGES) {
      const count = Math.min(READS, PAGES - found.length);
      const reads = Array.from({ length: count }, (_, n) => this.read(nth, found.length + n));
      found.push(...(await Promise.all(reads)));
    }
    return found;
  }

  /** Compares all pages. @returns how many can't be read */
  async check(model: Model): Promise<number> {
    const expected = new Uint8Array(PAGE);
    let lost = 0;
    for (const [nth, seeds] of model.entries()) {
      const found = await this.#readAll(nth);
      for (const [page, seed] of seeds.entries()) {
        const bytes = found[page];
        if (bytes === undefined) {
          lost++;
          continue;
        }
        expected.fill(0);
        if (seed !== 0) fillPage(expected, seed % 9 === 0 ? "same" : "noise", seed);
        assert.equal(Buffer.compare(bytes, expected), 0, `page ${page} of ${NAMES[nth]}`);
      }
    }
    return lost;
  }
}

/** A number of the operation, so that no two writes have the same bytes. */
let serial = 0;

async function change(process: Process, model: Model, count: number, seed: number): Promise<void> {
  const random = new Xorshift32(seed);
  for (let n = 0; n < count; n++) {
    const nth = random.below(2);
    const page = random.below(PAGES);
    if (random.below(8) === 0) {
      assert.equal(process.deviceOf(nth).discard(page * PAGE, PAGE), 0);
      model[nth]![page] = 0;
    } else {
      await process.write(nth, page, ++serial);
      model[nth]![page] = serial;
    }
  }
}

/** Runs with a cluster whose messages arrive by themselves, as in a network. */
async function withCluster(seed: number, work: (cluster: RemoteCluster) => Promise<void>) {
  const cluster = new RemoteCluster({ seed });
  const network = setInterval(() => {
    for (let n = 0; n < 500 && cluster.step(); n++);
  }, 1);
  try {
    await work(cluster);
  } finally {
    clearInterval(network);
  }
}

const EMPTY: Model = NAMES.map(() => new Array(PAGES).fill(0));
let images = 0;

test("planned ends and kills in any order: the devices are as the last image says", async () => {
  const how = fc.constantFrom("end", "kill");
  const step = fc.record({ how, changes: fc.nat(700), seed: fc.integer({ min: 1, max: 1e6 }) });
  const steps = fc.array(step, { minLength: 2, maxLength: 5 });
  let adopted = 0;
  const check = (runs: readonly { how: string; changes: number; seed: number }[], shards: number) =>
    withCluster(++images, async (cluster) => {
      const path = join(home, `image-${images}`);
      let saved = EMPTY;
      for (const run of runs) {
        const process = await Process.start(cluster, path, shards);
        adopted += process.store.remote!.kept.count;
        assert.equal(await process.check(saved), 0, "no page is lost");
        const model = copyOf(saved);
        await change(process, model, run.changes, run.seed);
        assert.equal(await process.check(model), 0);
        if (run.how === "kill") await process.kill();
        else {
          await process.end();
          saved = model;
        }
      }
      // After a planned end, the sweep of the next process leaves the records of the image alone.
      const last = await Process.start(cluster, path, shards);
      await last.end();
      assert.equal(last.store.remote!.kept.count, 0);
      const next = await Process.start(cluster, path, shards);
      for (let turns = 0; next.orphans.length > 0; turns++) {
        assert.ok(turns < 10_000, `${next.orphans.length} records belong to no page`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      assert.equal(await next.check(saved), 0);
      await next.kill();
    });
  const example = ["end", "kill", "kill", "end"].map((how, seed) => ({
    how,
    changes: 500,
    seed: seed + 1,
  }));
  await fc.assert(fc.asyncProperty(steps, fc.constantFrom(1, 3), check), {
    ...{ numRuns: 3, includeErrorInReport: true, examples: [[example, 1]] },
  });
  assert.ok(adopted > 100, `${adopted} records were adopted`);
});

test("of a damaged image, each page reads as it was saved or as an error", async () => {
  await withCluster(1000, async (cluster) => {
    const path = join(home, "whole");
    const first = await Process.start(cluster, path);
    const model = copyOf(EMPTY);
    await change(first, model, 700, 5);
    await first.end();
    const whole = readFileSync(path);
    assert.equal(whole.toString("latin1", 0, 8), "ZCIMAGE3");
    const records = cluster.records;
    assert.ok(records > 200, `${records} records`);
    const damaged = join(home, "damaged");
    const random = new Xorshift32(9);
    let read = 0;
    for (const kind of ["flip", "flip", "flip", "cut", "zeros", "remove", "grow"]) {
      let bytes = Buffer.from(whole);
      const at = 2000 + random.below(whole.length - 4000);
      if (kind === "flip") bytes[at]! ^= 1 << random.below(8);
      if (kind === "zeros") bytes.fill(0, at, at + 1000);
      if (kind === "cut") bytes = bytes.subarray(0, at);
      if (kind === "remove")
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 700)]);
      if (kind === "grow") bytes = Buffer.concat([bytes, Buffer.alloc(50_000, 1)]);
      writeFileSync(damaged, bytes);
      // Without a sweep, so that the next round finds all records.
      const process = await Process.start(cluster, damaged, 1, false);
      const lost = await process.check(model);
      if (kind === "grow") assert.equal(lost, 0);
      read += 2 * PAGES - lost;
      await process.kill();
    }
    assert.ok(read > PAGES * 7, `${read} pages were read`);
  });
});

test("a record that is gone or damaged is an error of its page alone", async () => {
  await withCluster(1001, async (cluster) => {
    const path = join(home, "gone");
    const first = await Process.start(cluster, path);
    const model = copyOf(EMPTY);
    await change(first, model, 700, 6);
    await first.end();
    const node = cluster.nodes[0]!;
    const lost = node.master.size;
    assert.ok(lost > 10);
    node.master.clear();
    const [name, record] = [...cluster.nodes[1]!.master][0]!;
    cluster.nodes[1]!.master.set(name, { ...record, data: record.data.subarray(1) });
    const next = await Process.start(cluster, path);
    // Of a page that was in transit, the image has the bytes.
    const errors = await next.check(model);
    assert.ok(errors > 10 && errors <= lost + 1, `${errors} of ${lost}`);
    await next.end();
  });
});

test("records are adopted with the settings and the devices of their image alone", async () => {
  await withCluster(1002, async (cluster) => {
    const path = join(home, "settings");
    const first = await Process.start(cluster, path);
    const model = copyOf(EMPTY);
    await change(first, model, 700, 7);
    await first.end();
    const refused = async (names: readonly string[], settings: object, message: RegExp) => {
      const process = await Process.start(cluster, join(home, "none"), 1, false, names);
      const image = new DeviceImage(path, process.devices, "recover", { ...SETTINGS, ...settings });
      await assert.rejects(image.loadAsync(), { code: "ERR_OPTION", message });
      await process.kill();
    };
    await refused(NAMES, { prefix: "q" }, /its prefix is p, here q; start with the settings/);
    await refused(NAMES, { codec: "zstd", pool: "zbud" }, /codec is lz4, here zstd; its pool is/);
    await refused([...NAMES].reverse(), {}, /its devices were in another order/);
    const store = openStore({ memoryMax: 8 * MIB });
    const devices = NAMES.map((name, number) => ({
      name,
      device: Zram.create(store, PAGES * PAGE, number),
    }));
    assert.throws(() => new DeviceImage(path, devices).load(), {
      code: "ERR_OPTION",
      message: /this store has no cluster/,
    });
    store.close();
    // With the order that the image names, they are found.
    assert.deepEqual(devicesIn(path), NAMES);
    const next = await Process.start(cluster, path, 1, true, [...NAMES].reverse());
    assert.equal(await next.check(model), 0);
    await next.end();
  });
});

test("a record of this owner's epoch or a later one is malformed", async () => {
  await withCluster(1003, async (cluster) => {
    const path = join(home, "epoch");
    const first = await Process.start(cluster, path);
    const model = copyOf(EMPTY);
    await change(first, model, 700, 8);
    await first.end();
    // The cluster has lost the epoch, and gives it again: names could be used twice.
    cluster.lastEpoch = 0;
    await assert.rejects(Process.start(cluster, path), { code: "ERR_CORRUPT" });
  });
});
