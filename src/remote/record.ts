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

/** The numbers of a record's header, and where the bytes behind it begin. */
interface Header {
  readonly epoch: number;
  readonly dictionary: number;
  readonly plainBytes: number;
  readonly prefixBytes: number;
  /** Its name; undefined: the next `codecBytes` bytes have it. */
  readonly codec: string | undefined;
  readonly codecBytes: number;
  /** Offset of the codec's name, or of what follows where there is none. */
  readonly at: number;
  /** Bytes of the key between the codec's name and the prefix. */
  readonly keyBytes: number;
}

const CODEC = /^[a-z0-9_.-]+$/;
const MAGIC = Buffer.from(Layout.MAGIC, "latin1");
const { CODECS, CODEC_BYTES_MAX, FIRST } = Layout;
/** CODEC of the first of CODECS. */
const FIRST_CODEC = CODEC_BYTES_MAX + 1;
const header = Buffer.alloc(Layout.HEADER_BYTES_MAX);

/** The bytes of a record; a copy of the data. */
export function encodeRecord({ epoch, key }: RecordOrigin, record: RemoteData): Buffer {
  const { codec, data, dictionary, plainBytes, prefixBytes } = record;
  assert(codec.length <= CODEC_BYTES_MAX && CODEC.test(codec), "the codec has a short name");
  assert(key.length <= Layout.KEY_BYTES_MAX, "the key has at most 2,048 bytes");
  assert(prefixBytes <= data.length, "the prefix is a part of the data");
  const place = (CODECS as readonly string[]).indexOf(codec);
  const name = place < 0 ? codec : "";
  const which = place < 0 ? codec.length : FIRST_CODEC + place;
  let at = Layout.NUMBERS_AT;
  for (const number of [epoch, dictionary, plainBytes, prefixBytes, which]) {
    at = writeNumber(header, at, number);
  }
  const bytes = Buffer.allocUnsafe(at + name.length + data.length);
  bytes.set(header.subarray(0, at));
  bytes.write(Layout.MAGIC, 0, "latin1");
  bytes[Layout.VERSION_AT] = Layout.VERSION;
  bytes.write(name, at, "latin1");
  bytes.set(data, at + name.length);
  bytes.writeUInt32LE(checksum(key, bytes.subarray(Layout.NUMBERS_AT)), Layout.CHECK_AT);
  return bytes;
}

/** @returns the offset behind the number */
function writeNumber(bytes: Uint8Array, from: number, number: number): number {
  let at = from;
  let rest = number >>> 0;
  for (; rest > 0x7f; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at++] = rest;
  return at;
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
  if (record.length < Layout.HEADER_BYTES_MIN) return "corrupt";
  if (!record.subarray(0, MAGIC.length).equals(MAGIC)) return "corrupt";
  const version = record[Layout.VERSION_AT]!;
  if (version < 1 || version > Layout.VERSION) {
    const known = `this zcache reads versions 1 to ${Layout.VERSION}`;
    return { refusal: `a record of version ${version} in the cluster, and ${known}` };
  }
  const found = version === 1 ? firstHeader(record, key) : headerOf(record, key);
  return found === undefined ? "corrupt" : contentOf(record, found, plainBytesMax);
}

/** @returns undefined for a record that is damaged or has another key */
function headerOf(record: Buffer, key: Uint8Array): Header | undefined {
  const check = record.readUInt32LE(Layout.CHECK_AT);
  if (checksum(key, record.subarray(Layout.NUMBERS_AT)) !== check) return undefined;
  let at = Layout.NUMBERS_AT;
  /** The next number; not a number if it is cut off, or has more than 32 bits. */
  const next = () => {
    let number = 0;
    for (let nth = 0; nth < Layout.NUMBER_BYTES_MAX && at < record.length; nth++) {
      const byte = record[at++]!;
      number += (byte & 0x7f) * 2 ** (7 * nth);
      if (byte < 0x80) return number < 2 ** 32 ? number : Number.NaN;
    }
    return Number.NaN;
  };
  const epoch = next();
  const dictionary = next();
  const plainBytes = next();
  const prefixBytes = next();
  const which = next();
  // The sum of all is a number only if each of them is one.
  if (Number.isNaN(epoch + dictionary + plainBytes + prefixBytes + which)) return undefined;
  // Version 2 knows names only; a length beyond the longest name is refused below.
  const codec = record[Layout.VERSION_AT] === 2 ? undefined : CODECS[which - FIRST_CODEC];
  const codecBytes = codec === undefined ? which : 0;
  return { epoch, dictionary, plainBytes, prefixBytes, codec, codecBytes, at, keyBytes: 0 };
}

/** The same of a record of version 1, in which the key stands. */
function firstHeader(record: Buffer, key: Uint8Array): Header | undefined {
  if (record.length < FIRST.HEADER_BYTES) return undefined;
  if (record.readUInt32LE(FIRST.BYTES_AT) !== record.length) return undefined;
  const check = record.readUInt32LE(Layout.CHECK_AT);
  if (checksum(record.subarray(FIRST.BYTES_AT)) !== check) return undefined;
  const codecBytes = record[FIRST.CODEC_AT]!;
  const keyBytes = record.readUInt16LE(FIRST.KEY_AT);
  const keyAt = FIRST.HEADER_BYTES + codecBytes;
  if (!record.subarray(keyAt, keyAt + keyBytes).equals(key)) return undefined;
  return {
    epoch: record.readUInt32LE(FIRST.EPOCH_AT),
    dictionary: record.readUInt32LE(FIRST.DICTIONARY_AT),
    plainBytes: record.readUInt32LE(FIRST.PLAIN_AT),
    prefixBytes: record.readUInt32LE(FIRST.PREFIX_AT),
    ...{ codec: undefined, codecBytes, at: FIRST.HEADER_BYTES, keyBytes },
  };
}

/** The content of a record whose check is right; nothing says that a zcache has written it. */
function contentOf(record: Buffer, found: Header, plainBytesMax: number): RecordContent {
  const { dictionary, plainBytes, prefixBytes, codecBytes, at, keyBytes } = found;
  const dataAt = at + codecBytes + keyBytes;
  if (codecBytes > CODEC_BYTES_MAX || dataAt + prefixBytes > record.length) return "corrupt";
  const codec = found.codec ?? record.toString("latin1", at, at + codecBytes);
  if (!CODEC.test(codec)) return "corrupt";
  if (plainBytes > plainBytesMax) {
    const most = `at most ${plainBytesMax} bytes are taken`;
    return { refusal: `a record in the cluster has ${plainBytes} bytes uncompressed: ${most}` };
  }
  return { prefixBytes, codec, dictionary, plainBytes, data: record.subarray(dataAt) };
}
