// What `attach` needs of the machine, checked before anything is started: root, programs, drivers
// of the kernel, the folder to mount on. All missing programs are reported in one line, with the
// command that installs them on Debian and Ubuntu.
import { ZcacheError } from "../../base/errors.ts";
import { type Context, notRoot, systemError, until } from "./context.ts";
import type { Machine } from "./machine.ts";
import type { Attached } from "./state.ts";

export type Driver = Attached["driver"];

/** What is asked of the device, as far as it decides what is needed. */
export interface Wanted {
  readonly as: Attached["as"];
  readonly driver: Driver | "auto";
  /** The type of a new file system, such as ext4. */
  readonly mkfs: string | undefined;
  readonly mount: string | undefined;
}

/** The package of Debian that has a program. */
const PACKAGES: Readonly<Record<string, string>> = {
  nbdfuse: "libnbd-bin",
  "nbd-client": "nbd-client",
  losetup: "mount",
  mount: "mount",
  umount: "mount",
  swapon: "mount",
  swapoff: "mount",
  mkswap: "util-linux",
  blkid: "util-linux",
  "mkfs.ext2": "e2fsprogs",
  "mkfs.ext3": "e2fsprogs",
  "mkfs.ext4": "e2fsprogs",
  "mkfs.xfs": "xfsprogs",
  "mkfs.btrfs": "btrfs-progs",
  "mkfs.f2fs": "f2fs-tools",
  "mkfs.vfat": "dosfstools",
  "mkfs.exfat": "exfatprogs",
};
/** After modprobe, devices appear a moment later. */
const DEVICES_MS = 5000;
const NBD = "/dev/nbd0";
const FUSE = "/dev/fuse";
const LOOP = "/dev/loop-control";

/**
 * Chooses the driver, and checks that everything is there.
 * @throws ZcacheError ERR_SYSTEM naming all that is missing; ERR_OPTION for the folder of `mount`
 */
export async function checkRequirements(context: Context, wanted: Wanted): Promise<Driver> {
  const { machine } = context;
  if (!machine.isRoot) throw notRoot("attached");
  const driver = await chooseDriver(context, wanted.driver);
  const programs = [...programsOf(driver), ...programsFor(wanted)];
  const absent = [...new Set(programs)].filter((program) => !machine.has(program));
  if (absent.length > 0) throw missing(absent);
  const files = driver === "nbd" ? [NBD] : [FUSE, LOOP];
  for (const file of files) {
    if (machine.exists(file) || (await loadModule(context, file))) continue;
    throw systemError(`there is no ${file}: this kernel, or container, lacks its driver`);
  }
  if (wanted.as === "swap" && !machine.exists("/proc/swaps")) {
    throw systemError("this kernel has no swap");
  }
  if (wanted.mount !== undefined) checkMountPoint(machine, wanted.mount);
  return driver;
}

function programsOf(driver: Driver): string[] {
  return driver === "nbd" ? ["nbd-client"] : ["nbdfuse", "losetup", "umount"];
}

function programsFor({ as, mkfs, mount }: Wanted): string[] {
  if (as === "swap") return ["blkid", "mkswap", "swapon", "swapoff"];
  return [
    ...(mkfs === undefined ? [] : ["blkid", `mkfs.${mkfs}`]),
    ...(mount === undefined ? [] : ["mount", "umount"]),
  ];
}

/** The kernel's driver where it is, and nbdfuse elsewhere. */
async function chooseDriver(context: Context, wanted: Driver | "auto"): Promise<Driver> {
  if (wanted !== "auto") return wanted;
  const { machine } = context;
  if (!machine.has("nbd-client") && machine.has("nbdfuse")) return "nbdfuse";
  return machine.exists(NBD) || (await loadModule(context, NBD)) ? "nbd" : "nbdfuse";
}

const MODULES: Readonly<Record<string, string>> = { [NBD]: "nbd", [FUSE]: "fuse", [LOOP]: "loop" };

/** @returns whether the device is there then */
async function loadModule(context: Context, file: string): Promise<boolean> {
  const { machine, signal } = context;
  if (!machine.has("modprobe")) return false;
  try {
    await machine.run("modprobe", [MODULES[file]!], { signal });
  } catch (error) {
    if (error instanceof ZcacheError) return false;
    throw error;
  }
  return until(context, () => machine.exists(file), DEVICES_MS);
}

function missing(absent: readonly string[]): ZcacheError {
  const packages = absent.map((program) => PACKAGES[program]);
  const known = [...new Set(packages.filter((one) => one !== undefined))];
  const how = known.length === 0 ? "" : `; install with: apt-get install ${known.join(" ")}`;
  return systemError(`not installed: ${absent.join(", ")}${how}`);
}

function checkMountPoint(machine: Machine, folder: string): void {
  if (!machine.isFolder(folder)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `--mount: there is no folder ${folder}; make it with: mkdir -p ${folder}`,
    );
  }
  if (machine.mounts().some(({ target }) => target === folder)) {
    throw new ZcacheError("ERR_OPTION", `--mount: ${folder} is a mount point already`);
  }
}
