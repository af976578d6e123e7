// The share of a pool's memory that is payload: after filling, after churn, after freeing 70 % at
// random, and after filling again, without compaction. Each has two figures: payload ÷ page frames
// that hold objects, and payload ÷ all memory, including descriptor, handles, records and frame
// table.

import type { Handle } from "../../src/base/brand.ts";
import { MIB } from "../../src/base/units.ts";
import type { CodecRegistry } from "../../src/codec/registry.ts";
import { ARENA_BYTES_MAX, Arena } from "../../src/memory/arena.ts";
import { createPool, poolTypes } from "../../src/pool/registry.ts";
import { DATA_KINDS, readPages } from "../codec/pages.ts";
import { classesLine, FITTED_CLASSES, FIXED_BYTES } from "./classes.ts";
import { fromCounts, histA, realLz4, runWorkload, type SizeDistribution } from "./workload.ts";

export interface DensityOptions {
  readonly registry: CodecRegistry;
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

/** One pool after one phase, in percent. */
export interface Density {
  readonly pool: string;
  readonly objects: number;
  readonly phase: string;
  readonly frames: number;
  readonly everything: number;
}

/** Room for the least dense pool: a little more than a page frame for each object. */
const ARENA_BYTES_PER_OBJECT = 4608;
const PAGE = 4096;
/** Variants with fixed distances between the classes, to compare with the adaptive division. */
const VARIANTS = ["dense-d8", "dense-d16", "dense-d32", "dense-d64"];

function measure(pool: string, sizes: SizeDistribution, objects: number): Density[] {
  const sizeBytes = Math.min(ARENA_BYTES_MAX, objects * ARENA_BYTES_PER_OBJECT + 4 * MIB);
  using arena = Arena.create({ sizeBytes });
  const store = createPool(pool, arena);
  const handles = new Int32Array(objects);
  const held = new Int32Array(objects);
  const rows: Density[] = [];
  let payload = 0;
  runWorkload(sizes, objects, {
    alloc(slot, size) {
      const handle = store.malloc(size);
      handles[slot] = handle;
      // An object that a pool refuses because of its size does not count for the pool.
      held[slot] = handle > 0 ? size : 0;
      payload += held[slot]!;
    },
    free(slot) {
      if (held[slot] === 0) return;
      store.free(handles[slot]! as Handle);
      payload -= held[slot]!;
      held[slot] = 0;
    },
    phase(phase) {
      const { pages, metadataBytes } = store.stats();
      const frames = (100 * payload) / (pages * PAGE);
      const everything = (100 * payload) / (pages * PAGE + metadataBytes);
      rows.push({ pool, objects, phase, frames, everything });
    },
  });
  store.verify();
  store.destroy();
  return rows;
}

/** zstd sizes of real pages, which are compressed in this run. */
async function realZstd(registry: CodecRegistry, tiny: boolean): Promise<SizeDistribution> {
  using arena = Arena.create({ sizeBytes: 4 * MIB });
  const codec = registry.create("zstd", arena);
  const page = arena.reserve(PAGE);
  const target = arena.reserve(2 * PAGE);
  const counts = new Map<number, number>();
  for (const kind of DATA_KINDS) {
    const pages = await readPages(kind, tiny ? 64 : 4096, PAGE);
    for (let at = 0; at + PAGE <= pages.length; at += PAGE) {
      arena.bytes.set(pages.subarray(at, at + PAGE), page);
      const size = codec.compress(page, PAGE, target, PAGE) || PAGE;
      counts.set(size, (counts.get(size) ?? 0) + 1);
    }
  }
  return fromCounts("zstd on real pages", counts);
}

/** Prints a table for each distribution and number of objects. @returns all rows */
export async function benchDensity(options: DensityOptions): Promise<Density[]> {
  const { registry, tiny = false, print = console.log } = options;
  const distributions = [histA(), realLz4(), await realZstd(registry, tiny)];
  const counts = tiny ? [500] : [5_000, 50_000, 500_000];
  const all: Density[] = [];
  for (const sizes of tiny ? distributions.slice(2) : distributions) {
    for (const objects of counts) {
      print("");
      print(`${sizes.name}, ${objects} objects: payload in percent of page frames / of everything`);
      print(`${"".padEnd(16)}fill            churn           free 70 %       refill`);
      for (const pool of tiny ? poolTypes() : [...poolTypes(), ...VARIANTS]) {
        const rows = measure(pool, sizes, objects);
        const cells = rows.map((row) => `${percent(row.frames)} / ${percent(row.everything)}`);
        print(`${pool.padEnd(16)}${cells.join("   ")}`);
        all.push(...rows);
      }
      if (tiny) continue;
      const names = [...FIXED_BYTES.map((n) => `d${n}`), ...FITTED_CLASSES.map((n) => `fit ${n}`)];
      print(`by calculation ${names.map((name) => name.padStart(7)).join("")}`);
      print(`${"".padEnd(15)}${classesLine(sizes, objects)}`);
    }
  }
  return all;
}

function percent(value: number): string {
  return value.toFixed(2).padStart(5);
}
