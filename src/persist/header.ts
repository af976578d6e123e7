// The header of a log or snapshot (docs/formats.md): writes, reads and repairs it.
//
// A header says whose values a file holds and how they are stored; without it the rest of the file
// is of no use. The header is short and its checksum has 32 bits, so a single flipped bit can be
// found by trying each one.
import { createHash } from "node:crypto";
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { bitsOff, isZero, isZeroFile, NEAR_BITS } from "../node/signature.ts";

/** Name of the format; one character follows, the version. */
const NAME = "zcache restart ";
const MAGIC_BYTES = 16;
/** Version that is written. */
export const FORMAT_VERSION = "2";
const VERSIONS_READ: readonly string[] = ["1", "2"];
/** Names the versions that this zcache reads. */
export const FORMAT_VERSIONS_READ = `versions ${VERSIONS_READ.join(" and ")}`;
export const HEADER_BYTES = 96;
// Byte offsets of the fields; numbers have 32 bits, little-endian.
const KIND = 16;
const GENERATION = 20;
const SEED = 24;
const PAGE_SIZE = 28;
const KEY_SEED = 32;
const MADE = 40;
const CODEC = 48;
const DENSE = 64;
const NAME_BYTES = 16;
const FRONT = 80;
const FRONT_BYTES = 12;
const CHECK = 92;

const KINDS = ["", "log", "snapshot"] as const;

/** What a store must have in common with its files, which hold values in their stored form. */
export interface FileIdentity {
  /** Name of the codec for new values. */
  readonly codec: string;
  /** Name of the codec for idle values, "" = none. */
  readonly dense: string;
  /** Bytes. */
  readonly pageSize: number;
  /** Format of the meta bytes: "items" for memcached's, "" for the cache's. */
  readonly front: string;
}

export interface FileHeader {
  readonly kind: "log" | "snapshot";
  /** The number in the file's name. */
  readonly generation: number;
  /** Seed of the checksums of records. */
  readonly seed: number;
  /** Seeds of the key hash: the same in all files of a cache. */
  readonly keySeeds: readonly [number, number];
  readonly identity: FileIdentity;
}

/**
 * What a file turns out to be. "whole": its header is readable; "version": of a version that this
 * zcache does not read; "damaged": a file of this library whose header is lost; "foreign": any
 * other file, which is never changed or removed.
 */
export type Inspection =
  | { readonly state: "whole"; readonly header: FileHeader; readonly sizeBytes: number }
  | { readonly state: "version"; readonly version: string }
  | { readonly state: "damaged"; readonly why: string; readonly sizeBytes: number }
  | { readonly state: "foreign"; readonly why: string; readonly cause?: Error };

/** Codes of errors that say nothing about the file. */
const SHORTAGES: readonly unknown[] = ["EMFILE", "ENFILE", "ENOMEM"];

/** Whether an error of the system means that this process has no descriptor or memory left. */
export function isShortage(error: unknown): boolean {
  return SHORTAGES.includes((error as NodeJS.ErrnoException).code);
}

/**
 * Reads the header of a file that may be of any kind and content.
 * @throws the system's error if the process has no descriptor or memory left
 */
export function inspect(path: string): Inspection {
  let fd: number | undefined;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return { state: "foreign", why: "it is not a regular file" };
    // Without O_NONBLOCK this would block if a FIFO has replaced the file since.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(HEADER_BYTES);
    const got = readSync(fd, bytes, 0, bytes.length, 0);
    return inspectBytes(bytes.subarray(0, got), stat.size, fd);
  } catch (error) {
    if (isShortage(error)) throw error;
    const cause = error as NodeJS.ErrnoException;
    const why = `it can't be read (${cause.message})`;
    return { state: "foreign", why, ...(cause.code === "ENOENT" ? {} : { cause }) };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function inspectBytes(bytes: Buffer, sizeBytes: number, fd: number): Inspection {
  if (sizeBytes < HEADER_BYTES) {
    const name = bytes.toString("latin1", 0, NAME.length);
    if (NAME.startsWith(name) || isZero(bytes)) {
      return { state: "damaged", why: "it ends within its header", sizeBytes };
    }
    return { state: "foreign", why: "it is not a file of zcache" };
  }
  const header = readable(bytes) ?? readable(repaired(bytes));
  if (header !== undefined) return { state: "whole", header, sizeBytes };
  const version = bytes.toString("latin1", NAME.length, MAGIC_BYTES);
  const bits = bitsOff(bytes, NAME);
  if (bits === 0 && !VERSIONS_READ.includes(version)) return { state: "version", version };
  if (bits <= NEAR_BITS) return { state: "damaged", why: "its header is damaged", sizeBytes };
  if (isZero(bytes) && isZeroFile(fd, sizeBytes)) {
    return { state: "damaged", why: "it consists of zeros", sizeBytes };
  }
  return { state: "foreign", why: "it is not a file of zcache" };
}

/** The header, if it is intact and of a version that this zcache reads. */
function readable(bytes: Buffer | undefined): FileHeader | undefined {
  if (bytes === undefined || bytes.readUInt32LE(CHECK) !== checkOf(bytes)) return undefined;
  const version = bytes.toString("latin1", NAME.length, MAGIC_BYTES);
  const kind = KINDS[bytes.readUInt32LE(KIND)];
  if (bitsOff(bytes, NAME) > 0 || !VERSIONS_READ.includes(version)) return undefined;
  if (kind === undefined || kind === "") return undefined;
  return {
    kind,
    generation: bytes.readUInt32LE(GENERATION),
    seed: bytes.readInt32LE(SEED),
    keySeeds: [bytes.readInt32LE(KEY_SEED), bytes.readInt32LE(KEY_SEED + 4)],
    identity: identityIn(bytes),
  };
}

/** The header with one bit flipped so that the checksum is right, if there is such a bit. */
function repaired(bytes: Buffer): Buffer | undefined {
  if (bitsOff(bytes, NAME) > 1 || bytes.readUInt32LE(CHECK) === checkOf(bytes)) return undefined;
  const copy = Buffer.from(bytes);
  for (let bit = 0; bit < HEADER_BYTES * 8; bit++) {
    copy[bit >>> 3]! ^= 1 << (bit & 7);
    if (copy.readUInt32LE(CHECK) === checkOf(copy)) return copy;
    copy[bit >>> 3]! ^= 1 << (bit & 7);
  }
  return undefined;
}

function identityIn(header: Buffer): FileIdentity {
  const name = (at: number, bytes = NAME_BYTES) =>
    header.toString("latin1", at, at + bytes).replace(/\0+$/, "");
  const pageSize = header.readUInt32LE(PAGE_SIZE);
  return { codec: name(CODEC), dense: name(DENSE), pageSize, front: name(FRONT, FRONT_BYTES) };
}

export function makeHeader({ kind, generation, seed, keySeeds, identity }: FileHeader): Buffer {
  const { codec, dense, pageSize, front } = identity;
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(NAME + FORMAT_VERSION, 0, "latin1");
  header.writeUInt32LE(KINDS.indexOf(kind), KIND);
  header.writeUInt32LE(generation, GENERATION);
  header.writeInt32LE(seed, SEED);
  header.writeUInt32LE(pageSize, PAGE_SIZE);
  header.writeInt32LE(keySeeds[0], KEY_SEED);
  header.writeInt32LE(keySeeds[1], KEY_SEED + 4);
  header.writeBigUInt64LE(BigInt(Date.now()), MADE);
  header.write(codec.slice(0, NAME_BYTES), CODEC, "latin1");
  header.write(dense.slice(0, NAME_BYTES), DENSE, "latin1");
  header.write(front.slice(0, FRONT_BYTES), FRONT, "latin1");
  header.writeUInt32LE(checkOf(header), CHECK);
  return header;
}

/** Not XXH32 as for records: that needs the arena, which does not exist yet. */
function checkOf(header: Buffer): number {
  return createHash("sha256").update(header.subarray(0, CHECK)).digest().readUInt32LE(0);
}
