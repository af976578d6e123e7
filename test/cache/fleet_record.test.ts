// Records of a shared cache: what is written is read, in the prefix of today and in that of records
// of the versions 1 and 2, and a record of neither kind is none of a cache.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import type { RemoteData } from "../../src/backing/remote_contract.ts";
import type { EncodedValue } from "../../src/cache/entries.ts";
import * as Meta from "../../src/cache/entry_meta.ts";
import { FleetRecords } from "../../src/cache/fleet_record.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import type { SharedValues } from "../../src/remote/shared_values.ts";
import * as Page from "../../src/store/page.layout.ts";
import { Store } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { packValue } from "../../src/values/packed.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";

const store = Store.create({ memoryMax: "1MiB", content: "values" }, nodePlatform());
formatValues(store, () => 7, false, [7, 11]);
const values = new Values(
  store,
  () => 0,
  () => 7,
);
/** Records without dictionaries need no cluster. */
const noCluster = {} as SharedValues;
const records = new FleetRecords(noCluster, { codec: "lz4", dense: undefined }, 1000);

const FAR = 2 ** 47;
const VALUE = fc.record({
  bytes: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.nat({ max: 9000 }).map((length) => new Uint8Array(length).fill(65)),
  ),
  type: fc.integer({ min: Meta.BYTES, max: Meta.STRUCTURED }),
  expiresMs: fc.oneof(fc.integer({ min: 1, max: FAR }), fc.constant(Number.POSITIVE_INFINITY)),
  freshMs: fc.oneof(fc.integer({ min: 1, max: FAR }), fc.constant(Number.POSITIVE_INFINITY)),
});
type Given = typeof VALUE extends fc.Arbitrary<infer T> ? T : never;

function encodedOf({ bytes, type, expiresMs, freshMs }: Given): EncodedValue {
  const request = new SetRequest();
  const meta = new Uint8Array(Meta.META_BYTES_MAX);
  const metaBytes = Meta.writeMeta(meta, type, freshMs);
  Object.assign(request, { value: bytes, valueBytes: bytes.length, meta, metaBytes, expiresMs });
  const packed = packValue(values, request);
  return { packed, long: bytes, meta: meta.slice(0, metaBytes), expiresMs };
}

/** The same record with the prefix of the versions 1 and 2. */
function older(record: RemoteData): RemoteData {
  const prefix = Buffer.from(record.data.subarray(0, record.prefixBytes));
  const expiresMs = prefix.readUIntLE(0, 6);
  const meta = Buffer.from(prefix.subarray(6));
  const before = Buffer.alloc(9);
  before.writeDoubleLE(expiresMs === 2 ** 48 - 1 ? Number.POSITIVE_INFINITY : expiresMs, 0);
  before[8] = meta[0]! >>> 7;
  meta[0]! &= 127;
  const data = Buffer.concat([before, meta, record.data.subarray(record.prefixBytes)]);
  return { ...record, prefixBytes: record.prefixBytes + 3, data };
}

test("a record gives the value that it was made of, also with the older prefix", async () => {
  const property = fc.asyncProperty(VALUE, async (given) => {
    const record = await records.toRecord(values, encodedOf(given));
    for (const read of [record, older(record)]) {
      const found = await records.fromRecord(values, 5, read);
      assert.ok(found !== undefined);
      assert.deepEqual(
        Buffer.from(found.plain).subarray(0, given.bytes.length),
        Buffer.from(given.bytes),
      );
      assert.equal(found.type, given.type);
      assert.equal(found.encoded.expiresMs, given.expiresMs);
      assert.equal(found.freshMs, Math.min(given.freshMs, given.expiresMs));
      const { packed } = found.encoded;
      assert.equal(packed?.isEmpty ?? false, given.bytes.length === 0 && packed !== undefined);
      if (packed !== undefined && packed.codec === Page.RAW) {
        assert.equal(packed.data.length, packed.plainBytes);
      }
    }
  });
  await fc.assert(property, { numRuns: 300 });
});

test("a fresh record is renewed in the prefix of today; one that is not fresh is not", async () => {
  const property = fc.asyncProperty(VALUE, fc.nat({ max: 1e9 }), async (given, staleMs) => {
    const record = await records.toRecord(values, encodedOf(given));
    const isFresh = Math.min(given.freshMs, given.expiresMs) > Date.now() + 1e6;
    if (!isFresh && Math.min(given.freshMs, given.expiresMs) > Date.now()) return;
    for (const read of [record, older(record)]) {
      const renewed = records.renewed(read, { ttlMs: 1e9, staleMs });
      assert.equal(renewed !== undefined, isFresh);
      if (renewed === undefined) continue;
      const found = await records.fromRecord(values, 5, renewed.record);
      assert.ok(found !== undefined);
      assert.equal(found.encoded.expiresMs, renewed.expiresMs);
      assert.equal(found.type, given.type);
      assert.equal(found.encoded.packed?.isEmpty, encodedOf(given).packed?.isEmpty);
      assert.equal(renewed.record.prefixBytes, staleMs === 0 ? 7 : 13);
      assert.deepEqual(
        Buffer.from(renewed.record.data.subarray(renewed.record.prefixBytes)),
        Buffer.from(record.data.subarray(record.prefixBytes)),
      );
    }
  });
  await fc.assert(property, { numRuns: 300 });
});

test("a record with another prefix is none of a cache", async () => {
  const property = fc.asyncProperty(
    fc.uint8Array({ maxLength: 40 }),
    fc.nat(),
    async (data, cut) => {
      const prefixBytes = cut % (data.length + 1);
      const plainBytes = data.length - prefixBytes;
      const record = { prefixBytes, codec: "none", dictionary: 0, plainBytes, data };
      const found = await records.fromRecord(values, 5, record);
      const type = { 7: 6, 13: 6, 10: 9, 16: 9 }[prefixBytes];
      if (type === undefined || plainBytes === 0) assert.equal(found, undefined);
      if (found !== undefined) assert.ok(found.type <= Meta.STRUCTURED);
      const renewed = records.renewed(record, { ttlMs: 1000, staleMs: 0 });
      if (type === undefined) assert.equal(renewed, undefined);
    },
  );
  await fc.assert(property, { numRuns: 500 });
});
