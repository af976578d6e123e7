// Any sequence of operations on any pool, against a Map: after each step all reads agree,
// `verify()` holds, and dead handles stay dead. fast-check prints the seed and the shrunk sequence
// of a failure.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Address } from "../../src/base/brand.ts";
import { EAGAIN, EBUSY, EINVAL, ENOMEM } from "../../src/base/errno.ts";
import { Arena } from "../../src/memory/arena.ts";
import { MAP_RO, MAP_RW } from "../../src/pool/contract.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";
import { ModelPool } from "../doubles/model_pool.ts";

type Step =
  | { op: "put"; size: number }
  | { op: "fill"; size: number; count: number }
  | { op: "remove"; index: number }
  | { op: "removeMany"; index: number; count: number }
  | { op: "stale"; index: number }
  | { op: "rewrite"; index: number }
  | { op: "mapped"; index: number; inner: Step }
  | { op: "shrink"; pages: number; refuseEvery: number; freeInside: boolean }
  | { op: "compact"; pages: number };

const size = fc.oneof(
  fc.integer({ min: 1, max: 4096 }),
  fc.integer({ min: 1, max: 128 }),
  fc.constantFrom(64, 2016, 2048, 3904, 3968, 4032, 4096),
);
const index = fc.nat(10_000);
const simpleStep: fc.Arbitrary<Step>[] = [
  fc.record({ op: fc.constant("put" as const), size }),
  fc.record({ op: fc.constant("fill" as const), size, count: fc.integer({ min: 2, max: 12 }) }),
  fc.record({ op: fc.constant("remove" as const), index }),
  fc.record({
    op: fc.constant("removeMany" as const),
    index,
    count: fc.integer({ min: 2, max: 10 }),
  }),
  fc.record({ op: fc.constant("stale" as const), index }),
  fc.record({ op: fc.constant("rewrite" as const), index }),
  fc.record({
    op: fc.constant("shrink" as const),
    pages: fc.integer({ min: 0, max: 4 }),
    refuseEvery: fc.integer({ min: 2, max: 6 }),
    freeInside: fc.boolean(),
  }),
  fc.record({ op: fc.constant("compact" as const), pages: fc.integer({ min: 1, max: 8 }) }),
];
const step: fc.Arbitrary<Step> = fc.oneof(
  ...simpleStep,
  fc.record({ op: fc.constant("mapped" as const), index, inner: fc.oneof(...simpleStep) }),
);

function apply(model: ModelPool, step: Step): void {
  const { pool } = model;
  switch (step.op) {
    case "put":
    case "fill":
      for (let n = step.op === "fill" ? step.count : 1; n > 0; n--) {
        const handle = model.put(Math.min(step.size, pool.maxSizeBytes));
        assert.ok(handle > 0 || handle === ENOMEM, `malloc gave ${handle}`);
      }
      return;
    case "remove":
    case "removeMany":
      for (let n = step.op === "removeMany" ? step.count : 1; n > 0; n--) {
        const handle = model.pick(step.index * n);
        if (handle === undefined) return;
        const result = pool.free(handle);
        if (result === 0) model.forget(handle);
        else assert.equal(result, EBUSY);
      }
      return;
    case "stale": {
      const handle = model.dead.at(-1 - (step.index % 64));
      // A handle value may come to life again when its generations are used up; not within 64
      // frees.
      if (handle !== undefined && !model.objects.has(handle)) {
        assert.equal(pool.free(handle), EINVAL, "a dead handle frees nothing");
      }
      return;
    }
    case "rewrite": {
      const handle = model.pick(step.index);
      if (handle === undefined) return;
      model.renew(handle);
      model.rewrite(handle);
      return;
    }
    case "mapped":
      applyMapped(model, step.index, step.inner);
      return;
    case "shrink":
      applyShrink(model, step);
      return;
    case "compact": {
      const before = pool.totalPages();
      const freed = pool.compact(step.pages);
      assert.equal(pool.totalPages(), before - freed, "compact says what it freed");
    }
  }
}

function applyMapped(model: ModelPool, index: number, inner: Step): void {
  const handle = model.pick(index);
  if (handle === undefined) return;
  const { sizeBytes } = model.objects.get(handle)!;
  const mode = index % 2 === 0 ? MAP_RO : MAP_RW;
  const at = model.pool.map(handle, mode, sizeBytes) as Address;
  assert.ok(at > 0, `map gave ${at}`);
  // Rewriting the object behind its own mapping is the caller's race, not the pool's.
  if (inner.op !== "rewrite") apply(model, inner);
  assert.ok(model.objects.has(handle), "a mapped object stays");
  model.checkAt(handle, at);
  if (mode === MAP_RW) {
    model.renew(handle);
    model.fillAt(handle, at);
  }
  assert.equal(model.pool.unmap(handle), 0);
}

function applyShrink(model: ModelPool, step: Step & { op: "shrink" }): void {
  const { pool } = model;
  const before = pool.totalPages();
  let asked = 0;
  const freed = pool.shrink(step.pages, (handle) => {
    assert.ok(model.objects.has(handle), "only live objects are evicted");
    if (++asked % step.refuseEvery === 0) return -1;
    model.check(handle);
    if (step.freeInside) assert.equal(pool.free(handle), 0);
    model.forget(handle);
    return 0;
  });
  if (freed !== EAGAIN) assert.ok(freed > 0);
  assert.equal(pool.totalPages(), before - Math.max(0, freed), "shrink says what it freed");
}

for (const type of poolTypes(true)) {
  test(`${type}: any sequence keeps every byte and every invariant`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        using arena = Arena.create({ sizeBytes: 2 * 1024 * 1024 });
        const pool = createPool(type, arena);
        const model = new ModelPool(arena, pool);
        for (const one of steps) {
          apply(model, one);
          model.checkAll();
          arena.frames.verify();
        }
        for (const handle of [...model.objects.keys()]) model.remove(handle);
        pool.compact(Number.MAX_SAFE_INTEGER);
        pool.verify();
        assert.equal(pool.totalPages(), 0, "empty means zero");
        pool.destroy();
        arena.frames.verify();
      }),
      { numRuns: Number(process.env["ZCACHE_MODEL_RUNS"] ?? 30) },
    );
  });
}
