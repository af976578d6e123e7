// The knobs of block devices: each does what the kernel's documentation says of the file of its
// name, or what docs/nbd.md says where the two differ.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { isWritable, useKnob } from "../../src/base/knob.ts";
import { KnobFixture, PAGE } from "../doubles/knob_fixture.ts";
import { fillPage } from "../doubles/store_fixture.ts";

const PAGES = 100;
const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

test("the documentation lists every knob, and each says what its value is", () => {
  const fixture = new KnobFixture();
  const page = readFileSync(join(ROOT, "docs/nbd.md"), "utf8");
  for (const { name, describe } of fixture.knobs.values()) {
    const [base] = name.split(":");
    assert.ok(page.includes(`\`${base}\``), `docs/nbd.md lists ${base}`);
    assert.match(describe, /^[^\n]{10,150}$/, name);
  }
  fixture.close();
});

test("no knob takes a value that it does not allow, and then nothing changes", async () => {
  const fixture = new KnobFixture();
  fixture.write(0, "text");
  const before = JSON.stringify([...fixture.knobs.values()].map(({ get }) => get()));
  for (const knob of fixture.knobs.values()) {
    const values = [
      "",
      "x",
      "-1",
      "1e99",
      "0x1",
      "1 x",
      "99999999999999999999",
      "a=1",
      "type=",
      "=",
    ];
    for (const bad of isWritable(knob) ? values : []) {
      const error = { code: "ERR_OPTION", message: /^[^\n]*(must be|is not a size)[^\n]*$/ };
      await assert.rejects(useKnob(knob, bad), error, `${knob.name}=${bad}`);
    }
  }
  const after = JSON.stringify([...fixture.knobs.values()].map(({ get }) => get()));
  assert.equal(after, before);
  fixture.close();
});

test("disksize, initstate and reset are those of one device", () => {
  const fixture = new KnobFixture();
  for (const device of [0, 1]) for (const page of [0, 98]) fixture.write(page, "text", device);
  fixture.set("disksize:more", "200K");
  assert.equal(fixture.get("disksize:more"), String(200 * 1024));
  assert.equal(fixture.get("disksize"), String(PAGES * PAGE));
  const stored = (device: number) => fixture.devices[device]!.device.nextStored(1);
  assert.deepEqual([stored(0), stored(1)], [98, -1]);
  fixture.set("reset", "1");
  assert.equal(fixture.devices[0]!.device.nextStored(0), -1);
  assert.equal(fixture.devices[1]!.device.nextStored(0), 0);
  assert.deepEqual([fixture.get("initstate"), fixture.get("initstate:more")], ["1", "1"]);
  fixture.close();
});

test("algorithm_params has the levels that were set, which change what is stored", () => {
  const bytes = [1, 19].map((level) => {
    const recompress = { codec: "zstd", codecOptions: { level } };
    const settings = { recompress: "idle", recompressIdleSeconds: 4 } as const;
    const fixture = new KnobFixture({ settings, store: { recompress } });
    assert.equal(fixture.get("algorithm_params"), `algo=zstd priority=1 level=${level}`);
    for (let page = 0; page < 20; page++) fixture.write(page, "sparse");
    fixture.pass(20);
    assert.equal(fixture.idleScan.done.recompressed, 20);
    const stored = Number(fixture.get("mm_stat").split(" ")[1]);
    fixture.close();
    return stored;
  });
  assert.ok(bytes[1]! < bytes[0]!, `${bytes[1]} bytes at level 19, ${bytes[0]} at level 1`);
});

test("mem_limit refuses writes beyond it, and 0 is no limit of its own", () => {
  const fixture = new KnobFixture({ store: { memoryMax: "4MiB" }, hasFile: false });
  const { device } = fixture.devices[0]!;
  const all = fixture.get("mem_limit");
  for (let page = 0; page < 20; page++) fixture.write(page, "noise");
  fixture.set("mem_limit", fixture.get("mm_stat").split(" ")[2]!);
  const bytes = fillPage(new Uint8Array(PAGE), "noise", 7);
  let refused = 0;
  for (let page = 20; page < 80; page++) if (device.write(page * PAGE, bytes) !== 0) refused++;
  assert.ok(refused > 0, "some writes find no room");
  fixture.set("mem_limit", "0");
  // Whole frames for each shard.
  assert.ok(Math.abs(Number(fixture.get("mem_limit")) - Number(all)) < 4 * PAGE);
  for (let page = 20; page < 80; page++) fixture.write(page, "noise");
  fixture.close();
});

test("mem_used_max is the most that was in use, and begins anew at 0", () => {
  const fixture = new KnobFixture();
  const used = () => Number(fixture.get("mm_stat").split(" ")[2]);
  for (let page = 0; page < PAGES; page++) fixture.write(page, "noise");
  const most = used();
  fixture.set("reset", "1");
  assert.ok(used() < most);
  assert.ok(Number(fixture.get("mem_used_max")) >= most);
  fixture.set("mem_used_max", "0");
  assert.equal(Number(fixture.get("mem_used_max")), used());
  assert.equal(fixture.get("mm_stat").split(" ")[4], fixture.get("mem_used_max"));
  for (let page = 0; page < 50; page++) fixture.write(page, "noise");
  assert.equal(Number(fixture.get("mem_used_max")), used());
  fixture.close();
});

test("idle marks all pages, or those that were not used for so many seconds, once", () => {
  const fixture = new KnobFixture({ settings: { recompress: "idle", recompressIdleSeconds: 600 } });
  const done = () => fixture.idleScan.done.recompressed;
  for (let page = 0; page < 20; page++) fixture.write(page, "text");
  fixture.pass(400);
  for (let page = 20; page < 50; page++) fixture.write(page, "text");
  fixture.pass(2);
  assert.equal(done(), 0, "no page is idle yet");
  // A tick has 150 seconds, a quarter of the age.
  fixture.set("idle", "100");
  fixture.pass(2);
  assert.equal(done(), 20, "the pages that were not used for 100 seconds");
  fixture.set("idle", "all");
  fixture.pass(2);
  assert.equal(done(), 50);
  for (let page = 50; page < 60; page++) fixture.write(page, "text");
  fixture.pass(160);
  assert.equal(done(), 50, "pages that were written later are not marked");
  const { ageSecondsMax } = fixture.idleScan;
  assert.throws(() => fixture.set("idle", String(ageSecondsMax + 1)), { code: "ERR_OPTION" });
  fixture.set("idle", String(ageSecondsMax));
  fixture.close();
});

test("recompress: types choose pages", () => {
  const fixture = new KnobFixture({ settings: { recompressIdleSeconds: 4 } });
  for (let page = 0; page < 20; page++) fixture.write(page, "text");
  fixture.pass(20);
  assert.equal(fixture.idleScan.done.recompressed, 0, "none");
  fixture.set("recompress", "huge_idle");
  fixture.pass(20);
  assert.equal(fixture.idleScan.done.recompressed, 0, "no page is huge");
  fixture.set("recompress", "idle");
  fixture.pass(20);
  assert.equal(fixture.idleScan.done.recompressed, 20);
  assert.equal(fixture.get("recompress"), "idle");
  fixture.set("recompress_idle", "9");
  assert.equal(fixture.get("recompress_idle"), "9");
  assert.equal(fixture.get("recomp_algorithm"), "zstd");
  fixture.close();
});

test("writeback: types choose pages, and a limit is used up", () => {
  const fixture = new KnobFixture({ settings: { writeBackIdleSeconds: 4 } });
  for (let page = 0; page < 40; page++) fixture.write(page, page < 10 ? "noise" : "text");
  const inFile = () => Number(fixture.get("bd_stat").split(" ")[0]);
  fixture.pass(20);
  assert.equal(inFile(), 0, "none");
  fixture.set("writeback", "huge");
  fixture.pass(2);
  assert.equal(inFile(), 10, "pages that do not shrink");
  fixture.set("writeback_limit", "7");
  fixture.set("writeback_limit_enable", "1");
  fixture.set("writeback", "idle");
  fixture.pass(20);
  assert.equal(inFile(), 17);
  assert.equal(fixture.get("writeback_limit"), "0");
  fixture.set("writeback_limit_enable", "0");
  fixture.set("writeback_idle", "5");
  fixture.pass(20);
  assert.equal(inFile(), 40);
  const page = new Uint8Array(PAGE);
  for (let nth = 0; nth < 40; nth++) {
    assert.equal(fixture.devices[0]!.device.read(nth * PAGE, page), 0);
    assert.deepEqual(page, fillPage(new Uint8Array(PAGE), nth < 10 ? "noise" : "text", nth + 1));
  }
  fixture.close();
});

test("compact frees the frames of pools with gaps", () => {
  const fixture = new KnobFixture({ store: { pool: "zsmalloc" } });
  for (let page = 0; page < PAGES; page++) fixture.write(page, "text");
  const { device } = fixture.devices[0]!;
  for (let page = 0; page < PAGES; page++) if (page % 4 > 0) device.discard(page * PAGE, PAGE);
  const used = () => Number(fixture.get("mm_stat").split(" ")[2]);
  const before = used();
  fixture.set("compact", "1");
  assert.ok(used() < before);
  assert.ok(Number(fixture.get("mm_stat").split(" ")[6]) > 0, "pages_compacted counts");
  fixture.close();
});
