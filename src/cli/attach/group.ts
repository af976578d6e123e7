// A control group whose memory is not swapped out, for the processes that serve a device. In cgroup
// version 2 that is `memory.swap.max` = 0, in version 1 `memory.swappiness` = 0.
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Group } from "./machine.ts";

const ROOT = "/sys/fs/cgroup";

interface Version {
  /** The folder of the memory controller. */
  readonly top: string;
  readonly file: string;
}

function versionAt(root: string): Version | undefined {
  // Version 1 first: where both are mounted, its hierarchy has the memory controller.
  const one = join(root, "memory");
  if (existsSync(join(one, "memory.limit_in_bytes")))
    return { top: one, file: "memory.swappiness" };
  if (existsSync(join(root, "cgroup.controllers"))) return { top: root, file: "memory.swap.max" };
  return undefined;
}

/**
 * Makes the group, or takes the one of that name.
 * @param root the folder of control groups, for tests
 */
export function swaplessGroup(name: string, root = ROOT): Group {
  const version = versionAt(root);
  if (version === undefined) return { procs: undefined, refusal: "no memory control groups" };
  const { top, file } = version;
  const folder = join(top, name);
  try {
    if (top === root) writeFileSync(join(root, "cgroup.subtree_control"), "+memory");
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    return { procs: undefined, refusal: (error as Error).message };
  }
  const procs = join(folder, "cgroup.procs");
  try {
    writeFileSync(join(folder, file), "0");
    return { procs, refusal: undefined };
  } catch (error) {
    return { procs, refusal: (error as Error).message };
  }
}

/** Removes the group. @returns false if it still has processes */
export function removeSwaplessGroup(name: string, root = ROOT): boolean {
  const version = versionAt(root);
  if (version === undefined) return true;
  try {
    rmdirSync(join(version.top, name));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EBUSY";
  }
}
