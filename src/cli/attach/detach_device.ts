// Detaches a device: the steps of `attach` in reverse order. Each step looks at the machine whether
// there is anything to undo, so the same steps detach a device that works, one whose daemon has
// ended, and one whose `attach` or `detach` was killed at any point.
import { ZcacheError } from "../../base/errors.ts";
import { type Context, groupOf, notRoot, save, systemError, until } from "./context.ts";
import { driverOf } from "./drivers.ts";
import type { Attached } from "./state.ts";
import { busy, checkSwapFits, checkUnused, mountsOf, named } from "./usage.ts";

export interface DetachOptions {
  /** Whether to try although swapped pages have no room or are lost, and to kill what hangs. */
  readonly force: boolean;
}

const REPLY_MS = 5000;
/** How long a process may take to end, unless it saves an image. */
const END_MS = 30_000;
/** Programs that look at new devices, such as udev's, use one for a moment. */
const SETTLE_MS = 3000;

/**
 * @param id of the device
 * @throws ZcacheError ERR_BUSY: it is in use, with what uses it, and nothing was changed;
 *   ERR_SYSTEM: a step has failed; the next `detach` goes on there
 */
export async function detachDevice(
  context: Context,
  id: string,
  options: DetachOptions,
): Promise<void> {
  const { machine, states } = context;
  if (!machine.isRoot) throw notRoot("detached");
  const release = states.lock(id);
  try {
    const record = states.read(id);
    if (record !== undefined) await removeDevice(context, record, options);
  } finally {
    release();
  }
}

/** As `detachDevice`, for a caller that has the lock. */
export async function removeDevice(
  context: Context,
  record: Attached,
  { force }: DetachOptions,
): Promise<void> {
  const { machine, states } = context;
  if (record.phase === "attaching") await endStrays(context, record);
  await checkSettled(context, record);
  const { server } = record;
  const isServed = server !== undefined && machine.isAlive(server);
  if (force && isServed) await killHanging(context, record, server.pid);
  else if (!force) checkSwapFits(context, record, isServed);
  await stopUse(context, record);
  const detaching = save(context, record, { phase: "detaching" });
  await driverOf(record).disconnect(context, detaching);
  await endProcesses(context, detaching, record.phase === "attaching" || force);
  // nbdfuse may have mounted its file in between, if it had just been started.
  await driverOf(record).disconnect(context, detaching);
  await machine.removeGroup(groupOf(context, record.id));
  states.remove(record.id);
}

/** Kills a daemon that does not answer: whatever waits for it gets an error then. */
async function killHanging(context: Context, { id }: Attached, pid: number): Promise<void> {
  const { machine, states } = context;
  try {
    await machine.ask(states.pathsOf(id).control, { get: ["disksize"] }, REPLY_MS);
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    await machine.kill(pid, "SIGKILL");
  }
}

/** As `checkUnused`, which is asked again for a moment if it refuses. */
async function checkSettled(context: Context, record: Attached): Promise<void> {
  let why: unknown;
  const isUnused = await until(
    context,
    () => {
      try {
        checkUnused(context, record);
        return true;
      } catch (error) {
        why = error;
        return false;
      }
    },
    SETTLE_MS,
  );
  if (!isUnused) throw why;
}

/** Ends the use as a file system or as swap. */
async function stopUse(context: Context, record: Attached): Promise<void> {
  const { machine, signal } = context;
  const { device, mount } = record;
  if (device === undefined) return;
  const isMounted = () =>
    mountsOf(context, machine.blocks(device)).some(({ target }) => target === mount);
  while (isMounted()) {
    try {
      await machine.run("umount", [mount!], { signal });
    } catch (error) {
      // The program may have been ended after it had done its work.
      if (!isMounted()) throw error;
      const users = machine.openers([`${mount!}/`]);
      if (users.length === 0) throw error;
      throw busy(device, `${named(users)} use ${mount}`, error);
    }
  }
  if (!machine.swaps().some((swap) => swap.device === device)) return;
  await machine.run("swapoff", [device], { signal });
}

/**
 * Ends what an interrupted `attach` has started, but not recorded, such as mkfs, which would go on.
 */
async function endStrays(context: Context, record: Attached): Promise<void> {
  const { server, fuse } = record;
  await endAll(context, record, (pid) => pid !== server?.pid && pid !== fuse?.pid);
}

/**
 * Ends the daemon and nbdfuse. A daemon with an image saves it first, however long that takes.
 * @param mayKill whether nothing is lost if the daemon is killed
 */
async function endProcesses(context: Context, record: Attached, mayKill: boolean): Promise<void> {
  const { server, hasImage } = record;
  await endAll(context, record, (pid) => pid !== server?.pid);
  await endAll(context, record, (pid) => pid === server?.pid, hasImage && !mayKill);
}

/** @param saves whether the processes have data to save */
async function endAll(
  context: Context,
  { id }: Attached,
  isMeant: (pid: number) => boolean,
  saves = false,
): Promise<void> {
  const { machine, states } = context;
  const left = () => machine.marked(states.pathsOf(id).folder).filter(isMeant);
  for (const pid of left()) {
    // A second SIGTERM would end a daemon that is saving; after the first it handles no other.
    if (!saves || machine.handlesTerm(pid)) await machine.kill(pid, "SIGTERM");
  }
  const isGone = () => left().length === 0;
  if (await until(context, isGone, saves ? undefined : END_MS)) return;
  for (const pid of left()) await machine.kill(pid, "SIGKILL");
  if (await until(context, isGone, END_MS)) return;
  throw systemError(`process ${left().join(", ")} does not end`);
}

/** Finds a device by its identifier, its block device or its mount point. */
export function findDevice({ states, warn }: Context, name: string): string {
  const known: string[] = [];
  for (const id of states.ids()) {
    let record: Attached | undefined;
    try {
      record = states.read(id);
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      if (id === name) throw error;
      warn(`warning: ${error.message}`);
    }
    if (record === undefined) continue;
    if ([record.id, record.device, record.mount].includes(name)) return id;
    known.push(record.device ?? id);
  }
  const attached = known.length === 0 ? "none is attached" : `attached are ${known.join(", ")}`;
  throw new ZcacheError("ERR_OPTION", `"${name}" is not a device of zcache; ${attached}`);
}
