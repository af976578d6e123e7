// The two ways from the daemon's socket to a block device: the kernel's nbd driver, or nbdfuse with
// a loop device. `connect` records what it is about to do before it does it, and `disconnect` looks
// at the machine, not only at the record. So `disconnect` undoes whatever was done, also after
// `connect` was killed between two steps.
import { writeFileSync } from "node:fs";
import { ZcacheError } from "../../base/errors.ts";
import { type Context, groupOf, save, systemError, until } from "./context.ts";
import { lastLine } from "./log.ts";
import type { Group } from "./machine.ts";
import type { Attached, Paths } from "./state.ts";

/** Devices and mounts disappear a moment after they were released. */
const RELEASE_MS = 10_000;
const REPLY_MS = 5000;
/** Blocks of the device, in bytes. */
export const BLOCK_BYTES = 4096;

export interface DeviceDriver {
  /** Makes the block device. @returns the state with its name */
  connect(context: Context, record: Attached, group: Group): Promise<Attached>;
  /** Removes the block device, if there is one. */
  disconnect(context: Context, record: Attached): Promise<void>;
  /** Whether the block device is connected. */
  isConnected(context: Context, record: Attached): boolean;
}

export function driverOf({ driver }: Attached): DeviceDriver {
  return driver === "nbd" ? kernelNbd : nbdfuse;
}

const nbdfuse: DeviceDriver = {
  async connect(context, record, group) {
    const { machine, states, signal } = context;
    const paths = states.pathsOf(record.id);
    writeFileSync(paths.file, "");
    const fuse = await machine.start({
      program: "nbdfuse",
      args: [paths.file, "--unix", paths.socket],
      ...{ log: paths.log, mark: paths.folder, group },
    });
    const started = save(context, record, { fuse });
    await until(context, () => {
      if (isMounted(context, paths)) return true;
      if (machine.isAlive(fuse)) return false;
      throw systemError(`nbdfuse has ended: ${lastLine(paths.log)}`);
    });
    const args = ["--direct-io=on", "--find", "--show", paths.file];
    const device = (await machine.run("losetup", args, { signal, mark: paths.folder })).trim();
    return save(context, started, { device });
  },

  async disconnect(context, { id }) {
    const { machine, states } = context;
    const paths = states.pathsOf(id);
    for (const { device } of loopsOf(context, paths)) await machine.run("losetup", ["-d", device]);
    const isGone = () => loopsOf(context, paths).length === 0;
    if (!(await until(context, isGone, RELEASE_MS))) {
      const names = loopsOf(context, paths).map(({ device }) => device);
      throw systemError(`${names.join(", ")}: the kernel still uses the loop device`);
    }
    // A mount is busy until the kernel has closed the file behind the loop device.
    let why: unknown;
    const isUnmounted = await until(
      context,
      async () => {
        if (!isMounted(context, paths)) return true;
        try {
          await machine.run("umount", [paths.file]);
        } catch (error) {
          why = error;
        }
        return !isMounted(context, paths);
      },
      RELEASE_MS,
    );
    if (!isUnmounted) throw why;
  },

  isConnected(context, { id, device }) {
    return loopsOf(context, context.states.pathsOf(id)).some((one) => one.device === device);
  },
};

/** The loop devices over the file of nbdfuse, one at most unless someone else made more. */
function loopsOf({ machine }: Context, { file }: Paths) {
  return machine.loops().filter((loop) => loop.file.replace(/ \(deleted\)$/, "") === file);
}

function isMounted({ machine }: Context, { file }: Paths): boolean {
  return machine.mounts().some(({ target }) => target === file);
}

const kernelNbd: DeviceDriver = {
  async connect(context, record) {
    const { machine, states, signal } = context;
    const { socket, folder: mark } = states.pathsOf(record.id);
    const swap = record.as === "swap" ? ["-swap"] : [];
    for (const device of freeNbds(context)) {
      const tried = save(context, record, { device });
      try {
        const args = ["-unix", socket, device, "-b", String(BLOCK_BYTES), ...swap];
        await machine.run("nbd-client", args, { signal, mark });
        return tried;
      } catch (error) {
        if (!(error instanceof ZcacheError) || !isUsed(context, device)) throw error;
        if (await isOurs(context, tried)) throw error;
        // Another program has taken the device in between.
        save(context, record);
      }
    }
    throw systemError("all nbd devices are in use; modprobe nbd nbds_max=N makes more of them");
  },

  async disconnect(context, record) {
    const { device } = record;
    if (!isUsed(context, device) || !(await isOurs(context, record))) return;
    await context.machine.run("nbd-client", ["-d", device!]);
    if (await until(context, () => !isUsed(context, device), RELEASE_MS)) return;
    throw systemError(`${device}: the kernel still uses the nbd device`);
  },

  isConnected(context, { device }) {
    return isUsed(context, device);
  },
};

function isUsed({ machine }: Context, device: string | undefined): boolean {
  return machine.nbds().some((one) => one.device === device && one.isConnected);
}

/**
 * Whether an nbd device that is connected is connected to this daemon: another program may have
 * connected it first. A daemon that does not answer is taken to be.
 */
async function isOurs({ machine, states }: Context, { id }: Attached): Promise<boolean> {
  try {
    const { control } = states.pathsOf(id);
    const { server } = (await machine.ask(control, { stats: true }, REPLY_MS)) as Partial<Served>;
    return server === undefined || server.connections > 0;
  } catch (error) {
    if (error instanceof ZcacheError) return true;
    throw error;
  }
}

/** The part of a daemon's statistics that tells whether it has clients. */
interface Served {
  readonly server: { readonly connections: number };
}

/** Devices of the kernel's nbd that neither it nor a device of ours uses. */
function freeNbds({ machine, states }: Context): string[] {
  const taken = states.ids().map((id) => deviceIn(states, id));
  return machine
    .nbds()
    .filter(({ device, isConnected }) => !isConnected && !taken.includes(device))
    .map(({ device }) => device);
}

/** The device of a state file; undefined for a file that can't be read. */
function deviceIn(states: Context["states"], id: string): string | undefined {
  try {
    return states.read(id)?.device;
  } catch (error) {
    if (error instanceof ZcacheError) return undefined;
    throw error;
  }
}

/** The group of a device, made for its processes. */
export function makeGroup(context: Context, { id }: Attached): Promise<Group> {
  return context.machine.makeGroup(groupOf(context, id));
}
