// A prefix that is overwritten in place by a thread that dies in the middle: the object has the old
// bytes or the new ones, never a mix.
import assert from "node:assert/strict";
import { test } from "node:test";
import { nodePlatform } from "../../src/node/platform.ts";
import { ObjectWriter } from "../../src/pool/object_writer.ts";
import { Store } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { SetRequest } from "../../src/values/request.ts";
import { Values } from "../../src/values/values.ts";
import { SimulatedThreads } from "../doubles/simulated_threads.ts";

const META_BYTES = 64;
const KEY = Buffer.from("a key that is written over");

function valuesOf(store: Store): Values {
  return new Values(
    store,
    () => 1000,
    () => 5,
  );
}

/** The meta bytes of the value under KEY, as a store's thread finds them. */
function metaOf(values: Values): string {
  assert.ok(values.find(KEY, KEY.length));
  const { metaAt, metaBytes } = values;
  return Buffer.from(values.bytes.slice(metaAt, metaAt + metaBytes)).toString();
}

for (const pool of ["dense", "zsmalloc", "zblock", "zbud", "z3fold"]) {
  test(`a rewrite that dies half-way is undone: ${pool}`, () => {
    const threads = new SimulatedThreads();
    const platform = { ...nodePlatform(), threads };
    const root = Store.create({ memoryMax: 1 << 20, content: "values", pool }, platform);
    formatValues(root, () => 7);
    const values = valuesOf(root);
    const { copy } = ObjectWriter.prototype;
    for (let bytes = 1; bytes < 2 * META_BYTES; bytes += 9) {
      const old = "o".repeat(META_BYTES);
      const next = "n".repeat(META_BYTES);
      const value = Buffer.from("v".repeat(500));
      const sizes = { keyBytes: KEY.length, metaBytes: META_BYTES, valueBytes: value.length };
      const request = { key: KEY, meta: Buffer.from(old), value, ...sizes };
      values.set(Object.assign(new SetRequest(), request));
      const victim = Store.attach(root.share(), platform);
      const { last } = threads;
      const others = valuesOf(victim);
      others.lock(KEY, KEY.length);
      assert.ok(others.find(KEY, KEY.length));
      // Simulates an object in two frames whose thread is terminated between the two copies: no
      // `finally` releases its locks.
      ObjectWriter.prototype.copy = function (target, source, sizeBytes) {
        copy.call(this, target, source, Math.min(bytes, sizeBytes));
        throw new Error("terminated");
      };
      victim.arena.lock.unlock = () => {};
      assert.throws(() => others.rewriteMeta(Buffer.from(next)), /terminated/);
      ObjectWriter.prototype.copy = copy;
      threads.dead.add(last);
      root.verify();
      const found = metaOf(values);
      assert.ok(found === old || found === next, `${bytes} bytes: ${found}`);
    }
    root.close();
  });
}
