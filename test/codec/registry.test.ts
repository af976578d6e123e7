// Tests across codecs: the registry, and implementations that read each other's output.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import zlib from "node:zlib";
import type { ErrorCode } from "../../src/base/errors.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { CodecRegistry } from "../../src/codec/registry.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import {
  CodecFixture,
  codecCases,
  FIXTURE_BYTES,
  KINDS,
  sample,
} from "../doubles/codec_fixture.ts";
import { BareCodecMemory } from "../doubles/codec_memory.ts";

const memory = new BareCodecMemory(8 * FIXTURE_BYTES);

function says(code: ErrorCode, ...parts: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof ZcacheError);
    assert.equal(error.code, code);
    for (const part of parts) assert.match(error.message, part);
    return true;
  };
}

describe("registry", () => {
  test("lists every codec in Node, and lz4, zstd, deflate and none are always there", () => {
    const list = nodeCodecs().list();
    assert.deepEqual(
      list.map(({ name }) => name),
      ["lz4", "zstd", "deflate", "lzo", "none"],
    );
    for (const listing of list) {
      if (listing.name !== "lzo") assert.ok(listing.available, `${listing.name} is available`);
      if (!listing.available) assert.match(listing.reason, /\w/);
    }
  });

  test("codecs that need no other package are available: no test of them is skipped", () => {
    const own = ["none", "lz4", "zstd (wasm)", "deflate (handle)", "deflate (calls)"];
    for (const { label, missing } of codecCases()) {
      if (own.includes(label)) assert.equal(missing, undefined, label);
    }
  });

  test("names the codecs that it knows", () => {
    const registry = nodeCodecs();
    const open = () => registry.create("zip", memory);
    assert.throws(open, says("ERR_CODEC_UNKNOWN", /"zip"/, /lz4, zstd, deflate, lzo, none/));
  });

  test("says why a codec is missing and what to do", () => {
    const missing = { name: "lzo", reason: "not installed", remedy: "npm install lzo" };
    const registry = new CodecRegistry().register(missing);
    assert.deepEqual(registry.list(), [{ available: false, ...missing }]);
    const open = () => registry.create("lzo", memory);
    assert.throws(open, says("ERR_CODEC_UNAVAILABLE", /not installed/, /npm install lzo/));
  });

  test("a lazily registered codec is loaded on first use, once", () => {
    let loads = 0;
    const registry = new CodecRegistry()
      .register({ name: "near", reason: "none", remedy: "none" })
      .registerLater("far", () => {
        loads++;
        return { name: "far", reason: "not installed", remedy: "npm install far" };
      });
    assert.deepEqual(registry.names(), ["near", "far"]);
    assert.equal(registry.find("near")!.available, false);
    assert.equal(registry.find("nowhere"), undefined);
    assert.equal(loads, 0);
    assert.equal(registry.find("far")!.available, false);
    assert.throws(() => registry.create("far", memory), says("ERR_CODEC_UNAVAILABLE", /far/));
    assert.equal(registry.list().length, 2);
    assert.equal(loads, 1);
  });

  test("checks options before it opens anything", () => {
    const registry = nodeCodecs();
    for (const level of [0, -1, 20, 1.5, Number.NaN, "1" as unknown as number]) {
      const open = () => registry.create("zstd", memory, { level });
      assert.throws(open, says("ERR_OPTION", /zstd/, /1 to 19/));
    }
    const deflate = () => registry.create("deflate", memory, { level: 10 });
    assert.throws(deflate, says("ERR_OPTION", /1 to 9/));
    for (const name of ["lz4", "none"]) {
      const open = () => registry.create(name, memory, { level: 1 });
      assert.throws(open, says("ERR_OPTION", /no levels/));
    }
    const unknown = () => registry.create("zstd", memory, { lvl: 1 } as object);
    assert.throws(unknown, says("ERR_OPTION", /"lvl"/, /level/));
  });

  test("refuses an implementation that doesn't exist", () => {
    const options = { zstd: "magic" as "wasm" };
    assert.throws(() => nodeCodecs(options), says("ERR_OPTION", /native, wasm, zlib/));
  });
});

const available = codecCases().filter((one) => one.missing === undefined);
const PLAIN = available.filter((one) => one.options.dictionary === undefined);

for (const name of ["zstd", "deflate"]) {
  const fixtures = PLAIN.filter((one) => one.name === name).map((one) => {
    const own = new BareCodecMemory(FIXTURE_BYTES);
    return { label: one.label, fixture: new CodecFixture(one.registry.create(name, own), own) };
  });
  for (const writer of fixtures) {
    for (const reader of fixtures) {
      test(`${reader.label} reads what ${writer.label} wrote`, () => {
        const random = new Xorshift32(7);
        for (const kind of KINDS) {
          for (const size of [1, 100, 255, 256, 300, 1024, 1025, 4096, 65_535, 65_536]) {
            const data = sample(kind, size, random);
            assert.deepEqual(reader.fixture.decompress(writer.fixture.compress(data)!, size), data);
          }
        }
      });
    }
  }

  for (const { label, fixture } of fixtures) {
    test(`${label} is not led to give or to take gigabytes`, () => {
      const bombs = name === "deflate" ? deflateBombs() : zstdBombs();
      for (const bomb of bombs) {
        for (const targetBytes of [1, 4096, 65_536]) assert.ok(!fixture.accepts(bomb, targetBytes));
      }
    });
  }
}

function deflateBombs(): Uint8Array[] {
  const bomb = zlib.deflateRawSync(new Uint8Array(8 * 1024 ** 2));
  return [bomb, bomb.subarray(0, bomb.length >> 1)];
}

/**
 * Frames whose header claims a window or a content of gigabytes, and blocks that claim to be large.
 */
function zstdBombs(): Uint8Array[] {
  const rleBlocks = Array(100).fill([0xfa, 0xff, 0xff, 7]).flat() as number[];
  const lastEmpty = [1, 0, 0];
  return [
    [0x00, 0xa8, ...lastEmpty],
    [0x00, 0xff, ...lastEmpty],
    [0xc0, 0x00, 0, 0, 0, 0, 1, 0, 0, 0, ...lastEmpty],
    [0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, ...lastEmpty],
    [0x00, 0x30, ...rleBlocks, ...lastEmpty],
    [0x00, 0x30, ...Array(6000).fill([0, 0, 0]).flat(), ...lastEmpty],
    [0x00, 0x30, 0xfd, 0xff, 0x0f, 1, 2, 3],
  ].map((bytes) => Uint8Array.from(bytes));
}

test("a stored zstd object is a frame of zstd without its magic number", (t) => {
  const decompress = (zlib as { zstdDecompressSync?: (frame: Uint8Array) => Uint8Array })
    .zstdDecompressSync;
  if (decompress === undefined) return t.skip("node:zlib of this Node has no zstd to compare with");
  const fixture = new CodecFixture(nodeCodecs().create("zstd", memory), memory);
  const data = sample("text", 4096, new Xorshift32(8));
  const frame = Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, ...fixture.compress(data)!]);
  assert.deepEqual(Uint8Array.from(decompress(frame)), data);
});

test("a stored deflate object is a raw deflate stream", () => {
  const fixture = new CodecFixture(nodeCodecs().create("deflate", memory), memory);
  const data = sample("text", 4096, new Xorshift32(9));
  assert.deepEqual(Uint8Array.from(zlib.inflateRawSync(fixture.compress(data)!)), data);
});
