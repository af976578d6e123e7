// The thread in which a sample is compressed and packed anew, so that the daemon's own threads go
// on serving meanwhile. Started for one comparison, by observed.ts.
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
    // A code would be lost on the way: only an error's message and stack are copied.
    if (!(error instanceof ZcacheError)) throw error;
    return { code: error.code, message: error.message };
  }
}

parentPort!.postMessage(compare(workerData as WhatIfTask));
