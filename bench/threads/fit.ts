// Fits the queueing model (model.ts) to what one thread was seen to take, and says what it
// predicts.
import * as Control from "./control.ts";
import { type Costs, type Machine, predict } from "./model.ts";
import type { Reports, ThreadsRow } from "./result.ts";

/** Of the system; measured nowhere here, and of little weight unless there are many threads. */
const SYSTEM = { turnUs: 3000, wakeUs: 40, switchUs: 3, spinUs: 30, wakerUs: 5 };
/** Simulated time for many threads, each of which has a turn only now and then. */
const MANY_MS = 1000;
/** Processors for which the model says what can't be measured here. */
export const OTHER_PROCESSORS = 16;

export interface Prediction {
  readonly twoByOne: number;
  readonly manyByTwo: number;
  readonly slowestByFastest: number;
  /** As many threads on OTHER_PROCESSORS, ÷ one. */
  readonly otherByOne: number;
  readonly costs: Costs;
}

/** How often a lock was taken in one operation, and µs for which it was held. */
function held(reports: Reports, what: Control.Timed): { perOperation: number; us: number } {
  const at = Control.HELD + 2 * Control.TIMED.indexOf(what);
  const sum = (nth: number) => reports.reduce((all, one) => all + one[nth]!, 0);
  const count = sum(at);
  return {
    perOperation: count / sum(Control.OPERATIONS),
    us: count === 0 ? 0 : (1000 * sum(at + 1)) / count,
  };
}

/**
 * Time for which a lock is held if `threads` are at work. Two threads hold locks for longer than
 * one, because half of the times the words that they guard were last written on the other
 * processor; of many threads, nearly always.
 */
function heldBy(row: ThreadsRow, what: Control.Timed, threads: number): number {
  const [one, two] = row.timed.map((reports) => held(reports, what).us) as [number, number];
  return one + Math.max(0, two - one) * ((2 * (threads - 1)) / threads);
}

/** @param rows both mixes of one kind of values: they tell gets from sets */
function costsOf(
  rows: readonly ThreadsRow[],
  row: ThreadsRow,
  threads: number,
  keys: number,
): Costs {
  const [few, many] = rows as [ThreadsRow, ThreadsRow];
  const slope = (many.oneCpuUs - few.oneCpuUs) / (many.sets - few.sets);
  const getUs = few.oneCpuUs - slope * few.sets;
  const setUs = getUs + slope * 1000;
  const sets = row.sets / 1000;
  const [single] = row.timed;
  const exclusive = held(single, "exclusive").perOperation / sets;
  const readers = held(single, "reader").perOperation / (1 - sets);
  const besideShare = held(single, "beside").perOperation / (1 - sets);
  const of = (count: number) => ({
    exclusiveUs: exclusive * heldBy(row, "exclusive", count),
    readerUs: readers * heldBy(row, "reader", count),
    besideUs: heldBy(row, "beside", count),
  });
  const alone = of(1);
  const keyHeld = held(single, "key");
  const keyUs = Math.max(0, (keyHeld.perOperation / sets) * keyHeld.us - alone.exclusiveUs);
  // What two threads take more of a processor than one is the machine's: both use one memory, and
  // words that the other has written come from its processor's caches.
  const machine = threads === 1 ? 1 : Math.max(1, 2 / row.twoByOneCpu);
  const thinkGetUs = Math.max(0, getUs - alone.readerUs - besideShare * alone.besideUs) * machine;
  const thinkSetUs = Math.max(0, setUs - keyUs - alone.exclusiveUs) * machine;
  const times = { thinkGetUs, thinkSetUs, keyUs: keyUs * machine };
  return { sets: row.sets, ...times, ...of(threads), besideShare, keys };
}

/** @param many threads on the processors that there are */
export function predictRow(
  rows: readonly ThreadsRow[],
  row: ThreadsRow,
  many: number,
  processors: number,
  keys: number,
): Prediction {
  const here: Machine = { ...SYSTEM, processors };
  const of = (threads: number, machine: Machine) =>
    predict(costsOf(rows, row, threads, keys), machine, threads);
  const [one, two] = [of(1, here), of(2, here)];
  // On as many processors, no more threads are at work at a time than there are processors.
  const busy = Math.min(many, processors);
  const all = predict(costsOf(rows, row, busy, keys), here, many, MANY_MS);
  const other = of(OTHER_PROCESSORS, { ...here, processors: OTHER_PROCESSORS });
  return {
    twoByOne: two.rate / one.rate,
    manyByTwo: all.rate / two.rate,
    slowestByFastest: all.slowestByFastest,
    otherByOne: other.rate / one.rate,
    costs: costsOf(rows, row, 1, keys),
  };
}
