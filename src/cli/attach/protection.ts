// Whether the processes that serve a device are kept in memory and alive. The system must not swap
// them out: it would wait for the page of a process that waits for the page. Nothing of this is a
// condition, because containers permit little of it: what is not permitted is reported once.
//
//   control group   the memory of the daemon and of nbdfuse is not swapped (group.ts)
//   memory lock     the daemon's arenas stay in memory (--lock-memory, node/memory_lock.ts)
//   oom_score_adj   the kernel ends nearly all other processes first
import { ZcacheError } from "../../base/errors.ts";
import type { Context } from "./context.ts";
import { OOM_SCORE } from "./linux.ts";
import type { Group } from "./machine.ts";
import type { Attached } from "./state.ts";

const REPLY_MS = 5000;

/** Reports what was not permitted. */
export async function reportProtection(
  context: Context,
  record: Attached,
  group: Group,
): Promise<void> {
  const refusals = [
    ...(group.refusal === undefined ? [] : [`a control group without swap (${group.refusal})`]),
    ...(await lockRefusal(context, record)),
    ...scoreRefusal(context, record),
  ];
  if (refusals.length === 0) return;
  const what = record.as === "swap" ? "; under memory pressure the machine may hang" : "";
  context.warn(`warning: not permitted here: ${refusals.join(", ")}${what}`);
}

async function lockRefusal({ machine, states }: Context, { id }: Attached): Promise<string[]> {
  let lock: unknown;
  try {
    lock = (await machine.ask(states.pathsOf(id).control, { stats: true }, REPLY_MS))[
      "memory_lock"
    ];
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    lock = error.message;
  }
  return lock === "on" ? [] : [`locked memory (${String(lock)})`];
}

function scoreRefusal({ machine }: Context, { server, fuse }: Attached): string[] {
  const processes = [server, fuse].filter((one) => one !== undefined);
  const isLow = processes.every(({ pid }) => machine.oomScoreOf(pid) === OOM_SCORE);
  return isLow ? [] : [`oom_score_adj ${OOM_SCORE}`];
}
