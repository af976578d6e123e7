// Times how long a thread holds locks, and reads optimistically, by wrapping methods: only in
// windows of their own, so that it costs nothing elsewhere. The cost of the clock is measured and
// subtracted.
import { ArenaLock } from "../../src/memory/arena_lock.ts";
import { KeyLocks } from "../../src/values/key_locks.ts";
import { PageFinder } from "../../src/values/page_finder.ts";
import { HELD, TIMED, type Timed } from "./control.ts";

type Methods = Record<string, (...args: unknown[]) => unknown>;

const begins: Record<Timed, number> = { exclusive: 0, beside: 0, reader: 0, key: 0 };
const totals = new Float64Array(2 * TIMED.length);
let holds: "exclusive" | "beside" = "exclusive";
let clockMs = 0;

function begin(what: Timed): void {
  begins[what] = performance.now();
}

/** In a longer time, the thread has lost its processor, or memory was given to it. */
const LONG_MS = 0.2;

function end(what: Timed): void {
  const ms = performance.now() - begins[what] - clockMs;
  if (ms > LONG_MS) return;
  const nth = 2 * TIMED.indexOf(what);
  totals[nth]!++;
  totals[nth + 1]! += ms;
}

/** @returns undoes it */
export function timeLocks(): () => void {
  const lock = ArenaLock.prototype as unknown as Methods;
  const keys = KeyLocks.prototype as unknown as Methods;
  const finder = PageFinder.prototype as unknown as Methods;
  const saved = [lock, keys, finder].map(
    (of) => [of, Object.getOwnPropertyDescriptors(of)] as const,
  );
  const wrap = (
    of: Methods,
    name: string,
    after: (result: unknown) => void,
    before?: () => void,
  ) => {
    const original = of[name]!;
    of[name] = function (this: unknown, ...args: unknown[]) {
      before?.();
      const result = original.apply(this, args);
      after(result);
      return result;
    };
  };
  const take = (what: "exclusive" | "beside") => (result: unknown) => {
    if (result === false) return;
    holds = what;
    begin(what);
  };
  const nothing = () => {};
  wrap(lock, "lock", take("exclusive"));
  wrap(lock, "lockBeside", take("beside"));
  wrap(lock, "tryLockBeside", take("beside"));
  wrap(lock, "unlock", nothing, () => end(holds));
  wrap(
    finder,
    "load",
    () => end("reader"),
    () => begin("reader"),
  );
  wrap(keys, "lock", () => begin("key"));
  wrap(keys, "unlock", nothing, () => end("key"));
  clockMs = 0;
  totals.fill(0);
  for (let nth = 0; nth < 20_000; nth++) {
    begin("key");
    end("key");
  }
  clockMs = totals[2 * TIMED.indexOf("key") + 1]! / 20_000;
  totals.fill(0);
  return () => {
    for (const [of, properties] of saved) Object.defineProperties(of, properties);
  };
}

/** Writes what was timed since `timeLocks` to a thread's report. */
export function reportLocks(report: Float64Array): void {
  report.set(totals, HELD);
}
