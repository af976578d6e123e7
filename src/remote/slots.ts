// Hash slots of a cluster: CRC16 (XMODEM) of a key, or of the part of it in braces, modulo 16384.
import { Buffer } from "node:buffer";

export const SLOTS = 16384;

const OPEN = 0x7b;
const CLOSE = 0x7d;
const POLYNOMIAL = 0x1021;
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  return crc & 0xffff;
});

/** The slot of a key. */
export function slotOf(key: Uint8Array): number {
  let from = 0;
  let to = key.length;
  const open = key.indexOf(OPEN);
  if (open >= 0) {
    const close = key.indexOf(CLOSE, open + 1);
    // Empty braces mean nothing.
    if (close > open + 1) [from, to] = [open + 1, close];
  }
  let crc = 0;
  for (let at = from; at < to; at++) {
    crc = ((crc << 8) & 0xffff) ^ TABLE[((crc >> 8) ^ key[at]!) & 0xff]!;
  }
  return crc % SLOTS;
}

const tags = new Map<number, string>();

/** A text that belongs to a slot, to be put in braces; takes about 2 ms for a new slot. */
export function tagOfSlot(slot: number): string {
  let tag = tags.get(slot);
  for (let nth = 0; tag === undefined; nth++) {
    const text = nth.toString(36);
    if (slotOf(Buffer.from(text, "latin1")) === slot) tag = text;
  }
  tags.set(slot, tag);
  return tag;
}
