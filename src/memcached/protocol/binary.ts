// The binary protocol: the header of requests and replies, operations and statuses by number.
import { U64 } from "../../base/u64.ts";
import type { Reply } from "./reply.ts";
import { ascii } from "./text.ts";

/** The header of a request and of a reply: 24 bytes, big-endian.
 *   0       1        2           4        5      6                8        12       16    23
 *  ┌───────┬────────┬───────────┬────────┬──────┬────────────────┬────────┬────────┬───────┐
 *  │ magic │ opcode │ key bytes │ extras │ type │ bucket, status │ body   │ opaque │ cas   │
 *  └───────┴────────┴───────────┴────────┴──────┴────────────────┴────────┴────────┴───────┘
 * Extras, key and value follow; `body` is the length of the three together. */
export const HEADER_BYTES = 24;
export const REQUEST = 0x80;
const RESPONSE = 0x81;
const MAGIC = 0; //        u8
const OPCODE = 1; //       u8
const KEY_BYTES = 2; //    u16
const EXTRAS_BYTES = 4; // u8
const STATUS = 6; //       u16  of a reply
const BODY_BYTES = 8; //   u32
const OPAQUE = 12; //      u32  given back as it came
const CAS = 16; //         u64

export const GET = 0x00;
export const SET = 0x01;
export const ADD = 0x02;
export const REPLACE = 0x03;
export const DELETE = 0x04;
export const INCREMENT = 0x05;
export const DECREMENT = 0x06;
export const QUIT = 0x07;
export const FLUSH = 0x08;
export const NOOP = 0x0a;
export const VERSION = 0x0b;
export const GETK = 0x0c;
export const APPEND = 0x0e;
export const PREPEND = 0x0f;
export const STAT = 0x10;
export const VERBOSITY = 0x1b;
export const TOUCH = 0x1c;
export const GAT = 0x1d;
export const SASL_LIST = 0x20;
export const SASL_AUTH = 0x21;
export const SASL_STEP = 0x22;
export const GATK = 0x23;

/** What each quiet operation is the quiet form of. */
const QUIET: Readonly<Record<number, number>> = {
  9: GET,
  13: GETK,
  17: SET,
  18: ADD,
  19: REPLACE,
  20: DELETE,
  21: INCREMENT,
  22: DECREMENT,
  23: QUIT,
  24: FLUSH,
  25: APPEND,
  26: PREPEND,
  30: GAT,
  36: GATK,
};

const OPCODES = 256;
/** For each opcode, the operation; and whether it is the quiet one. */
const OPERATION = Uint8Array.from({ length: OPCODES }, (_, code) => QUIET[code] ?? code);
const IS_QUIET = Uint8Array.from({ length: OPCODES }, (_, code) => (code in QUIET ? 1 : 0));

export const OK = 0x00;
export const KEY_NOT_FOUND = 0x01;
export const KEY_EXISTS = 0x02;
export const VALUE_TOO_LARGE = 0x03;
export const INVALID = 0x04;
export const NOT_STORED = 0x05;
export const NOT_NUMBER = 0x06;
export const AUTH_ERROR = 0x20;
export const UNKNOWN_COMMAND = 0x81;
export const OUT_OF_MEMORY = 0x82;
/** "Temporary failure" of the protocol's specification. */
export const NO_ANSWER = 0x86;

/** What is said of each status, in memcached's words. */
export const STATUS_TEXT: ReadonlyMap<number, Uint8Array> = new Map([
  [KEY_NOT_FOUND, ascii("Not found")],
  [KEY_EXISTS, ascii("Data exists for key.")],
  [VALUE_TOO_LARGE, ascii("Too large.")],
  [INVALID, ascii("Invalid arguments")],
  [NOT_STORED, ascii("Not stored.")],
  [NOT_NUMBER, ascii("Non-numeric server-side value for incr or decr")],
  [AUTH_ERROR, ascii("Auth failure.")],
  [UNKNOWN_COMMAND, ascii("Unknown command")],
  [OUT_OF_MEMORY, ascii("Out of memory")],
  [NO_ANSWER, ascii("Other machines have not answered")],
]);

export function readU32(bytes: Uint8Array, at: number): number {
  return (
    bytes[at]! * 0x100_0000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!)
  );
}

export function writeBigEndian(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** The header of a request, read into numbers; and of its replies. */
export class BinaryHeader {
  magic = 0;
  opcode = 0;
  /** The operation, whether it is asked for by its quiet opcode or not. */
  operation = 0;
  quiet = false;
  keyBytes = 0;
  extrasBytes = 0;
  /** Of extras, key and value together. */
  bodyBytes = 0;
  opaque = 0;
  readonly cas = new U64();

  /** @param at where HEADER_BYTES bytes stand */
  read(bytes: Uint8Array, at: number): void {
    this.magic = bytes[at + MAGIC]!;
    this.opcode = bytes[at + OPCODE]!;
    this.operation = OPERATION[this.opcode]!;
    this.quiet = IS_QUIET[this.opcode] === 1;
    this.keyBytes = (bytes[at + KEY_BYTES]! << 8) | bytes[at + KEY_BYTES + 1]!;
    this.extrasBytes = bytes[at + EXTRAS_BYTES]!;
    this.bodyBytes = readU32(bytes, at + BODY_BYTES);
    this.opaque = readU32(bytes, at + OPAQUE);
    this.cas.set(readU32(bytes, at + CAS), readU32(bytes, at + CAS + 4));
  }

  get valueBytes(): number {
    return this.bodyBytes - this.keyBytes - this.extrasBytes;
  }

  /** Writes the header of a reply with cas number 0; extras, key and value follow it. */
  writeReply(reply: Reply, status: number, key: number, extras: number, body: number): void {
    const { bytes, at } = reply;
    bytes[at + MAGIC] = RESPONSE;
    bytes[at + OPCODE] = this.opcode;
    bytes[at + KEY_BYTES] = key >>> 8;
    bytes[at + KEY_BYTES + 1] = key;
    bytes[at + EXTRAS_BYTES] = extras;
    bytes[at + EXTRAS_BYTES + 1] = 0;
    bytes[at + STATUS] = status >>> 8;
    bytes[at + STATUS + 1] = status;
    writeBigEndian(bytes, at + BODY_BYTES, body);
    writeBigEndian(bytes, at + OPAQUE, this.opaque);
    writeBigEndian(bytes, at + CAS, 0);
    writeBigEndian(bytes, at + CAS + 4, 0);
    reply.at = at + HEADER_BYTES;
  }

  /** Puts a cas number into the header that `writeReply` has just written. */
  writeReplyCas({ bytes, at }: Reply, high: number, low: number): void {
    writeBigEndian(bytes, at - HEADER_BYTES + CAS, high);
    writeBigEndian(bytes, at - HEADER_BYTES + CAS + 4, low);
  }
}
