// The handshake of NBD, fixed newstyle: the server's greeting, the client's options, and the
// replies to them. Pure functions from bytes to messages and back.
import {
  ALLOCATION_CONTEXT,
  FIXED_NEWSTYLE,
  INIT_MAGIC,
  Info,
  NAME_BYTES_MAX,
  NO_ZEROES,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
} from "./protocol.ts";

export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;
export const OPTION_HEADER_BYTES = 16;
/** Zeros behind the reply to EXPORT_NAME, unless the client has set NO_ZEROES. */
const ZEROES_BYTES = 124;

const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/** The server's greeting. */
export function greeting(): Uint8Array {
  const bytes = new Uint8Array(GREETING_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, INIT_MAGIC[0]);
  view.setUint32(4, INIT_MAGIC[1]);
  view.setUint32(8, OPTION_MAGIC[0]);
  view.setUint32(12, OPTION_MAGIC[1]);
  view.setUint16(16, FIXED_NEWSTYLE | NO_ZEROES);
  return bytes;
}

/** The client's flags; null if it sets a flag that the server has not offered. */
export function parseClientFlags(bytes: Uint8Array): { noZeroes: boolean } | null {
  const flags = viewOf(bytes).getUint32(0);
  if ((flags & ~(FIXED_NEWSTYLE | NO_ZEROES)) !== 0 || (flags & FIXED_NEWSTYLE) === 0) return null;
  return { noZeroes: (flags & NO_ZEROES) !== 0 };
}

export interface OptionHeader {
  readonly option: number;
  readonly lengthBytes: number;
}

/** The header of an option, of OPTION_HEADER_BYTES; null for another magic number. */
export function parseOptionHeader(bytes: Uint8Array): OptionHeader | null {
  const view = viewOf(bytes);
  if (view.getUint32(0) !== OPTION_MAGIC[0] || view.getUint32(4) !== OPTION_MAGIC[1]) return null;
  return { option: view.getUint32(8), lengthBytes: view.getUint32(12) };
}

/** A reply to an option. */
export function optionReply(option: number, type: number, data?: Uint8Array | string): Uint8Array {
  const payload = typeof data === "string" ? encoder.encode(data) : (data ?? new Uint8Array(0));
  const bytes = new Uint8Array(20 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, OPTION_REPLY_MAGIC[0]);
  view.setUint32(4, OPTION_REPLY_MAGIC[1]);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, payload.length);
  bytes.set(payload, 20);
  return bytes;
}

/** The reply to EXPORT_NAME; the transmission phase begins after it. */
export function exportNameReply(sizeBytes: number, flags: number, noZeroes: boolean): Uint8Array {
  const bytes = new Uint8Array(10 + (noZeroes ? 0 : ZEROES_BYTES));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sizeBytes));
  view.setUint16(8, flags);
  return bytes;
}

/** Data of a SERVER reply, to LIST. */
export function serverData(name: string): Uint8Array {
  const text = encoder.encode(name);
  const bytes = new Uint8Array(4 + text.length);
  new DataView(bytes.buffer).setUint32(0, text.length);
  bytes.set(text, 4);
  return bytes;
}

/** Data of an INFO reply of type EXPORT. */
export function exportInfo(sizeBytes: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Info.EXPORT);
  view.setBigUint64(2, BigInt(sizeBytes));
  view.setUint16(10, flags);
  return bytes;
}

/** Data of an INFO reply of type NAME or DESCRIPTION. */
export function textInfo(type: number, value: string): Uint8Array {
  const text = encoder.encode(value);
  const bytes = new Uint8Array(2 + text.length);
  new DataView(bytes.buffer).setUint16(0, type);
  bytes.set(text, 2);
  return bytes;
}

/** Data of an INFO reply of type BLOCK_SIZE. */
export function blockSizeInfo(min: number, preferred: number, max: number): Uint8Array {
  const bytes = new Uint8Array(14);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Info.BLOCK_SIZE);
  view.setUint32(2, min);
  view.setUint32(6, preferred);
  view.setUint32(10, max);
  return bytes;
}

/** Data of a META_CONTEXT reply. */
export function metaContextData(id: number, name: string): Uint8Array {
  const text = encoder.encode(name);
  const bytes = new Uint8Array(4 + text.length);
  new DataView(bytes.buffer).setUint32(0, id);
  bytes.set(text, 4);
  return bytes;
}

/** A name from an option's data; null if it is too long or not UTF-8. */
export function parseName(data: Uint8Array): string | null {
  if (data.length > NAME_BYTES_MAX) return null;
  try {
    return decoder.decode(data);
  } catch {
    return null;
  }
}

export interface InfoRequest {
  readonly name: string;
  /** Types of INFO that the client requests. */
  readonly types: readonly number[];
}

/** Data of INFO and GO: a name and types of INFO. */
export function parseInfoRequest(data: Uint8Array): InfoRequest | null {
  const named = takeString(data, 0);
  if (named === null || data.length < named.end + 2) return null;
  const view = viewOf(data);
  const count = view.getUint16(named.end);
  if (data.length !== named.end + 2 + count * 2) return null;
  const types = Array.from({ length: count }, (_, i) => view.getUint16(named.end + 2 + i * 2));
  return { name: named.text, types };
}

export interface MetaRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: a name, and queries. */
export function parseMetaRequest(data: Uint8Array): MetaRequest | null {
  const named = takeString(data, 0);
  if (named === null || data.length < named.end + 4) return null;
  const count = viewOf(data).getUint32(named.end);
  const queries: string[] = [];
  let at = named.end + 4;
  // A query has four bytes or more: a larger count is invalid.
  if (count > (data.length - at) / 4) return null;
  for (let nth = 0; nth < count; nth++) {
    const query = takeString(data, at);
    if (query === null) return null;
    queries.push(query.text);
    at = query.end;
  }
  return at === data.length ? { name: named.text, queries } : null;
}

/** Whether a query selects "base:allocation"; in LIST, a namespace selects all of its contexts. */
export function asksForAllocation(query: string, isList: boolean): boolean {
  return query === ALLOCATION_CONTEXT || (isList && query === "base:");
}

function takeString(data: Uint8Array, at: number): { text: string; end: number } | null {
  if (data.length < at + 4) return null;
  const length = viewOf(data).getUint32(at);
  const end = at + 4 + length;
  if (length > NAME_BYTES_MAX || end > data.length) return null;
  const text = parseName(data.subarray(at + 4, end));
  return text === null ? null : { text, end };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
