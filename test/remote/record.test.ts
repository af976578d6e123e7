// Records: round trips, damage, the fixture of each version, and bytes that nobody has written.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import type { RemoteData } from "../../src/backing/remote_contract.ts";
import { checksum } from "../../src/remote/checksum.ts";
import { parseRecordKey, recordKey } from "../../src/remote/keys.ts";
import * as Layout from "../../src/remote/record.layout.ts";
import { decodeRecord, encodeRecord } from "../../src/remote/record.ts";

const FIXTURES = fileURLToPath(new URL("../../../test/fixtures", import.meta.url));
const PLAIN_MAX = 65536;
const KEY = Buffer.from("zc:r:7:{p0.1.0}:3.2", "latin1");

const DATA = fc.record({
  codec: fc.constantFrom("none", "lz4", "zstd", "deflate", "lzo", "another-1.0"),
  dictionary: fc.nat({ max: 0xffffffff }),
  plainBytes: fc.nat({ max: PLAIN_MAX }),
  data: fc.uint8Array({ maxLength: 5000 }),
  part: fc.double({ min: 0, max: 1, noNaN: true }),
});

function recordOf({ part, ...record }: { part: number; data: Uint8Array } & Partial<RemoteData>) {
  const prefixBytes = Math.floor(part * record.data.length);
  return { ...record, prefixBytes } as RemoteData;
}

/** Makes the check of changed bytes right again, as a foreign writer would. */
function resign(record: Buffer): Buffer {
  const check = checksum(KEY, record.subarray(Layout.NUMBERS_AT));
  record.writeUInt32LE(check, Layout.CHECK_AT);
  return record;
}

/** Reads a record as docs/formats.md describes it. */
function readByDocument(bytes: Buffer) {
  let at = 8;
  const numbers = Array.from({ length: 5 }, () => {
    let number = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      number |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(number);
    }
  });
  const [epoch, dictionary, plainBytes, prefixBytes, which] = numbers as [
    ...[number, number, number, number, number],
  ];
  const codecBytes = which <= 32 ? which : 0;
  const names: Record<number, string> = {
    33: "none",
    34: "lz4",
    35: "zstd",
    36: "deflate",
    37: "lzo",
  };
  const codec = names[which] ?? bytes.toString("latin1", at, at + codecBytes);
  const data = bytes.subarray(at + codecBytes);
  return { epoch, dictionary, plainBytes, prefixBytes, codec, data };
}

test("what is encoded is decoded", () => {
  const property = fc.property(DATA, fc.nat({ max: 0xffffffff }), (data, epoch) => {
    const record = recordOf(data);
    const bytes = encodeRecord({ epoch, key: KEY }, record);
    assert.equal(bytes.toString("latin1", 0, 4), "ZCR\x03");
    const wanted = { epoch, ...record, data: Buffer.from(record.data) };
    assert.deepEqual(readByDocument(bytes), wanted);
    const read = decodeRecord(bytes, KEY, PLAIN_MAX);
    assert.ok(read !== "corrupt" && !("refusal" in read));
    assert.deepEqual(
      { ...read, data: Buffer.from(read.data) },
      { ...record, data: Buffer.from(record.data) },
    );
  });
  fc.assert(property, { numRuns: 300 });
});

test("any changed, missing or added byte, and another key, make a record corrupt", () => {
  const property = fc.property(
    DATA,
    fc.nat(),
    fc.integer({ min: 1, max: 255 }),
    (data, at, flip) => {
      const bytes = encodeRecord({ epoch: 7, key: KEY }, recordOf(data));
      const changed = Buffer.from(bytes);
      const place = at % bytes.length;
      changed[place]! ^= flip;
      const read = decodeRecord(changed, KEY, PLAIN_MAX);
      const version = changed[Layout.VERSION_AT]!;
      if (version > Layout.VERSION || version === 0) {
        assert.ok(read !== "corrupt" && "refusal" in read);
      } else if (version !== 2 || read === "corrupt") assert.equal(read, "corrupt");
      // The check does not cover the version, and a codec with a name stands in 2 and 3 alike.
      else assert.deepEqual(read, decodeRecord(bytes, KEY, PLAIN_MAX));
      assert.equal(decodeRecord(bytes.subarray(0, place), KEY, PLAIN_MAX), "corrupt");
      const longer = Buffer.concat([bytes, Buffer.from([flip])]);
      assert.equal(decodeRecord(longer, KEY, PLAIN_MAX), "corrupt");
      assert.equal(decodeRecord(bytes, Buffer.from("another key"), PLAIN_MAX), "corrupt");
    },
  );
  fc.assert(property, { numRuns: 300 });
});

test("a record with a right check and wrong lengths is not believed", () => {
  const words = fc.array(fc.tuple(fc.integer({ min: 8, max: 31 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 8,
  });
  const property = fc.property(DATA, words, (data, changes) => {
    const bytes = encodeRecord({ epoch: 7, key: KEY }, recordOf(data));
    for (const [at, value] of changes) bytes[at] = value;
    const read = decodeRecord(resign(bytes), KEY, PLAIN_MAX);
    if (read === "corrupt" || "refusal" in read) return;
    assert.ok(read.plainBytes <= PLAIN_MAX && read.prefixBytes <= read.data.length);
    assert.ok(read.data.length <= bytes.length - Layout.HEADER_BYTES_MIN);
  });
  fc.assert(property, { numRuns: 1000 });
});

test("bytes that nobody has written are corrupt", () => {
  const property = fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    assert.equal(decodeRecord(bytes, KEY, PLAIN_MAX), "corrupt");
  });
  fc.assert(property, { numRuns: 500 });
});

test("a size that the caller does not take, and another version, are refused by name", () => {
  const record = { prefixBytes: 0, codec: "lz4", dictionary: 0, plainBytes: 70_000 };
  const bytes = encodeRecord({ epoch: 1, key: KEY }, { ...record, data: new Uint8Array(100) });
  const large = decodeRecord(bytes, KEY, PLAIN_MAX);
  assert.ok(large !== "corrupt" && "refusal" in large && /70000 .*65536/.test(large.refusal));
  bytes[Layout.VERSION_AT] = 9;
  const newer = decodeRecord(bytes, KEY, PLAIN_MAX);
  assert.ok(newer !== "corrupt" && "refusal" in newer);
  assert.match(newer.refusal, /^[^\n]*version 9[^\n]*versions 1 to 3$/);
});

test("version 2 has no numbers for codecs", () => {
  const record = { prefixBytes: 0, codec: "lz4", dictionary: 0, plainBytes: 9 };
  const bytes = encodeRecord({ epoch: 1, key: KEY }, { ...record, data: new Uint8Array(40) });
  assert.notEqual(decodeRecord(bytes, KEY, PLAIN_MAX), "corrupt");
  bytes[Layout.VERSION_AT] = 2;
  assert.equal(decodeRecord(bytes, KEY, PLAIN_MAX), "corrupt");
});

test("records of each version are read", () => {
  for (let version = 1; version <= Layout.VERSION; version++) {
    const bytes = readFileSync(join(FIXTURES, `remote-record-${version}`));
    const read = decodeRecord(bytes, KEY, PLAIN_MAX);
    assert.ok(read !== "corrupt" && !("refusal" in read), String(version));
    assert.equal(bytes[version === 1 ? Layout.FIRST.EPOCH_AT : Layout.NUMBERS_AT], 7);
    assert.equal(decodeRecord(bytes, Buffer.from("another key"), PLAIN_MAX), "corrupt");
    const { data, ...rest } = read;
    assert.deepEqual(rest, { prefixBytes: 5, codec: "none", dictionary: 3, plainBytes: 18 });
    assert.equal(Buffer.from(data).toString("latin1"), "head:plain bytes of one");
  }
});

test("names of keys are read back, and others are none", () => {
  const CHARS = [..."0123456789abcdefghijklmnopqrstuvwxyz.-"];
  const text = (maxLength: number) =>
    fc.string({ unit: fc.constantFrom(...CHARS), minLength: 1, maxLength });
  const property = fc.property(
    fc.integer({ min: 1, max: 0xffffffff }),
    text(100),
    text(40),
    (epoch, run, name) => {
      const key = { epoch, run, name };
      assert.deepEqual(parseRecordKey("a.b", recordKey("a.b", key)), key);
    },
  );
  fc.assert(property, { numRuns: 200 });
  for (const key of ["a.b:r:0:{x}:y", "a.b:r:4294967296:{x}:y", "aab:r:1:{x}:y", "a.b:r:1:{}:y"]) {
    assert.equal(parseRecordKey("a.b", key), undefined, key);
  }
});
