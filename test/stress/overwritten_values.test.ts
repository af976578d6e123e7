// Gets that take no lock beside a thread that overwrites the value while it is copied: a get whose
// copy is torn finds that out (the last look at SEQUENCE of values/find_value.as.ts) and is not
// used.
//
// The values of one key have the same size, do not compress, and fill several blocks of a page, so
// each set overwrites the bytes of the one before in place, and takes about as long for it as a get
// takes to copy them: most gets that meet a set copy a part of both values.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { KIB } from "../../src/base/units.ts";
import { Cache, type CacheShare } from "../../src/index.ts";
import { startWatchdog } from "./watchdog.ts";

const KEY = "overwritten";
const VALUE_BYTES = 60 * KIB;
/** Sets beside which values are read, and gets that met a writer. */
const SETS = 2000;
const MET = 50;
const SETS_BETWEEN = 16;

interface WriterInput {
  readonly share: CacheShare;
  /** Word 0: sets so far, atomic. Word 1: 1 = the writer ends, atomic. */
  readonly progress: Int32Array;
}

/** A value: every word of it follows from the first one, and its bytes look like chance. */
function valueUnder(serial: number): Buffer {
  const words = new Uint32Array(VALUE_BYTES / 4);
  for (let nth = 0; nth < words.length; nth++) words[nth] = wordOf(serial, nth);
  return Buffer.from(words.buffer);
}

function wordOf(serial: number, nth: number): number {
  const mixed = Math.imul(nth + 1, 0x9e37_79b1) ^ (nth >>> 3);
  return (Math.imul(mixed ^ (mixed >>> 15), 0x2c1b_3c6d) + serial) >>> 0;
}

function write({ share, progress }: WriterInput): void {
  const cache = Cache.attach<string, Buffer>(share);
  const values = [0, 1, 2].map(valueUnder);
  parentPort?.postMessage("ready");
  for (let sets = 0; Atomics.load(progress, 1) === 0; sets += SETS_BETWEEN) {
    for (let nth = 0; nth < SETS_BETWEEN; nth++) cache.set(KEY, values[(sets + nth) % 3]!);
    Atomics.store(progress, 0, sets);
  }
  cache.detach();
}

if (!isMainThread) {
  write(workerData as WriterInput);
} else {
  test("a get beside sets that overwrite the value in place returns a whole one", async () => {
    const watchdog = startWatchdog("overwritten values");
    const cache = Cache.create<string, Buffer>({
      ...{ memoryMax: "16MiB", pageSize: 64 * KIB, backgroundMs: 0, dictionary: false },
    });
    const values = [0, 1, 2].map(valueUnder);
    const progress = new Int32Array(new SharedArrayBuffer(8));
    cache.set(KEY, values[0]!);
    const input: WriterInput = { share: cache.share(), progress };
    const worker = new Worker(new URL(import.meta.url), { workerData: input });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    const met = () => cache.stats().store.locks.reader.contended;
    let gets = 0;
    while (Atomics.load(progress, 0) < SETS || met() < MET) {
      for (let nth = 0; nth < 64; nth++) {
        const value = cache.get(KEY);
        assert.ok(value !== undefined, "the key always has a value");
        const whole = values[value.readUInt32LE(0) - values[0]!.readUInt32LE(0)];
        assert.ok(whole?.equals(value), "a get returns a value that was set, and not parts of two");
      }
      gets += 64;
      watchdog.progress();
    }
    assert.ok(gets > 0);
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    Atomics.store(progress, 1, 1);
    await ended;
    cache.close();
    await watchdog.end();
  });
}
