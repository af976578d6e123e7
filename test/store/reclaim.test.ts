// Reclaim that fails: the write-back file is full, or its device fails, so that pages can't move
// there. Whatever the attempt has begun is undone, and nothing else: after each step the store is
// valid, and no persistent page is lost. Every pool, both ways to reclaim, any sequence of steps.
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import { poolTypes } from "../../src/pool/registry.ts";
import { type Faults, FaultyDevice, NO_FAULTS } from "../doubles/faulty_device.ts";
import { openStore, type PageKind, StoreModel } from "../doubles/store_fixture.ts";

const SEGMENT = 65_536;

interface File {
  readonly name: string;
  readonly bytes: number;
  readonly faults: Faults;
}

const FILES: readonly File[] = [
  { name: "none", bytes: 0, faults: NO_FAULTS },
  { name: "soon full", bytes: 8 * SEGMENT, faults: NO_FAULTS },
  // Pending segments fill all buffers, and stay.
  { name: "unwritable", bytes: 64 * SEGMENT, faults: { ...NO_FAULTS, writeErrorEvery: 1 } },
  { name: "failing", bytes: 12 * SEGMENT, faults: { ...NO_FAULTS, writeErrorEvery: 3 } },
];

const KINDS: readonly PageKind[] = ["text", "sparse", "noise", "same", "text"];

/** [what, object, index]: the first number says which step, the others which page. */
const step = fc.tuple(fc.nat(99), fc.nat(5), fc.nat(120));

function run(pool: string, reclaim: "objects" | "frames", file: File, steps: number[][]): void {
  const device = new FaultyDevice(file.bytes, new Xorshift32(5), file.faults);
  const writeBack = { path: "in memory", max: "1MiB" };
  const store = openStore(
    { memoryMax: "1MiB", pool, reclaim, ...(file.bytes > 0 ? { writeBack } : {}) },
    { openDevice: () => device, attachDevice: () => device },
  );
  const models = [new StoreModel(store, false), new StoreModel(store, true)];
  for (let n = 0; n < 700; n++) models[n % 2]!.put(n % 6, n % 121, KINDS[n % 3]!);
  store.verify();
  for (const [what, object, index] of steps as [number, number, number][]) {
    const model = models[what % 2]!;
    if (what < 55) model.put(object, index, KINDS[what % 5]!);
    else if (what < 75) model.get(object, index, what < 60);
    else if (what < 85) model.flush(object, index);
    else if (what < 93) store.maintain();
    else if (what < 97) store.shrink(1 + (index % 9));
    else store.compact(1 + (index % 4));
    store.verify();
  }
  for (const model of models) model.checkAll();
  store.close();
}

for (const pool of poolTypes()) {
  for (const reclaim of ["objects", "frames"] as const) {
    test(`${pool}, reclaim by ${reclaim}`, () => {
      for (const file of FILES) {
        const steps = fc.array(step, { minLength: 40, maxLength: 90 });
        fc.assert(
          fc.property(steps, (some) => run(pool, reclaim, file, some)),
          { numRuns: 2, seed: 20 + file.bytes },
        );
      }
    });
  }
}
