// Attaches a device: starts a daemon, makes a block device of its socket, and, if asked to, a file
// system, a mount, or swap. All steps succeed, or all are undone, in reverse order.
//
//   daemon → nbdfuse, loop device → mkfs, mount
//          ↘ kernel's nbd         ↗ mkswap, swapon
import { ZcacheError } from "../../base/errors.ts";
import type { ProcessIdentity } from "../../node/process_identity.ts";
import { type Context, save, systemError, unstoppable, until } from "./context.ts";
import { removeDevice } from "./detach_device.ts";
import { driverOf, makeGroup } from "./drivers.ts";
import { lastLine } from "./log.ts";
import type { Group } from "./machine.ts";
import { reportProtection } from "./protection.ts";
import { checkRequirements, type Wanted } from "./requirements.ts";
import type { Attached } from "./state.ts";

/** What `zcache attach` was asked for. */
export interface Request extends Wanted {
  readonly id: string | undefined;
  readonly sizeBytes: number;
  readonly memoryMax: number;
  readonly codec: string;
  readonly threads: number;
  readonly hasImage: boolean;
  readonly mountOptions: string;
  /** Of the swap device among others. */
  readonly priority: number;
  /** The program of the daemon with its arguments, for given sockets. */
  server(sockets: { readonly socket: string; readonly control: string }): readonly string[];
}

const REPLY_MS = 5000;
/** Options of mkfs programs: write nothing to stdout, and expect no partition table. */
const MKFS_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  ext2: ["-q", "-F"],
  ext3: ["-q", "-F"],
  ext4: ["-q", "-F"],
  xfs: ["-q", "-f"],
  btrfs: ["-q", "-f"],
  f2fs: ["-q", "-f"],
  vfat: ["-I"],
};
/** Exit code 2 of `blkid -p`: there is nothing on the device. */
const NOTHING = /ended with 2$/;

/**
 * @returns the attached device
 * @throws ZcacheError ERR_SYSTEM, ERR_BUSY, ERR_OPTION, ERR_IO; the reason of the context's signal.
 *   Everything is undone then; what can't be undone is reported, and `detach` can finish it
 */
export async function attachDevice(context: Context, request: Request): Promise<Attached> {
  if (context.machine.isRoot) await removeInterrupted(context);
  const driver = await checkRequirements(context, request);
  const { id, release } = context.states.reserve(request.id);
  try {
    const { as, sizeBytes, memoryMax, codec, threads, hasImage, mount } = request;
    const record = save(context, {
      ...{ id, phase: "attaching", as, driver, sizeBytes, memoryMax, codec, threads, hasImage },
      ...(mount === undefined ? {} : { mount }),
      since: new Date().toISOString(),
    });
    try {
      return await attachSteps(context, request, record);
    } catch (error) {
      await undo(context, id);
      throw error;
    }
  } finally {
    release();
  }
}

/** A failed undo is reported; the error that has led to it is thrown by the caller. */
async function undo(context: Context, id: string): Promise<void> {
  try {
    const record = context.states.read(id);
    if (record !== undefined) await removeDevice(unstoppable(context), record, { force: true });
  } catch (error) {
    if (!(error instanceof ZcacheError)) throw error;
    context.warn(`${error.message}; \`zcache detach ${id}\` undoes the rest`);
  }
}

async function attachSteps(
  context: Context,
  request: Request,
  record: Attached,
): Promise<Attached> {
  const group = await makeGroup(context, record);
  const served = await startServer(context, request, record, group);
  const connected = await driverOf(record).connect(context, served, group);
  await reportProtection(context, connected, group);
  const device = connected.device!;
  const mark = context.states.pathsOf(record.id).folder;
  const run = (program: string, args: readonly string[]) =>
    context.machine.run(program, args, { signal: context.signal, mark });
  if (request.as === "swap") await useAsSwap(run, device, request.priority);
  else await useAsDisk(run, device, request);
  context.signal?.throwIfAborted();
  return save(context, connected, { phase: "attached" });
}

async function startServer(
  context: Context,
  request: Request,
  record: Attached,
  group: Group,
): Promise<Attached> {
  const { machine, states } = context;
  const { socket, control, log, folder } = states.pathsOf(record.id);
  const [program = "", ...args] = request.server({ socket, control });
  const server = await machine.start({ program, args, log, mark: folder, group });
  const started = save(context, record, { server });
  await until(context, () => isServing(context, server, control, log));
  return started;
}

/** @throws ZcacheError ERR_SYSTEM: the daemon has ended, with its last line */
async function isServing(
  { machine }: Context,
  server: ProcessIdentity,
  control: string,
  log: string,
): Promise<boolean> {
  if (!machine.isAlive(server)) throw systemError(`the daemon has ended: ${lastLine(log)}`);
  if (!machine.exists(control)) return false;
  try {
    await machine.ask(control, { get: ["disksize"] }, REPLY_MS);
    return true;
  } catch (error) {
    if (error instanceof ZcacheError) return false;
    throw error;
  }
}

type Run = (program: string, args: readonly string[]) => Promise<string>;

async function useAsDisk(run: Run, device: string, request: Request): Promise<void> {
  const { mkfs, mount, mountOptions } = request;
  if (mkfs !== undefined) {
    const found = await contentOf(run, device);
    if (found !== undefined) {
      throw systemError(`--mkfs: ${device} has a file system already (${found}); omit --mkfs`);
    }
    await run(`mkfs.${mkfs}`, [...(MKFS_OPTIONS[mkfs] ?? []), device]);
  }
  if (mount !== undefined) await run("mount", ["-o", mountOptions, device, mount]);
}

async function useAsSwap(run: Run, device: string, priority: number): Promise<void> {
  const found = await contentOf(run, device);
  if (found !== undefined && found !== "swap") {
    throw systemError(`--as swap: ${device} has a file system (${found}), which would be lost`);
  }
  await run("mkswap", [device]);
  await run("swapon", ["--discard", "-p", String(priority), device]);
}

/** The type of what is on a device; undefined for nothing. */
async function contentOf(run: Run, device: string): Promise<string | undefined> {
  try {
    const type = await run("blkid", ["-p", "-o", "value", "-s", "TYPE", device]);
    return type.trim() === "" ? "of unknown type" : type.trim();
  } catch (error) {
    if (error instanceof ZcacheError && NOTHING.test(error.message)) return undefined;
    throw error;
  }
}

/** Undoes what an `attach` or `detach` that was killed has left; what is in use stays. */
async function removeInterrupted(context: Context): Promise<void> {
  const { states } = context;
  for (const id of states.ids()) {
    try {
      const record = states.read(id);
      if (record === undefined || record.phase === "attached") continue;
      if (states.holderOf(id) !== undefined) continue;
      const release = states.lock(id);
      try {
        const again = states.read(id);
        if (again === undefined || again.phase === "attached") continue;
        await removeDevice(context, again, { force: false });
        context.warn(`${id}: an interrupted attach or detach was undone`);
      } finally {
        release();
      }
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      context.warn(`warning: ${id}: not undone: ${error.message}`);
    }
  }
}
