// Threads that are terminated while they set values by the kernel (values/put_value.as.ts): each
// value is the one that was set last or the one that was being set, and all structures are whole.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { RECOVERIES } from "../../src/memory/arena.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store, stateOf } from "../../src/store/store.ts";
import { formatValues } from "../../src/values/format.ts";
import { Values } from "../../src/values/values.ts";
import {
  ACKED,
  BEGUN,
  KEYS,
  keyOf,
  makeValue,
  type PutValueInput,
  SETS,
} from "./put_value_worker.ts";
import { startWatchdog } from "./watchdog.ts";

/** Deaths in the middle of a change that are wanted, and the most workers that die for that. */
const WANTED = 3 * Number(process.env["ZCACHE_STRESS_ROUNDS"] ?? 1);
const WORKERS_MAX = 60 * WANTED;
const SETS_BEFORE = 500;
const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./put_value_worker.${EXTENSION}`, import.meta.url);

test("a thread that dies in the kernel leaves the old value or the new one", async () => {
  const watchdog = startWatchdog("sets by the kernel");
  const options = { memoryMax: "8MiB", content: "values", policy: "adaptive" } as const;
  const store = Store.create(options, nodePlatform());
  let seed = 1;
  formatValues(store, () => seed++);
  const values = new Values(store, Date.now, () => seed++);
  assert.ok(values.putter.hasKernel);
  const { words } = stateOf(store);
  const acks = new Int32Array(new SharedArrayBuffer((SETS + 1) * 4));
  for (let nth = 1; nth <= WORKERS_MAX && words[RECOVERIES]! < WANTED; nth++) {
    const input: PutValueInput = { share: store.share(), seed: nth, acks };
    const worker = new Worker(WORKER, { workerData: input });
    let failure: unknown;
    worker.on("error", (error) => {
      failure = error;
    });
    const before = acks[SETS]!;
    while (failure === undefined && Atomics.load(acks, SETS) < before + SETS_BEFORE + nth) {
      await sleep(1);
    }
    await worker.terminate();
    assert.equal(failure, undefined);
    for (let key = 0; key < KEYS; key++) check(values, key, acks);
    store.verify();
    watchdog.progress();
  }
  assert.ok(words[RECOVERIES]! >= WANTED, `only ${words[RECOVERIES]} threads died in a change`);
  store.close();
  await watchdog.end();
});

/** Checks the value of a key, which is the one that was set last from now on. */
function check(values: Values, nth: number, acks: Int32Array): void {
  const at = 2 * nth;
  const key = keyOf(nth);
  if (!values.find(key, key.length)) {
    assert.equal(acks[at + ACKED], 0, `${key} was set and is not there`);
    return;
  }
  assert.equal(values.read(key, key.length), undefined);
  const value = Buffer.from(
    values.bytes.slice(values.bufferAt, values.bufferAt + values.valueBytes),
  );
  const version = value.readInt32LE(0);
  const allowed = [acks[at + ACKED], acks[at + BEGUN]];
  assert.ok(allowed.includes(version), `${key} has version ${version}, not one of ${allowed}`);
  assert.ok(value.equals(makeValue(nth, version)), `${key} is whole`);
  acks[at + ACKED] = version;
}
