// The measured process of garbage.ts: puts and gets pages for a given number of milliseconds, while
// `--trace-gc` prints the collections.

import { nodePlatform } from "../../src/node/platform.ts";
import { Store } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";

const PAGES = 20_000;
const OPERATIONS_BETWEEN_LOOKS = 4096;

const store = Store.create({ memoryMax: "32MiB" }, nodePlatform());
const pool = store.createPool();
const pages = readFilePages(PAGES, store.pageSize, 0, 1);
const key = new TmemKey();
const target = new Uint8Array(store.pageSize);
console.log("begin");
const endMs = performance.now() + Number(process.argv[2]);
let operations = 0;
let at = 0;
while (performance.now() < endMs) {
  for (let n = 0; n < OPERATIONS_BETWEEN_LOOKS; n++) {
    at = (at + 7919) % pages.length;
    key.setObject(at >>> 8).setIndex(at & 255);
    if (!store.get(pool, key, target)) store.put(pool, key, pages[at]!);
    operations += 2;
  }
}
console.log(`end ${operations}`);
