// Distinguishes a hang from a slow machine. In a hang, every thread waits for a lock or a message
// and none is runnable; on a slow machine a thread runs or waits for a processor, which the kernel
// counts.
import type { readdirSync, readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";

/** Looks at the process so often. */
const LOOK_MS = 2_000;
/** Number of consecutive samples without activity that count as a hang. */
const LOOKS_MAX = 20;
/** A process is inactive if its threads run or wait to run for at most this share of the time. */
const IDLE_PART = 0.1;
/** Number of samples with activity but without progress that count as an endless loop. */
const LOOKS_MAX_BUSY = 300;

const PROGRAM = `
const { parentPort, workerData } = require("node:worker_threads");
const { readdirSync, readFileSync, writeSync } = require("node:fs");
const { progress, lookMs, looksMax, looksMaxBusy, idlePart, title } = workerData;
const busyMs = ${busyMs.toString()};
let lastProgress = -1, lastBusy = busyMs(readdirSync, readFileSync), idle = 0, still = 0;
setInterval(() => {
  const now = Atomics.load(progress, 0), busy = busyMs(readdirSync, readFileSync);
  const isIdle = busy - lastBusy < lookMs * idlePart;
  still = now === lastProgress ? still + 1 : 0;
  idle = now === lastProgress && isIdle ? idle + 1 : 0;
  lastProgress = now; lastBusy = busy;
  if (idle < looksMax && still < looksMaxBusy) return;
  writeSync(2, "HANG in " + title + ": no progress at step " + now + "\\n");
  process.kill(process.pid, "SIGKILL");
}, lookMs);
`;

/** ms that the threads of this process ran or wanted to run, all together. */
function busyMs(list: typeof readdirSync, read: typeof readFileSync): number {
  let ns = 0;
  for (const thread of list("/proc/self/task")) {
    try {
      const [ran, waited] = (read(`/proc/self/task/${thread}/schedstat`, "latin1") as string).split(
        " ",
      );
      ns += Number(ran) + Number(waited);
    } catch {
      // It has ended since.
    }
  }
  return ns / 1e6;
}

export interface Watchdog {
  /** Says that something has been done. */
  progress(): void;
  end(): Promise<void>;
}

/** Ends the process if it hangs, and names `title`. Linux only. */
export function startWatchdog(title: string): Watchdog {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(PROGRAM, {
    eval: true,
    workerData: {
      ...{ progress, title, lookMs: LOOK_MS, looksMax: LOOKS_MAX },
      ...{ looksMaxBusy: LOOKS_MAX_BUSY, idlePart: IDLE_PART },
    },
  });
  worker.unref();
  return {
    progress: () => void Atomics.add(progress, 0, 1),
    end: async () => void (await worker.terminate()),
  };
}
