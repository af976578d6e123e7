// Text in and out of a memory by what Node has for it: native, without a copy in between.
import { Buffer } from "node:buffer";

/** What of it is used here; Node's types leave the native methods out. */
interface NativeText {
  utf8Write(text: string, at: number, limitBytes: number): number;
  utf8Slice(start: number, end: number): string;
  latin1Slice(start: number, end: number): string;
}

/** UTF-8 takes so many bytes for a character of a string at most. */
const BYTES_PER_CHARACTER = 3;

/** Fulfils `Text` (front/cache/contract.ts) for a memory that may be shared. */
export function textIn(bytes: Uint8Array): {
  write(text: string, at: number, limitBytes: number): number;
  read(at: number, count: number, isAscii: boolean): string;
} {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length) as Buffer & NativeText;
  return {
    write(text, at, limitBytes) {
      if (text.length > limitBytes) return -1;
      const mayNotFit = text.length * BYTES_PER_CHARACTER > limitBytes;
      if (mayNotFit && Buffer.byteLength(text) > limitBytes) return -1;
      return buffer.utf8Write(text, at, limitBytes);
    },
    read(at, count, isAscii) {
      return isAscii ? buffer.latin1Slice(at, at + count) : buffer.utf8Slice(at, at + count);
    },
  };
}
