// Records byte by byte; record.layout.ts draws them. What is read comes from another machine: each
// size is checked before it is used, and the check covers all of them.
import { Buffer } from "node:buffer";
import type { RemoteData } from "../backing/remote_contract.ts";
import { assert } from "../base/errors.ts";
import { checksum } from "./checksum.ts";
import * as Layout from "./record.layout.ts";

/** Who wrote a record, and under which key. */
export interface RecordOrigin {
  /** 0 for a value without an owner. */
  readonly epoch: number;
  /** The key in the cluster. */
  readonly key: Uint8Array;
}

/**
 * What reading a record gives: its content; "corrupt" if it is damaged or has another key; or, for
 * an intact record that can't be read, one line that says why.
 */
export type RecordContent = RemoteData | "corrupt" | { readonly refusal: string };

const CODEC = /^[a-z0-9_.-]+$/;
const MAGIC = Buffer.from(Layout.MAGIC, "latin1");

/** Bytes of a record. */
export function recordBytes(keyBytes: number, codec: string, dataBytes: number): number {
  return Layout.HEADER_BYTES + codec.length + keyBytes + dataBytes;
}

/** The bytes of a record; a copy of the data. */
export function encodeRecord({ epoch, key }: RecordOrigin, record: RemoteData): Buffer {
  const { codec, data } = record;
  assert(codec.length <= Layout.CODEC_BYTES_MAX && CODEC.test(codec), "the codec has a short name");
  assert(key.length <= Layout.KEY_BYTES_MAX, "the key has at most 2,048 bytes");
  assert(record.prefixBytes <= data.length, "the prefix is a part of the data");
  const total = recordBytes(key.length, codec, data.length);
  const bytes = Buffer.allocUnsafe(total);
  bytes.write(Layout.MAGIC, 0, "latin1");
  bytes[Layout.VERSION_AT] = Layout.VERSION;
  bytes.writeUInt32LE(total, Layout.BYTES_AT);
  bytes.writeUInt32LE(epoch, Layout.EPOCH_AT);
  bytes.writeUInt32LE(record.dictionary, Layout.DICTIONARY_AT);
  bytes.writeUInt32LE(record.plainBytes, Layout.PLAIN_AT);
  bytes.writeUInt32LE(record.prefixBytes, Layout.PREFIX_AT);
  bytes.writeUInt16LE(key.length, Layout.KEY_AT);
  bytes[Layout.CODEC_AT] = codec.length;
  bytes[Layout.ZERO_AT] = 0;
  bytes.write(codec, Layout.HEADER_BYTES, "latin1");
  bytes.set(key, Layout.HEADER_BYTES + codec.length);
  bytes.set(data, total - data.length);
  bytes.writeUInt32LE(checksum(bytes.subarray(Layout.BYTES_AT)), Layout.CHECK_AT);
  return bytes;
}

/**
 * Reads a record.
 * @param key the key under which it was found
 * @param plainBytesMax uncompressed size that the caller takes
 */
export function decodeRecord(
  bytes: Uint8Array,
  key: Uint8Array,
  plainBytesMax: number,
): RecordContent {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (record.length < Layout.HEADER_BYTES || !record.subarray(0, MAGIC.length).equals(MAGIC)) {
    return "corrupt";
  }
  const version = record[Layout.VERSION_AT]!;
  if (version !== Layout.VERSION) {
    const known = `this zcache reads version ${Layout.VERSION}`;
    return { refusal: `a record of version ${version} in the cluster, and ${known}` };
  }
  if (record.readUInt32LE(Layout.BYTES_AT) !== record.length) return "corrupt";
  const check = record.readUInt32LE(Layout.CHECK_AT);
  if (checksum(record.subarray(Layout.BYTES_AT)) !== check) return "corrupt";
  return contentOf(record, key, plainBytesMax);
}

/** The content of a record whose check is right; nothing says that a zcache has written it. */
function contentOf(record: Buffer, key: Uint8Array, plainBytesMax: number): RecordContent {
  const codecBytes = record[Layout.CODEC_AT]!;
  const keyBytes = record.readUInt16LE(Layout.KEY_AT);
  const prefixBytes = record.readUInt32LE(Layout.PREFIX_AT);
  const plainBytes = record.readUInt32LE(Layout.PLAIN_AT);
  const keyAt = Layout.HEADER_BYTES + codecBytes;
  const dataAt = keyAt + keyBytes;
  if (codecBytes > Layout.CODEC_BYTES_MAX || dataAt + prefixBytes > record.length) return "corrupt";
  const codec = record.toString("latin1", Layout.HEADER_BYTES, keyAt);
  if (!CODEC.test(codec) || !record.subarray(keyAt, dataAt).equals(key)) return "corrupt";
  if (plainBytes > plainBytesMax) {
    const most = `at most ${plainBytesMax} bytes are taken`;
    return { refusal: `a record in the cluster has ${plainBytes} bytes uncompressed: ${most}` };
  }
  const dictionary = record.readUInt32LE(Layout.DICTIONARY_AT);
  return { prefixBytes, codec, dictionary, plainBytes, data: record.subarray(dataAt) };
}

/** The owner's epoch in a record that `decodeRecord` has read. */
export function epochOf(bytes: Uint8Array): number {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return record.readUInt32LE(Layout.EPOCH_AT);
}
