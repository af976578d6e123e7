// The worker of a what-if comparison: compresses and packs a sample with other codecs and pools,
// while the daemon's own threads keep serving. monitor.ts starts one worker for each comparison.
import { parentPort, workerData } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { whatIf } from "../lab/what_if.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { createPool } from "../pool/registry.ts";
import type { WhatIfAnswer, WhatIfTask } from "./monitor.ts";

function compare({ content, codecs, pools }: WhatIfTask): WhatIfAnswer {
  const registry = nodeCodecs();
  try {
    const results = whatIf(
      content,
      codecs.map((name) => ({ name, create: (memory) => registry.create(name, memory) })),
      pools.map((name) => ({ name, create: (arena) => createPool(name, arena) })),
    );
    return { results };
  } catch (error) {
    // Copying an error between threads keeps its message and stack, but not its code.
    if (!(error instanceof ZcacheError)) throw error;
    return { code: error.code, message: error.message };
  }
}

parentPort!.postMessage(compare(workerData as WhatIfTask));
