// The image of devices: saved pages are loaded, of a damaged image all undamaged ones. A page reads
// as it was saved or as an error, never as zeros or other bytes.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { Extent, Zram } from "../../src/nbd/index.ts";
import { createStore } from "../../src/node/stores.ts";
import { policyNames } from "../../src/policy/registry.ts";
import { DeviceImage } from "../../src/zram/image.ts";
import { fillPage } from "../doubles/store_fixture.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const PAGE = 4096;
const PAGES = 200;
const NAMES = ["first", "second"];
const home = temporaryFolder("image");
const FIXTURES = fileURLToPath(new URL("../../../test/fixtures/", import.meta.url));

function open(
  path: string,
  sizeBytes = PAGES * PAGE,
  existing?: "recover" | "discard",
  policy?: string,
) {
  const store = createStore({ memoryMax: "6MiB", ...(policy === undefined ? {} : { policy }) });
  const devices = NAMES.map((name, number) => ({
    name,
    device: Zram.create(store, sizeBytes, number),
  }));
  return { store, devices, image: new DeviceImage(path, devices, existing) };
}

/** What page `n` of a device holds; undefined: a hole. */
function pageOf(device: number, n: number): Uint8Array | undefined {
  if ((n + device) % 5 === 4 || (n > 90 && n < 120)) return undefined;
  return fillPage(new Uint8Array(PAGE), n % 3 === 0 ? "noise" : "text", n * 2 + device);
}

const path = join(home, "image");
const from = open(path);
const expected = NAMES.map((_, device) =>
  Array.from({ length: PAGES }, (__, n) => pageOf(device, n)),
);
let total = 0;
for (const [nth, pages] of expected.entries()) {
  for (const [n, page] of pages.entries()) {
    if (page === undefined) continue;
    from.devices[nth]!.device.write(n * PAGE, page);
    total++;
  }
}
assert.equal(from.image.save(), total);
from.store.close();
const whole = readFileSync(path);
const ZEROS = new Uint8Array(PAGE);

/** Reads all pages. @returns how many are as they were saved, and how many can't be read */
function readAll(devices: ReturnType<typeof open>["devices"]) {
  const seen = { right: 0, lost: 0, holes: 0 };
  const page = new Uint8Array(PAGE);
  for (const [nth, { device }] of devices.entries()) {
    for (let n = 0; n < PAGES; n++) {
      const wanted = expected[nth]![n];
      try {
        device.read(n * PAGE, page);
        assert.deepEqual(page, wanted ?? ZEROS, `page ${n} of device ${nth} is right`);
        if (wanted === undefined) seen.holes++;
        else seen.right++;
      } catch (error) {
        assert.equal((error as { code: string }).code, "ERR_CORRUPT", String(error));
        seen.lost++;
      }
    }
  }
  return seen;
}

/** Loads bytes as an image. */
function loaded(bytes: Uint8Array) {
  const damaged = join(home, "damaged");
  writeFileSync(damaged, bytes);
  const opened = open(damaged);
  const { pages, loss } = opened.image.load();
  const seen = readAll(opened.devices);
  assert.equal(seen.right, pages, "what is loaded is what can be read");
  if (seen.right < total || seen.lost > 0) assert.ok(loss !== undefined, "a loss is reported");
  opened.store.verify();
  return { ...opened, ...seen, loss };
}

test("all saved pages are loaded, also into larger devices", () => {
  const { store, right, lost, loss } = loaded(whole);
  assert.deepEqual([right, lost, loss], [total, 0, undefined]);
  store.close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const larger = open(path, (PAGES + 1) * PAGE);
  assert.equal(larger.image.load().pages, total);
  larger.store.close();
  const smaller = open(path, (PAGES - 1) * PAGE);
  assert.throws(() => smaller.image.load(), { code: "ERR_OPTION" });
  smaller.store.close();
  const other = open(path);
  const image = new DeviceImage(path, [{ name: "other", device: other.devices[0]!.device }]);
  assert.throws(() => image.load(), { code: "ERR_OPTION", message: /has a device "first"/ });
  assert.throws(() => new DeviceImage(join(home, "no/where"), other.devices).save(), {
    code: "ERR_IO",
  });
  other.store.close();
});

test("an image is loaded whatever the eviction policy of its store was", () => {
  const written = join(home, "tinylfu");
  for (const policy of ["tinylfu", ...policyNames()]) {
    const { store, devices, image } = open(written, PAGES * PAGE, undefined, policy);
    if (existsSync(written)) assert.equal(image.load().pages, total);
    else {
      for (const [nth, pages] of expected.entries()) {
        for (const [n, page] of pages.entries()) {
          if (page !== undefined) devices[nth]!.device.write(n * PAGE, page);
        }
      }
    }
    assert.equal(readAll(devices).right, total);
    assert.equal(image.save(), total);
    store.verify();
    store.close();
  }
});

test("undamaged pages of a damaged image are loaded, all others read as errors", () => {
  const kinds = fc.constantFrom("cut", "flip", "zeros", "random", "grow", "insert", "remove");
  const part = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  let most = 0;
  const check = (kind: string, where: number, bit: number) => {
    // Without its name it is a foreign file: see below.
    const isNamed = ["cut", "flip", "grow"].includes(kind);
    const at = Math.floor(where * whole.length) + (isNamed ? 0 : 8);
    let bytes = Buffer.from(whole);
    const hole = bytes.subarray(at, at + 1000);
    if (kind === "cut") bytes = bytes.subarray(0, at);
    if (kind === "flip") bytes[at]! ^= 1 << bit;
    if (kind === "zeros") hole.fill(0);
    if (kind === "random")
      hole.set(fillPage(new Uint8Array(PAGE), "noise", bit).subarray(0, hole.length));
    if (kind === "grow") bytes = Buffer.concat([bytes, Buffer.alloc(100_000, bit)]);
    if (kind === "insert") bytes = Buffer.concat([bytes.subarray(0, at), hole, bytes.subarray(at)]);
    if (kind === "remove")
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1000)]);
    const { store, right, lost } = loaded(bytes);
    if (kind === "grow") assert.deepEqual([right, lost], [total, 0]);
    if (right < total) most = Math.max(most, right);
    store.close();
  };
  fc.assert(fc.property(kinds, part, fc.nat(7), check), {
    numRuns: 120,
    examples: [0, 0.00002, 0.0001, 0.3, 0.99999].map((at) => ["flip", at, 2]),
  });
  assert.ok(most > total / 2, `${most} pages of ${total}: damage costs a part alone`);
});

test("an image of zeros or without its beginning loads, with all pages lost", () => {
  const starts = [Buffer.alloc(whole.length), Buffer.alloc(0), whole.subarray(0, 5)];
  for (const bytes of starts) {
    const { store, right, lost } = loaded(bytes);
    assert.deepEqual([right, lost], [0, NAMES.length * PAGES]);
    store.close();
  }
});

test("lost pages stay lost, also in a saved image, until they are written, zeroed or reset", () => {
  const bytes = Buffer.from(whole);
  const quarter = Math.floor(whole.length / 4);
  bytes.fill(7, quarter, quarter + 5000);
  const first = loaded(bytes);
  assert.ok(first.lost > 0 && first.lost < 100, String(first.lost));
  const again = join(home, "again");
  new DeviceImage(again, first.devices).save();
  const { store, devices, image } = open(again);
  assert.match(image.load().loss!, /lost when an earlier image was read/);
  const [nth, { device }] = [...devices.entries()].find(([, one]) => one.device.lost.any)!;
  const { from: begin, to: end } = device.lost.ranges()[0]!;
  const lost = Array.from({ length: end - begin }, (_, n) => begin + n).filter(
    (n) => device.nextStored(n) !== n,
  );
  assert.equal(lost.length, first.lost);
  const page = new Uint8Array(PAGE);
  const assertLost = (n: number) =>
    assert.throws(() => device.read(n * PAGE, page), { code: "ERR_CORRUPT" });
  for (const n of lost) assertLost(n);
  const extents: number[] = [];
  assert.equal(device.blockStatus(lost[0]! * PAGE, PAGE, extents, 10), 1);
  assert.equal(extents[1], Extent.DATA, "an unreadable page counts as data");
  // Part of a page can't be written: the rest of it is not known.
  assert.throws(() => device.write(lost[0]! * PAGE + 5, page.subarray(0, 9)), {
    code: "ERR_CORRUPT",
  });
  device.write(lost[0]! * PAGE, expected[1 - nth]![0]!);
  device.read(lost[0]! * PAGE, page);
  assert.deepEqual(page, expected[1 - nth]![0]);
  assert.equal(device.discard(lost[0]! * PAGE, 2 * PAGE), 0);
  device.read(lost[0]! * PAGE, page);
  assert.deepEqual(page, ZEROS);
  device.read((lost[0]! + 1) * PAGE, page);
  assert.deepEqual(page, ZEROS);
  assertLost(lost.at(-1)!);
  device.reset();
  device.read(lost.at(-1)! * PAGE, page);
  assert.deepEqual(page, ZEROS);
  store.verify();
  store.close();
  first.store.close();
});

test("foreign files and other versions are refused with a remedy, and left as they are", () => {
  const image = join(home, "foreign");
  const others: Record<string, () => void> = {
    text: () => writeFileSync(image, "my diary ".repeat(1000)),
    program: () => writeFileSync(image, readFileSync(process.execPath).subarray(0, 100_000)),
    folder: () => mkdirSync(image),
    fifo: () => spawnSync("mkfifo", [image]),
    "link to nothing": () => symlinkSync(join(home, "nowhere"), image),
  };
  for (const [what, make] of Object.entries(others)) {
    make();
    const before = lstatSync(image);
    const refused = open(image);
    assert.throws(
      () => refused.image.load(),
      /left as it is; use another path, or start without it: existing/,
      what,
    );
    refused.store.close();
    const { store, devices, image: own } = open(image, PAGES * PAGE, "discard");
    assert.equal(own.exists, false);
    devices[0]!.device.write(0, expected[0]![0]!);
    assert.equal(own.save(), 1);
    assert.equal(own.path, `${image}.1`);
    assert.equal(lstatSync(image).mode, before.mode);
    assert.equal(lstatSync(image).size, before.size);
    store.close();
    rmSync(image, { recursive: true });
  }
  // A version that differs in a single bit from the one in use may be damage, and is read as that.
  for (const version of ["4", "9"]) {
    const bytes = readFileSync(join(FIXTURES, "image-3/image"));
    bytes.write(version, 7, "latin1");
    writeFileSync(image, bytes);
    const { store, image: own } = open(image);
    assert.throws(
      () => own.load(),
      /is an image of version .*, and this zcache reads versions 1, 2 and 3/,
    );
    assert.deepEqual(readFileSync(image), bytes);
    store.close();
  }
});

for (const version of ["1", "2", "3"]) {
  test(`an image of version ${version} is loaded`, () => {
    const image = join(home, "old");
    copyFileSync(join(FIXTURES, `image-${version}/image`), image);
    const { store, devices, image: own } = open(image, 1 << 20);
    const { pages, loss } = own.load();
    assert.deepEqual([pages, loss], [58, undefined]);
    const page = Buffer.alloc(PAGE);
    for (const [nth, { device, name }] of devices.entries()) {
      device.read((nth + 14) * PAGE, page);
      assert.deepEqual(page, Buffer.alloc(PAGE, `page ${nth + 14} of ${name}, `));
    }
    store.close();
  });
}
