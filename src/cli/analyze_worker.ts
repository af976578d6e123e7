// The thread of the analyzer that fills pools. It is told which slot holds a window of which
// codec, and answers when every pool has been filled, read back and compared.
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
  // Nothing else is to be done in this thread, so the steps need no pause between them.
  for (const _ of runner.start(request));
  return {};
}

parentPort!.on("message", async (request: LaneRequest) => {
  let reply: LaneAnswer;
  try {
    reply = await answer(request);
  } catch (error) {
    // A code would be lost on the way: only an error's message and stack are copied.
    if (!(error instanceof ZcacheError)) throw error;
    reply = { error: { code: error.code, message: error.message, context: error.context } };
  }
  parentPort!.postMessage(reply);
});
