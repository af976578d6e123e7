// The block device beside a plain array of bytes: any sequence of reads, writes, discards and
// zeroes at any offset, with the store verified after each step; and its guarantees when memory is
// short.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ENOSPC } from "../../src/base/errno.ts";
import type { StoreOptions } from "../../src/store/options.ts";
import { type IdleScanSettings, ZramIdleScan } from "../../src/zram/idle_scan.ts";
import { statLine } from "../../src/zram/stat.ts";
import { Extent, Zram } from "../../src/zram/zram.ts";
import { fillPage, openStore } from "../doubles/store_fixture.ts";

const PAGE = 4096;
/** Not a multiple of the page: the last one is never whole. */
const SIZE = 20 * PAGE + 700;

function open(options: StoreOptions = {}, sizeBytes = SIZE) {
  const store = openStore(options);
  return { store, device: Zram.create(store, sizeBytes) };
}

function content(device: Zram): Uint8Array {
  const all = new Uint8Array(device.sizeBytes);
  assert.equal(device.read(0, all), 0);
  return all;
}

const range = fc.tuple(fc.nat(SIZE - 1), fc.nat(5 * PAGE)).map(([at, length]) => {
  // Half of the ends fall on the ends of pages, where mistakes are.
  const start = at % 2 === 0 ? at : at - (at % PAGE);
  const size = length % 2 === 0 ? length : length - (length % PAGE);
  return { at: start, size: Math.max(1, Math.min(size, SIZE - start)) };
});
const step = fc.oneof(
  fc.record({ do: fc.constant("write" as const), range, seed: fc.nat(3) }),
  fc.record({ do: fc.constant("writeFrom" as const), range, seed: fc.nat(300) }),
  fc.record({ do: fc.constant("read" as const), range, seed: fc.nat(3) }),
  fc.record({ do: fc.constant("discard" as const), range, seed: fc.nat(0) }),
  fc.record({ do: fc.constant("allocate" as const), range, seed: fc.nat(3) }),
  fc.record({ do: fc.constant("status" as const), range, seed: fc.nat(9) }),
);

test("model: any sequence of requests leaves the same bytes as on a plain array", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { store, device } = open();
      const model = new Uint8Array(SIZE);
      const buffer = device.reserve(8 * PAGE);
      for (const { do: what, range, seed } of steps) {
        const { at, size } = range;
        if (what === "write" || what === "writeFrom") {
          const bytes = patternBytes(size, seed);
          model.set(bytes, at);
          // From any address, also one that is no multiple of four.
          const from = buffer + (seed % 7);
          device.bytes.set(bytes, from);
          const done =
            what === "write"
              ? device.write(at, bytes)
              : device.writeFrom(at, size, from as typeof buffer);
          assert.equal(done, 0);
        } else if (what === "read") {
          assert.equal(device.readTo(at, size, buffer), 0);
          const got = device.bytes.subarray(buffer, buffer + size);
          assert.ok(Buffer.from(got).equals(model.subarray(at, at + size)));
        } else if (what === "status") checkStatus(device, model, at, size, seed + 1);
        else {
          model.fill(0, at, at + size);
          for (let done = 0; done < size; ) {
            const some = device.zeroSome(at + done, size - done, what === "allocate", 1 + seed);
            assert.ok(some > 0);
            done += some;
          }
        }
        store.verify();
      }
      assert.ok(Buffer.from(content(device)).equals(model));
      store.close();
    }),
    { numRuns: 60 },
  );
});

function patternBytes(size: number, seed: number): Uint8Array {
  if (seed === 0) return new Uint8Array(size);
  return Uint8Array.from({ length: size }, (_, i) => (i * seed + (i >> 8)) & 0xff);
}

/** Checks every extent: holes and zeros read as zeros. */
function checkStatus(device: Zram, model: Uint8Array, at: number, size: number, pages: number) {
  const extents: number[] = [];
  const count = device.blockStatus(at, size, extents, pages);
  assert.ok(count > 0);
  let from = at;
  for (let nth = 0; nth < count; nth++) {
    const length = extents[nth * 2]!;
    const kind = extents[nth * 2 + 1]!;
    assert.ok(length > 0 && from + length <= at + size);
    if (nth > 0) assert.notEqual(kind, extents[nth * 2 - 1]);
    if (kind !== Extent.DATA) assert.ok(model.subarray(from, from + length).every((b) => b === 0));
    from += length;
  }
}

test("whole pages become holes, and their memory is freed", () => {
  const { store, device } = open({ memoryMax: "8MiB" }, 256 * PAGE);
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < 256; n++) device.write(n * PAGE, fillPage(page, "text", n));
  assert.equal(store.stats().persistent.pagesInMemory, 256);
  assert.equal(device.discard(PAGE / 2, 255 * PAGE), 0);
  assert.equal(store.stats().persistent.pagesInMemory, 2, "the two of which a part was discarded");
  assert.equal(device.ioStat().notify_free, 254);
  assert.equal(device.reset(), 2);
  assert.ok(content(device).every((byte) => byte === 0));
  assert.equal(device.nextStored(0), -1);
  store.close();
});

test("out of memory: ENOSPC, and all bytes written before are kept", () => {
  const { store, device } = open({ memoryMax: "2MiB" }, 4096 * PAGE);
  const page = new Uint8Array(PAGE);
  const got = new Uint8Array(PAGE);
  let taken = 0;
  while (device.write(taken * PAGE, fillPage(page, "text", taken)) === 0) taken++;
  assert.ok(taken > 100, `${taken} pages fit`);
  assert.equal(device.ioStat().failed_writes, 1);
  // What is overwritten with something that finds no room is as it was, whole or in part.
  const kindOf = (n: number) => (n % 8 === 0 ? "same" : "noise");
  let refused = 0;
  for (let n = taken - 1; n >= 0; n--) {
    const isRefused = device.write(n * PAGE, fillPage(page, kindOf(n), n + 10_000)) === ENOSPC;
    device.read(n * PAGE, got);
    if (isRefused) refused++;
    assert.ok(!isRefused || kindOf(n) === "noise", "a page that needs no room is taken");
    assert.deepEqual(
      got,
      isRefused ? fillPage(page, "text", n) : fillPage(page, kindOf(n), n + 10_000),
    );
  }
  assert.ok(refused > 0, "some of it was refused");
  store.verify();
  // And after a discard there is room again.
  assert.equal(device.discard(0, 64 * PAGE), 0);
  assert.equal(device.write(0, page), 0);
  store.close();
});

test("requests beyond the end are refused and counted", () => {
  const { store, device } = open();
  const bytes = new Uint8Array(10);
  for (const at of [SIZE, SIZE - 9, -1, 2 ** 60]) {
    assert.ok(device.read(at, bytes) < 0);
    assert.ok(device.write(at, bytes) < 0);
    assert.ok(device.discard(at, 10) < 0);
  }
  assert.equal(device.ioStat().invalid_io, 12);
  assert.equal(device.write(SIZE - 10, bytes), 0);
  store.close();
});

test("resize: data beyond the new end is dropped, and a new range reads as zeros", () => {
  const { store, device } = open();
  device.write(0, new Uint8Array(SIZE).fill(7));
  assert.equal(device.resize(PAGE + 100), 0);
  assert.equal(device.sizeBytes, PAGE + 100);
  assert.equal(store.stats().persistent.samePages + store.stats().persistent.pagesInMemory, 2);
  device.resize(SIZE);
  const all = content(device);
  assert.ok(all.subarray(0, PAGE + 100).every((byte) => byte === 7));
  assert.ok(all.subarray(PAGE + 100).every((byte) => byte === 0));
  for (const size of [0, -1, 1.5, Number.NaN, 2 ** 51]) {
    assert.throws(() => device.resize(size), { code: "ERR_OPTION" });
  }
  store.verify();
  store.close();
});

test("two devices of one store share no data", () => {
  const store = openStore();
  const [one, two] = [Zram.create(store, SIZE, 0), Zram.create(store, SIZE, 1)];
  one!.write(100, new Uint8Array(PAGE).fill(1));
  two!.write(100, new Uint8Array(PAGE).fill(2));
  one!.discard(0, SIZE);
  assert.equal(content(two!)[200], 2);
  assert.equal(content(one!)[200], 0);
  assert.throws(() => Zram.attach(store, { zcacheZram: 1 }), { code: "ERR_STORE_SHARE" });
  store.close();
});

test("statistics are in the kernel's order", () => {
  const { store, device } = open();
  const page = new Uint8Array(PAGE);
  device.write(0, fillPage(page, "noise", 1));
  device.write(PAGE, page.fill(5));
  const fields = statLine(device.mmStat()).split(" ").map(Number);
  assert.equal(fields.length, 9);
  assert.equal(fields[0], 2 * PAGE, "orig_data_size");
  assert.equal(fields[1], PAGE, "compr_data_size");
  assert.equal(fields[5], 1, "same_pages");
  assert.deepEqual(fields.slice(7), [1, 1], "huge_pages, huge_pages_since");
  device.discard(0, PAGE);
  assert.deepEqual(statLine(device.mmStat()).split(" ").slice(7), ["0", "1"]);
  assert.equal(statLine(device.ioStat()), "0 0 0 1");
  assert.equal(statLine(device.bdStat()), "0 0 0");
  store.close();
});

test("idle pages are recompressed with the denser codec, and read as before", () => {
  const { store, device } = open({ recompress: { codec: "zstd" } }, 64 * PAGE);
  const page = new Uint8Array(PAGE);
  for (let n = 0; n < 64; n++) device.write(n * PAGE, fillPage(page, "text", n));
  const before = device.mmStat().compr_data_size;
  const settings: IdleScanSettings = {
    recompress: "idle",
    recompressIdleSeconds: 10,
    writeBack: "none",
    writeBackIdleSeconds: 1000,
    writeBackLimit: 0,
    writeBackLimited: false,
  };
  const scan = new ZramIdleScan(store, settings, 0);
  while (scan.step(0));
  assert.equal(scan.done.recompressed, 0, "nothing is idle yet");
  for (let ms = 0; ms <= 20_000; ms += 500) {
    device.read(0, page);
    while (scan.step(ms));
  }
  assert.equal(scan.done.recompressed, 63, "all but the one that was read all the time");
  assert.ok(device.mmStat().compr_data_size < before);
  const got = new Uint8Array(PAGE);
  for (let n = 0; n < 64; n++) {
    device.read(n * PAGE, got);
    assert.deepEqual(got, fillPage(page, "text", n));
  }
  store.verify();
  store.close();
});
