// The transmission phase of NBD: requests, and the heads of replies, read and written in place in
// the caller's buffers. This is done for every request and allocates nothing.
import {
  CHUNK_HEADER_BYTES,
  Chunk,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_MAGIC,
} from "./protocol.ts";

const WORD = 2 ** 32;

/** A request; one record is reused for all requests of a connection. */
export class Request {
  flags = 0;
  command = 0;
  /** The client's cookie, in two halves, which the reply repeats. */
  cookieHigh = 0;
  cookieLow = 0;
  /** Bytes. An offset above 2⁵³ is not exact, but beyond the end of every device. */
  offset = 0;
  lengthBytes = 0;

  /**
   * Reads a request: REQUEST_BYTES from `at` on.
   * @returns false for another magic number: then no byte that follows can be interpreted
   */
  parse(bytes: Uint8Array, at: number): boolean {
    if (word(bytes, at) !== REQUEST_MAGIC) return false;
    this.flags = (bytes[at + 4]! << 8) | bytes[at + 5]!;
    this.command = (bytes[at + 6]! << 8) | bytes[at + 7]!;
    this.cookieHigh = word(bytes, at + 8);
    this.cookieLow = word(bytes, at + 12);
    this.offset = word(bytes, at + 16) * WORD + word(bytes, at + 20);
    this.lengthBytes = word(bytes, at + 24);
    return true;
  }
}

/** Writes a request, as a client does. @returns bytes written */
export function writeRequest(bytes: Uint8Array, at: number, request: Request): number {
  setWord(bytes, at, REQUEST_MAGIC);
  setHalf(bytes, at + 4, request.flags);
  setHalf(bytes, at + 6, request.command);
  setWord(bytes, at + 8, request.cookieHigh);
  setWord(bytes, at + 12, request.cookieLow);
  setOffset(bytes, at + 16, request.offset);
  setWord(bytes, at + 24, request.lengthBytes);
  return REQUEST_BYTES;
}

/** Writes a simple reply, without data. @returns bytes written */
export function writeSimpleReply(
  bytes: Uint8Array,
  at: number,
  request: Request,
  error: number,
): number {
  setWord(bytes, at, SIMPLE_REPLY_MAGIC);
  setWord(bytes, at + 4, error);
  setWord(bytes, at + 8, request.cookieHigh);
  setWord(bytes, at + 12, request.cookieLow);
  return SIMPLE_REPLY_BYTES;
}

/**
 * Writes the head of a chunk of a structured reply.
 * @param type of the chunk, with Chunk.DONE for the last one
 * @returns bytes written
 */
export function writeChunkHeader(
  bytes: Uint8Array,
  at: number,
  request: Request,
  type: number,
  lengthBytes: number,
): number {
  setWord(bytes, at, STRUCTURED_REPLY_MAGIC);
  setWord(bytes, at + 4, type);
  setWord(bytes, at + 8, request.cookieHigh);
  setWord(bytes, at + 12, request.cookieLow);
  setWord(bytes, at + 16, lengthBytes);
  return CHUNK_HEADER_BYTES;
}

/** Bytes of a structured error without a message. */
export const ERROR_CHUNK_BYTES = CHUNK_HEADER_BYTES + 6;

/** Writes a whole structured error, the last chunk of its reply. @returns bytes written */
export function writeErrorChunk(
  bytes: Uint8Array,
  at: number,
  request: Request,
  error: number,
): number {
  const body = at + writeChunkHeader(bytes, at, request, Chunk.ERROR | Chunk.DONE, 6);
  setWord(bytes, body, error);
  setHalf(bytes, body + 4, 0);
  return ERROR_CHUNK_BYTES;
}

/** Writes an offset on a device. @returns 8 */
export function setOffset(bytes: Uint8Array, at: number, offset: number): number {
  setWord(bytes, at, Math.floor(offset / WORD));
  setWord(bytes, at + 4, offset % WORD);
  return 8;
}

/** Writes a 32-bit number. @returns 4 */
export function setWord(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
  return 4;
}

function setHalf(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function word(bytes: Uint8Array, at: number): number {
  const low = (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return bytes[at]! * 0x1000000 + low;
}
