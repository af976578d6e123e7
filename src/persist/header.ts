// The header of a file of a warm restart (docs/formats.md): made, read, and repaired.
//
// A header says whose values a file holds and how they are stored, so without it the rest is of no
// use. The check of the header is 32 bits wide and the header is short: a single flipped bit is
// found by trying all of them.
import { createHash } from "node:crypto";
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { bitsOff, isZero, isZeroFile, NEAR_BITS } from "../node/signature.ts";

/** The name of the format; the version follows as one character. */
const NAME = "zcache restart ";
const MAGIC_BYTES = 16;
/** The version that is written, and those that are read. */
export const RESTART_VERSION = "2";
const VERSIONS_READ: readonly string[] = ["1", "2"];
export const RESTART_HEADER_BYTES = 96;
// Where in the header what stands; numbers are 32 bits, lowest byte first.
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

/** What a store must have in common with the files: values lie in them as they are stored. */
export interface RestartIdentity {
  readonly codec: string;
  /** The denser codec, "" = none. */
  readonly dense: string;
  readonly pageSize: number;
  /** Who knows what the values mean: "items" for memcached's, "" for the cache. */
  readonly front: string;
}

export interface RestartHeader {
  readonly kind: "log" | "snapshot";
  readonly generation: number;
  /** Of the records' checks. */
  readonly seed: number;
  /** Of the keys' hash: the same in all files of a cache. */
  readonly keySeeds: readonly [number, number];
  readonly identity: RestartIdentity;
}

/**
 * What a file is. "damaged" is a file of ours of which nothing can be read; "foreign" is everything
 * that is not known to be ours, and is never changed or removed.
 */
export type Inspection =
  | { readonly state: "whole"; readonly header: RestartHeader; readonly sizeBytes: number }
  | { readonly state: "version"; readonly version: string }
  | { readonly state: "damaged"; readonly why: string; readonly sizeBytes: number }
  | { readonly state: "foreign"; readonly why: string; readonly cause?: Error };

/** Errors of the process and not of the file: no reason to take the file for lost. */
const OF_PROCESS: readonly unknown[] = ["EMFILE", "ENFILE", "ENOMEM"];

/** Whether an error says that this process has run out of something. */
export function isShortage(error: unknown): boolean {
  return OF_PROCESS.includes((error as NodeJS.ErrnoException).code);
}

/**
 * Reads the beginning of a file, of any kind and content.
 * @throws what the system says if the process has no descriptor or memory left
 */
export function inspect(path: string): Inspection {
  let fd: number | undefined;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) return { state: "foreign", why: "it is no regular file" };
    // Without O_NONBLOCK a FIFO that takes the place of the file meanwhile would block.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(RESTART_HEADER_BYTES);
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
  if (sizeBytes < RESTART_HEADER_BYTES) {
    const name = bytes.toString("latin1", 0, NAME.length);
    if (NAME.startsWith(name) || isZero(bytes)) {
      return { state: "damaged", why: "it ends within its header", sizeBytes };
    }
    return { state: "foreign", why: "it is no file of zcache" };
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
  return { state: "foreign", why: "it is no file of zcache" };
}

/** The header, if it is whole and of a version that is read. */
function readable(bytes: Buffer | undefined): RestartHeader | undefined {
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

/** The header with the one bit flipped that makes the check right, if there is such a bit. */
function repaired(bytes: Buffer): Buffer | undefined {
  if (bitsOff(bytes, NAME) > 1 || bytes.readUInt32LE(CHECK) === checkOf(bytes)) return undefined;
  const copy = Buffer.from(bytes);
  for (let bit = 0; bit < RESTART_HEADER_BYTES * 8; bit++) {
    copy[bit >>> 3]! ^= 1 << (bit & 7);
    if (copy.readUInt32LE(CHECK) === checkOf(copy)) return copy;
    copy[bit >>> 3]! ^= 1 << (bit & 7);
  }
  return undefined;
}

function identityIn(header: Buffer): RestartIdentity {
  const name = (at: number, bytes = NAME_BYTES) =>
    header.toString("latin1", at, at + bytes).replace(/\0+$/, "");
  const pageSize = header.readUInt32LE(PAGE_SIZE);
  return { codec: name(CODEC), dense: name(DENSE), pageSize, front: name(FRONT, FRONT_BYTES) };
}

export function makeHeader({ kind, generation, seed, keySeeds, identity }: RestartHeader): Buffer {
  const { codec, dense, pageSize, front } = identity;
  const header = Buffer.alloc(RESTART_HEADER_BYTES);
  header.write(NAME + RESTART_VERSION, 0, "latin1");
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

/** XXH32 is the arena's, and there is none yet when headers are looked at. */
function checkOf(header: Buffer): number {
  return createHash("sha256").update(header.subarray(0, CHECK)).digest().readUInt32LE(0);
}

/** "version 1", or "versions 1 and 2": what this zcache reads. */
export const RESTART_VERSIONS_READ = `versions ${VERSIONS_READ.join(" and ")}`;
