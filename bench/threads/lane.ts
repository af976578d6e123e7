// A worker of the benchmark of threads: gets and sets values of a cache, in windows that the main
// thread begins and ends.
import { readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { Cache, type CacheShare } from "../../src/index.ts";
import type { Value } from "../cache/contender.ts";
import { drawOrder, openValues } from "../cache/data.ts";
import * as Control from "./control.ts";
import { reportLocks, timeLocks } from "./lock_timer.ts";

const ORDER_MAX = 1 << 17;
const PREPARED = 512;
/** Operations between two looks at the control block. */
const BATCH = 64;

/** Time on a processor, and in the queue for one, of this thread so far, in ms. */
function schedule(): readonly [number, number] {
  const fields = readFileSync("/proc/thread-self/schedstat", "latin1").split(" ");
  return [Number(fields[0]) / 1e6, Number(fields[1]) / 1e6];
}

/** The operations of one kind of values. */
class Side {
  readonly caches: readonly [shared: Cache, own: Cache];
  readonly #keys: readonly string[];
  readonly #order: Uint32Array;
  readonly #prepared: readonly Value[];
  #at = 0;

  constructor(input: Control.LaneInput, kind: Control.Kind) {
    const count = input.counts[kind];
    const values = openValues(kind === "pages" ? "bytes" : "text", count, input.pageFile);
    this.#keys = values.keys;
    this.#order = drawOrder(count, Math.min(ORDER_MAX, 64 * count), input.nth + 1);
    const step = Math.max(1, Math.floor(count / PREPARED));
    this.#prepared = Array.from({ length: Math.min(PREPARED, count) }, (_, nth) =>
      values.at(nth * step),
    );
    const shared = Cache.attach<string, Value>(input.shares[kind] as CacheShare);
    let own = shared;
    if (input.hasOwn) {
      own = Cache.create<string, Value>({
        memoryMax: shared.stats().memoryMax,
        tiers: false,
        dictionary: false,
      });
      for (let nth = 0; nth < count; nth++) own.set(values.keys[nth]!, values.at(nth));
    }
    this.caches = [shared as Cache, own as Cache];
  }

  /** @param sets in a thousand operations */
  run(cache: Cache, operations: number, sets: number): void {
    const [keys, order, prepared] = [this.#keys, this.#order, this.#prepared];
    let at = this.#at;
    for (let nth = 0; nth < operations; nth++) {
      if (++at === order.length) at = 0;
      const key = keys[order[at]!]!;
      // Spread over all operations; which ones they are is the same in each run.
      if ((at * 617) % 1000 < sets) cache.set(key, prepared[at % prepared.length]!);
      else cache.get(key);
    }
    this.#at = at;
  }
}

function runWindow(input: Control.LaneInput, sides: Readonly<Record<Control.Kind, Side>>): void {
  const control = new Int32Array(input.control);
  const report = new Float64Array(input.reports).subarray(
    input.nth * Control.REPORT_FLOATS,
    (input.nth + 1) * Control.REPORT_FLOATS,
  );
  const side = sides[Control.KINDS[control[Control.VALUES]!]!]!;
  const cache = side.caches[control[Control.OWN]!]!;
  const sets = control[Control.SETS]!;
  const restore = control[Control.IS_TIMED] === 1 ? timeLocks() : undefined;
  const [cpuMs, queuedMs] = schedule();
  const begin = performance.now();
  let operations = 0;
  do {
    side.run(cache, BATCH, sets);
    operations += BATCH;
  } while (Atomics.load(control, Control.IS_OVER) === 0);
  const ms = performance.now() - begin;
  const after = schedule();
  report.set([operations, ms, after[0] - cpuMs, after[1] - queuedMs]);
  if (restore !== undefined) {
    restore();
    reportLocks(report);
  }
}

if (parentPort !== null) {
  const input = workerData as Control.LaneInput;
  const control = new Int32Array(input.control);
  const sides = { documents: new Side(input, "documents"), pages: new Side(input, "pages") };
  parentPort.postMessage("ready");
  for (let window = 0; ; ) {
    Atomics.wait(control, Control.WINDOW, window);
    // A thread that did not take part may have missed some.
    window = Atomics.load(control, Control.WINDOW);
    if (control[Control.ACTIVE] === 0) break;
    if (input.nth >= control[Control.ACTIVE]!) continue;
    runWindow(input, sides);
    Atomics.add(control, Control.DONE, 1);
    Atomics.notify(control, Control.DONE);
  }
  for (const { caches } of Object.values(sides)) {
    if (caches[1] !== caches[0]) caches[1].close();
    caches[0].detach();
  }
  process.exit(0);
}
