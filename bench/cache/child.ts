// A child process of the benchmark: measures one contender, and prints the answer as a line of
// JSON. Its memory is that of the contender; its worker threads run this file too.
import { once } from "node:events";
import { PerformanceObserver } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Missing, type Session, type Settings } from "./contender.ts";
import { findContender } from "./contenders.ts";
import { openValues, type Values } from "./data.ts";
import type { Answer, Job, LaneJob } from "./job.ts";
import { compare, fill, hitRate, Lane } from "./lane.ts";
import { fileBytes, residentWith } from "./resident.ts";

/** Values from which the bytes of all values are estimated. */
const SAMPLED = 2000;

function rawBytesOf(values: Values): number {
  const sampled = Math.min(SAMPLED, values.count);
  let bytes = 0;
  for (let nth = 0; nth < sampled; nth++) {
    const value = values.at(Math.floor((nth * values.count) / sampled));
    bytes += typeof value === "string" ? Buffer.byteLength(value) : value.length;
  }
  return Math.round((bytes * values.count) / sampled);
}

function settingsOf({ values, count, memoryBytes, folder }: Job, rawBytes: number): Settings {
  return { values, count, rawBytes, memoryBytes, folder };
}

/** Memory after garbage collection. */
async function memoryOf(session: Session, folder: string): Promise<Answer> {
  const { gc } = globalThis as { gc?: () => void };
  for (let times = 0; times < 3; times++) {
    gc?.();
    await sleep(50);
  }
  return { ...residentWith(session.helpers ?? []), fileBytes: fileBytes(folder) };
}

/** Mixed operations while an observer records the garbage collections. */
async function collect(lane: Lane, ms: number): Promise<Answer> {
  const pauses: number[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) pauses.push(duration);
  });
  observer.observe({ entryTypes: ["gc"] });
  const begin = performance.now();
  const mixedPerSecond = await lane.mixed(ms);
  const elapsed = performance.now() - begin;
  // The observer gets its entries in a later turn of the event loop.
  await sleep(20);
  observer.disconnect();
  return {
    mixedPerSecond,
    collectorShare: pauses.reduce((sum, one) => sum + one, 0) / elapsed,
    pauseMsMax: Math.max(0, ...pauses),
  };
}

/** Two worker threads use the contender at the same time. */
async function runThreads(job: Job, session: Session | undefined, rawBytes: number) {
  const share = session?.share?.();
  const file = new URL(import.meta.url);
  const workers = [1, 2].map((seed) => {
    const workerData: LaneJob = { job, rawBytes, share, seed };
    return new Worker(file, { workerData });
  });
  const next = async (): Promise<number[]> =>
    Promise.all(workers.map(async (worker) => (await once(worker, "message"))[0] as number));
  const go = () => {
    const answers = next();
    for (const worker of workers) worker.postMessage("go");
    return answers;
  };
  await next();
  // Both threads warm up together, then both are measured.
  await go();
  const mixedPerSecond = (await go()).reduce((sum, one) => sum + one, 0);
  const memory = residentWith(session?.helpers ?? []);
  const ends = workers.map((worker) => once(worker, "exit"));
  for (const worker of workers) worker.postMessage("end");
  await Promise.all(ends);
  return { mixedPerSecond, ...memory };
}

async function runLane({ job, rawBytes, share, seed }: LaneJob): Promise<void> {
  const port = parentPort!;
  const values = openValues(job.values, job.count, job.pageFile);
  const session = await findContender(job.contender).open(settingsOf(job, rawBytes), share);
  if (share === undefined) await fill(session, values);
  const lane = new Lane(session, values, seed);
  for (const ms of [0, job.amount / 4]) {
    if (ms > 0) await lane.mixed(ms);
    const started = once(port, "message");
    port.postMessage(0);
    await started;
  }
  const rate = await lane.mixed(job.amount);
  const end = once(port, "message");
  port.postMessage(rate);
  await end;
  if (share === undefined) await session.close();
  process.exit(0);
}

async function run(job: Job): Promise<Answer> {
  const contender = findContender(job.contender);
  if (job.threads === 2 && contender.threads === "one") {
    return { skipped: "a second thread can't open it" };
  }
  if (job.memoryBytes !== undefined && !contender.evicts) return { skipped: "has no limit" };
  if (job.values === "bytes" && contender.textOnly === true) return { skipped: "holds text" };
  const values = openValues(job.values, job.count, job.pageFile);
  const rawBytes = rawBytesOf(values);
  // Each worker has its own cache: the main thread has none, so that there are two in all.
  if (job.threads === 2 && contender.threads === "copies") {
    return { rawBytes, ...(await runThreads(job, undefined, rawBytes)) };
  }
  const session = await contender.open(settingsOf(job, rawBytes));
  try {
    if (job.task === "hits") {
      const rate = await hitRate(session, values, job.amount);
      return { rawBytes, hitRate: rate, ...(await memoryOf(session, job.folder)) };
    }
    await fill(session, values);
    if (contender.returnsValue !== false) await compare(session, values);
    if (job.threads === 2) return { rawBytes, ...(await runThreads(job, session, rawBytes)) };
    if (job.task === "memory") return { rawBytes, ...(await memoryOf(session, job.folder)) };
    const lane = new Lane(session, values, 1);
    if (job.task === "collector") return { rawBytes, ...(await collect(lane, job.amount)) };
    return { rawBytes, speed: await lane.speed(job.amount) };
  } finally {
    await session.close();
  }
}

async function answer(job: Job): Promise<void> {
  let answer: Answer;
  try {
    answer = await run(job);
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    answer = { skipped: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
}

if (isMainThread) await answer(JSON.parse(process.argv[2]!) as Job);
else await runLane(workerData as LaneJob);
