// Gets items by the kernels while another thread changes them, and compares each with the values
// that its key may have.
import assert from "node:assert/strict";
import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { Xorshift32 } from "../../src/base/random.ts";
import { ItemAccess } from "../../src/memcached/items/access.ts";
import { attachItems } from "../../src/memcached/items/open.ts";

export interface PlainGetsInput {
  readonly share: unknown;
  readonly rounds: number;
}

export const KEYS = 6;
/** Values that there may be under each key. */
export const SERIALS = 16;
/** Some second. */
export const NOW_S = 1_790_000_000;
const AT_ONCE = 16;
const BUFFER_BYTES = 65_536;
const VALUE_BYTES_MAX = 7000;

export function keyOf(nth: number): Buffer {
  return Buffer.from(`key${nth}`);
}

const made = new Map<number, Buffer>();

/** One third of them compresses hardly. */
export function valueUnder(nth: number, serial: number): Buffer {
  const id = nth * SERIALS + serial;
  const known = made.get(id);
  if (known !== undefined) return known;
  const random = new Xorshift32(id + 1);
  const bytes = 20 + random.below(VALUE_BYTES_MAX);
  const value = Buffer.alloc(bytes, `${serial} and again `);
  if (serial % 3 === 0) for (let at = 0; at < bytes; at++) value[at] = random.below(256);
  value[0] = serial;
  made.set(id, value);
  return value;
}

/** Checks one answer. @returns the place behind it */
function check(bytes: Uint8Array, at: number, nth: number): number {
  const answers = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const lineEnd = answers.indexOf("\r\n", at);
  const line = answers.toString("latin1", at, lineEnd);
  const count = Number(/^VA (\d+)$/.exec(line)?.[1]);
  const begin = lineEnd + 2;
  const end = begin + count;
  const expected = valueUnder(nth, answers[begin]! % SERIALS);
  const isGood = expected.equals(answers.subarray(begin, end));
  assert.ok(isGood, `key${nth} gave what was never set: ${line}`);
  return end + 2;
}

function work({ share, rounds }: PlainGetsInput): number {
  const items = new ItemAccess(attachItems(share));
  items.now = NOW_S;
  const bytes = items.makeBuffer(BUFFER_BYTES);
  assert.ok(bytes !== undefined, "there is room for answers");
  const target = { bytes, at: 0 };
  const random = new Xorshift32(9);
  let hits = 0;
  for (let round = 0; round < rounds; round++) {
    const asked = Array.from({ length: AT_ONCE }, () => random.below(KEYS));
    const lines = asked.map((nth) => `mg ${keyOf(nth)} v\r\n`);
    const sent = Buffer.from(lines.join(""));
    target.at = 0;
    items.answerLines(sent, 0, sent.length, target, 0);
    let at = 0;
    // The reply ends at the first item that is being written or was evicted.
    for (let nth = 0; nth < items.hits; nth++) at = check(bytes, at, asked[nth]!);
    assert.equal(at, target.at, "nothing else is answered");
    hits += items.hits;
  }
  return hits;
}

if (!isMainThread && parentPort !== null) {
  parentPort.postMessage(work(workerData as PlainGetsInput));
}
