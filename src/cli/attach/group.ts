// Control groups: the one of a device, whose memory is not swapped out, and all those that have no
// room for their swapped pages. In cgroup version 2, `memory.swap.max` = 0 keeps a group from being
// swapped, in version 1 `memory.swappiness` = 0.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { FullGroup, Group } from "./machine.ts";

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

/**
 * The groups whose limit does not leave room for what they have swapped. Memory of files does not
 * count, because the system can drop it.
 */
export function fullGroups(root = ROOT): FullGroup[] {
  const version = versionAt(root);
  if (version === undefined) return [];
  return foldersBelow(version.top).flatMap((folder) => {
    const stat = textOf(join(folder, "memory.stat"));
    const field = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1]);
    const [anonymous, swappedBytes, limit] =
      version.top === root
        ? [field("anon"), numberIn(folder, "memory.swap.current"), numberIn(folder, "memory.max")]
        : [field("total_rss"), field("total_swap"), field("hierarchical_memory_limit")];
    const roomBytes = Math.max(0, limit! - anonymous!);
    // Not a number: the group has no limit, or the system does not count its swapped pages.
    if (!(swappedBytes! > roomBytes)) return [];
    return [{ name: folder.slice(version.top.length + 1), swappedBytes: swappedBytes!, roomBytes }];
  });
}

/** All folders below a folder, from the top to the bottom. */
function foldersBelow(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(folder, name))
      .flatMap((path) => [path, ...foldersBelow(path)]);
  } catch {
    return []; // The group has just been removed.
  }
}

function numberIn(folder: string, file: string): number {
  return Number(textOf(join(folder, file)).trim() || "max");
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
