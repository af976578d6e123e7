// The values of the benchmark and the order of requests: derived from seeds, so that they are the
// same for all contenders.
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { Xorshift32 } from "../../src/base/random.ts";
import { Zipf } from "../../src/lab/simulate/generate.ts";
import { documentAt } from "../documents.ts";
import { readFilePages } from "../store/data.ts";
import type { Value } from "./contender.ts";

const PAGE_BYTES = 4096;
const EXPONENT = 0.99;

/** Values by number; a number always gives the same value. */
export interface Values {
  readonly kind: "text" | "bytes";
  readonly count: number;
  readonly keys: readonly string[];
  at(nth: number): Value;
}

/** @param pageFile of `writePages`, for bytes: pages are read on demand, and not kept in memory */
export function openValues(
  kind: "text" | "bytes",
  count: number,
  pageFile: string | undefined,
): Values {
  const keys = Array.from({ length: count }, (_, nth) => `item:${nth}`);
  if (kind === "text" || pageFile === undefined) {
    return { kind: "text", count, keys, at: (nth) => flat(documentAt(nth)) };
  }
  const fd = openSync(pageFile, "r");
  const at = (nth: number): Uint8Array => {
    const page = new Uint8Array(PAGE_BYTES);
    readSync(fd, page, 0, PAGE_BYTES, nth * PAGE_BYTES);
    return page;
  };
  return { kind, count, keys, at };
}

/**
 * The same text as one flat string, as from a socket or JSON.stringify: the engine keeps a
 * concatenated string as a tree of its parts, which takes six times the memory on the heap.
 */
function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

/** Writes pages of this machine's files one after the other. @returns how many there were */
export function writePages(path: string, count: number): number {
  const pages = readFilePages(count, PAGE_BYTES, 0, 1);
  const fd = openSync(path, "w");
  for (const page of pages) writeSync(fd, page);
  closeSync(fd);
  return pages.length;
}

/** Numbers of values, drawn from a Zipf distribution; popular numbers are scattered. */
export function drawOrder(count: number, requests: number, seed: number): Uint32Array {
  const zipf = new Zipf(count, EXPONENT, new Xorshift32(seed));
  let step = Math.floor(count * 0.618) | 1;
  while (gcd(step, count) !== 1) step += 2;
  return Uint32Array.from({ length: requests }, () => (zipf.draw() * step) % count);
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
