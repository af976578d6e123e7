// The worker of a study of hit rates: reads the requests that the threads of a store record, and
// simulates caches with them, while the daemon's own threads keep serving. hit_rates.ts starts it.
import { parentPort, workerData } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { SampledSimulation } from "../lab/simulate/sampled.ts";
import { type SampledRequest, SampleReader } from "../store/sample_reader.ts";
import type { HitRatesAnswer, HitRatesQuestion, HitRatesTask } from "./hit_rates.ts";

/** The ring of a shard has room for the sampled requests of a multiple of this. */
const EVERY_MS = 2;

function begin({ setup, pages, rings }: HitRatesTask): void {
  const simulation = new SampledSimulation(setup);
  for (const page of pages) simulation.preload(page);
  const readers = rings.map((ring) => new SampleReader(ring));
  const take = (request: SampledRequest) => simulation.take(request);
  const read = () => {
    simulation.nowS = Date.now() / 1000;
    for (const reader of readers) reader.read(performance.now(), take);
  };
  const dropped = () => readers.reduce((sum, reader) => sum + reader.dropped, 0);
  let droppedBefore = 0;
  const answer = (question: HitRatesQuestion): HitRatesAnswer => {
    read();
    if (question === "count") {
      simulation.count();
      droppedBefore = dropped();
    }
    return { tallies: simulation.tallies, dropped: dropped() - droppedBefore };
  };
  parentPort!.on("message", (question: HitRatesQuestion) => {
    parentPort!.postMessage(orError(() => answer(question)));
  });
  setInterval(() => {
    const failed = orError(read);
    if (failed !== undefined) parentPort!.postMessage(failed);
  }, EVERY_MS);
}

/** Copying an error between threads keeps its message and stack, but not its code. */
function orError<T>(work: () => T): T | HitRatesAnswer {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    return { code: error.code, message: error.message };
  }
}

const failed = orError(() => begin(workerData as HitRatesTask));
if (failed !== undefined) parentPort!.postMessage(failed);
