// The figures of an attached device for `zcache list`: what its state file says, what its daemon
// answers, and where it is mounted.
import { ZcacheError } from "../../base/errors.ts";
import type { Context } from "./context.ts";
import { driverOf } from "./drivers.ts";
import type { Attached } from "./state.ts";
import { mountsOf } from "./usage.ts";

/**
 * attaching, detaching   a process is at it
 * interrupted            such a process was killed; the next `attach` or `detach` undoes its steps
 * active                 the device works
 * failed                 the daemon or nbdfuse has ended, and the data is lost
 * hung                   the daemon does not answer
 */
export type DeviceState = "attaching" | "detaching" | "interrupted" | "active" | "failed" | "hung";

export interface DeviceFigures {
  readonly record: Attached;
  readonly state: DeviceState;
  /** Fields of the kernel's mm_stat, if the daemon answers. */
  readonly memory: readonly number[] | undefined;
  readonly mountPoint: string | undefined;
  readonly log: string;
}

const REPLY_MS = 2000;
/** How lsblk and zramctl show a swap device. */
const SWAP = "[SWAP]";

export async function figuresOf(context: Context, record: Attached): Promise<DeviceFigures> {
  const answer = await askMemory(context, record);
  return {
    record,
    state: stateOf(context, record, answer),
    memory: answer === "none" || answer === "forbidden" ? undefined : answer,
    mountPoint: mountPointOf(context, record),
    log: context.states.pathsOf(record.id).log,
  };
}

type Answer = readonly number[] | "none" | "forbidden";

async function askMemory({ machine, states }: Context, record: Attached): Promise<Answer> {
  if (record.server === undefined || !machine.isAlive(record.server)) return "none";
  const { control } = states.pathsOf(record.id);
  try {
    const { mm_stat } = await machine.ask(control, { get: ["mm_stat"] }, REPLY_MS);
    return String(mm_stat).split(" ").map(Number);
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    // Other users see the device, and may not ask its daemon.
    return machine.isRoot ? "none" : "forbidden";
  }
}

function stateOf(context: Context, record: Attached, answer: Answer): DeviceState {
  const { machine, states } = context;
  const { phase, server, fuse, driver } = record;
  if (phase !== "attached") {
    return states.holderOf(record.id) === undefined ? "interrupted" : phase;
  }
  const parts = driver === "nbd" ? [server] : [server, fuse];
  const isAlive = parts.every((one) => one !== undefined && machine.isAlive(one));
  if (!isAlive || !driverOf(record).isConnected(context, record)) return "failed";
  return answer === "none" ? "hung" : "active";
}

function mountPointOf(context: Context, { device }: Attached): string | undefined {
  if (device === undefined) return undefined;
  const blocks = context.machine.blocks(device);
  const [mount] = mountsOf(context, blocks);
  if (mount !== undefined) return mount.target;
  const isSwap = context.machine
    .swaps()
    .some((swap) => blocks.some((block) => block.device === swap.device));
  return isSwap ? SWAP : undefined;
}
