// The measured process of shards.ts: one cache or one store of pages with a number of shards. Asked
// to do a number of operations, it answers how long one has taken, in ns of processor time.

import { Xorshift32 } from "../../src/base/random.ts";
import { Cache, createStore, TmemKey } from "../../src/index.ts";
import { documentAt } from "../documents.ts";
import type { ShardedWork } from "./shards.ts";

const ITEMS = 20_000;
const VALUES = 64;
const VALUE_BYTES = 1024;
const PAGE_BYTES = 4096;
const PAGES_SHIFT = 12;
const MEMORY_MAX = "256MiB";

const shards = Number(process.argv[2]);
const random = new Xorshift32(7);

function bytesOf(length: number): readonly Buffer[] {
  return Array.from({ length: VALUES }, (_, nth) =>
    Buffer.from(documentAt(nth).padEnd(length).slice(0, length), "latin1"),
  );
}

function ofCache(): Record<"set" | "get" | "delete", () => unknown> {
  const cache = Cache.create({ memoryMax: MEMORY_MAX, shards, tiers: false, dictionary: false });
  const values = bytesOf(VALUE_BYTES);
  const keys = Array.from({ length: ITEMS }, (_, nth) => `key:${nth}`);
  for (const [nth, key] of keys.entries()) cache.set(key, values[nth % VALUES]!);
  return {
    set: () => cache.set(keys[random.below(ITEMS)]!, values[random.below(VALUES)]!),
    get: () => cache.get(keys[random.below(ITEMS)]!),
    // Of a key that is not there.
    delete: () => cache.delete(`no ${random.below(ITEMS)}`),
  };
}

function ofStore(): Record<"put" | "load", () => unknown> {
  const store = createStore({ memoryMax: MEMORY_MAX, shards });
  const pool = store.createPool({ persistent: true });
  const pages = bytesOf(PAGE_BYTES);
  const page = new Uint8Array(PAGE_BYTES);
  const key = new TmemKey();
  const keyOf = (nth: number) => key.setWords(1 + (nth >> PAGES_SHIFT), 0, nth, 0);
  for (let nth = 0; nth < ITEMS; nth++) store.put(pool, keyOf(nth), pages[nth % VALUES]!);
  return {
    put: () => store.put(pool, keyOf(random.below(ITEMS)), pages[random.below(VALUES)]!),
    load: () => store.get(pool, keyOf(random.below(ITEMS)), page),
  };
}

const what = process.argv[3] as ShardedWork;
const work = what === "put" || what === "load" ? ofStore()[what] : ofCache()[what];

process.on("message", (count: number) => {
  const before = process.cpuUsage();
  for (let nth = 0; nth < count; nth++) work();
  const { user, system } = process.cpuUsage(before);
  process.send!(((user + system) * 1000) / count);
});
process.send!(0);
