// A process of large.ts with a cache that has `persist`: `fill` fills it and closes it, `open`
// opens the files that the first process has left.
import { Cache } from "../../src/index.ts";
import { fill, type LargeRestart, MixedValues } from "./large.ts";

const VALUES = 20_000;
const VALUES_TINY = 500;

const [step, memoryMax, path, tiny] = process.argv.slice(2) as [string, string, string, string];
const values =
  step === "fill" ? new MixedValues(tiny === "true" ? VALUES_TINY : VALUES) : undefined;
const beginMs = performance.now();
const cache = Cache.create<string, Uint8Array | string>({
  ...{ memoryMax: Number(memoryMax), tiers: false, dictionary: false },
  persist: { path, max: "32GiB" },
});
if (values !== undefined) fill(cache, values);
const openMs = performance.now() - beginMs;
const { entries, memoryUsed, persist } = cache.stats();
await cache.close();
const fileBytes = persist === undefined ? 0 : persist.logBytes + persist.snapshotBytes;
const ms = values === undefined ? openMs : performance.now() - beginMs;
const found: LargeRestart = { ms, entries, memoryUsed, fileBytes };
console.log(JSON.stringify(found));
