// Copies between two memories: the module that is written byte by byte, where the engine takes it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { copierBetween } from "../../src/wasm/copier.ts";
import { Wasm } from "../../src/wasm/platform.ts";

/** Of V8: instances with several memories. */
const FIRST_VERSION = 12;

test("a copier copies between two memories, where the engine has instances with two", () => {
  const [to, from] = [64, 3].map(
    (pages) => new Wasm.Memory({ initial: pages, maximum: pages, shared: true }),
  );
  const copy = copierBetween(to!, from!) as ((...numbers: number[]) => void) | undefined;
  const version = Number.parseInt(process.versions.v8, 10);
  assert.equal(copy !== undefined, version >= FIRST_VERSION, `V8 ${version}`);
  if (copy === undefined) return;
  const [target, source] = [to!, from!].map(({ buffer }) => new Uint8Array(buffer));
  for (let at = 0; at < source!.length; at++) source![at] = at * 7 + 1;
  const before = target!.slice();
  copy(3_000_001, 100_003, 50_000);
  before.set(source!.subarray(100_003, 150_003), 3_000_001);
  assert.ok(Buffer.compare(before, target!) === 0, "these bytes, and no others");
  const same = copierBetween(to!, to!) as (...numbers: number[]) => void;
  same(10, 3_000_001, 4);
  assert.deepEqual([...target!.subarray(9, 15)], [0, ...source!.subarray(100_003, 100_007), 0]);
  assert.throws(() => copy(0, source!.length - 1, 2), /out of bounds/);
});
