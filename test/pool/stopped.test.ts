// A thread that is terminated at any write of a pool's operation leaves nothing half done: the
// journal undoes its changes, every structure is valid, no object has lost a byte, and the
// operation can be repeated. One form of each kind of pool, because forms share their code.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena } from "../../src/memory/arena.ts";
import { createPool } from "../../src/pool/registry.ts";
import { ModelPool } from "../doubles/model_pool.ts";
import { stopAfter } from "../doubles/stopped.ts";

const TYPES = [
  "zbud",
  "zbud-2012(zcache)",
  "z3fold",
  "zblock",
  "zblock-v6-2022",
  "zsmalloc",
  "zsmalloc-2012",
  "dense",
];

const step = fc.record({
  op: fc.constantFrom("put", "put", "put", "remove", "remove", "compact"),
  size: fc.oneof(
    fc.integer({ min: 1, max: 4096 }),
    fc.integer({ min: 1, max: 200 }),
    fc.constantFrom(2016, 4032, 4096),
  ),
  index: fc.nat(10_000),
  /** Writes until the thread is stopped. */
  writes: fc.oneof(fc.nat(12), fc.nat(80), fc.constant(4000)),
});

for (const type of TYPES) {
  test(`${type}: an operation stopped at any write leaves no trace`, () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const arena = Arena.create({ sizeBytes: 1 << 20 });
        const pool = createPool(type, arena);
        const model = new ModelPool(arena, pool);
        arena.keepJournal();
        for (const { op, size, index, writes } of steps) {
          const handles = [...model.objects.keys()];
          const handle = handles[index % handles.length];
          if (op === "put") {
            const done = stopAfter(arena, writes, () => model.put(size));
            for (const one of done ? [] : model.objects.keys()) {
              if (!handles.includes(one)) model.objects.delete(one);
            }
          } else if (op === "compact") {
            stopAfter(arena, writes, () => pool.compact(1));
            // What the one that was stopped has marked is its successor's to clear.
            stopAfter(arena, 4000, () => pool.recover());
          } else if (handle !== undefined) {
            const done = stopAfter(arena, writes, () => assert.equal(pool.free(handle), 0));
            // What is being freed may have lost its bytes already; it is to be freed again.
            if (!done) pool.verify();
            if (!done) stopAfter(arena, 4000, () => assert.equal(pool.free(handle), 0));
            model.forget(handle);
          }
          model.checkAll();
          arena.frames.verify();
        }
        arena.detach();
      }),
      { numRuns: 40 },
    );
  });
}
