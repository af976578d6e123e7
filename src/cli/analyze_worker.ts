// The worker of an analysis that fills pools. A request names the slot that holds a window and its
// codec; the answer follows when every pool has been filled, read back and compared.
import { parentPort, workerData } from "node:worker_threads";
import { platformClock } from "../base/clock.ts";
import { ZcacheError } from "../base/errors.ts";
import { layoutPageTable, PoolRunner } from "../lab/pool_lane.ts";
import { Arena } from "../memory/arena.ts";
import { createPool } from "../pool/registry.ts";
import type { LaneAnswer, LaneRequest, LaneSetup } from "./analyze_lane.ts";

const { arena, tables, windowPages, pools } = workerData as LaneSetup;
const runner = new PoolRunner(
  Arena.attach(arena),
  platformClock,
  pools.map((name) => ({ name, create: (inArena) => createPool(name, inArena) })),
  tables.map((memory) => layoutPageTable(memory, windowPages)),
);

async function answer(request: LaneRequest): Promise<LaneAnswer> {
  if ("results" in request) {
    return { results: await runner.results(request.results, request.totals) };
  }
  // The thread has no other work, so the steps run without pauses.
  for (const _ of runner.start(request));
  return {};
}

parentPort!.on("message", async (request: LaneRequest) => {
  let reply: LaneAnswer;
  try {
    reply = await answer(request);
  } catch (error) {
    // Copying an error between threads keeps its message and stack, but not its code.
    if (!(error instanceof ZcacheError)) throw error;
    reply = { error: { code: error.code, message: error.message, context: error.context } };
  }
  parentPort!.postMessage(reply);
});
