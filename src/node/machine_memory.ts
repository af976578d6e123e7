// How much memory this process may use: what the machine has, or less where its control group is
// limited, as those of containers and of systemd's services are.
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { formatBytes } from "../base/units.ts";

export interface MachineMemory {
  readonly bytes: number;
  readonly source: "machine" | "control group";
}

/** Files of version 2 and of version 1, below the folder of a group. */
const LIMIT_FILES = ["memory.max", "memory.limit_in_bytes"];

/**
 * @param root where /proc and /sys are, for tests
 * @param machineBytes what the machine has, for tests
 */
export function machineMemory(root = "/", machineBytes: number = totalmem()): MachineMemory {
  let bytes = machineBytes;
  let source: MachineMemory["source"] = "machine";
  for (const folder of groupFolders(join(root, "proc/self/cgroup"))) {
    for (const file of LIMIT_FILES) {
      // Version 1 says "none" by a number that no machine has; version 2 says "max".
      const limit = Number(textOf(join(root, "sys/fs/cgroup", folder, file)).trim() || "max");
      if (!(limit > 0 && limit < bytes)) continue;
      bytes = limit;
      source = "control group";
    }
  }
  return { bytes, source };
}

/** Folders of the groups that count this process's memory: its own, and all above it. */
function groupFolders(path: string): string[] {
  const folders: string[] = [];
  for (const line of textOf(path).split("\n")) {
    const [, controllers = "", group = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const isMemory = controllers === "" || controllers.split(",").includes("memory");
    if (!isMemory || group === "") continue;
    const top = controllers === "" ? "" : "memory";
    for (let at = group; ; at = dirname(at)) {
      folders.push(join(top, at));
      if (at === "/" || at === ".") break;
    }
  }
  return folders;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** @returns a warning if so many bytes are more than this process may use */
export function memoryWarning(
  what: string,
  wantedBytes: number,
  { bytes, source }: MachineMemory = machineMemory(),
): string | undefined {
  if (wantedBytes <= bytes) return undefined;
  const whose = source === "machine" ? "the machine has" : "its control group allows";
  return `${what} is ${formatBytes(wantedBytes)}, more than the ${formatBytes(bytes)} that \
${whose}: the system may end the process before it is full`;
}

let isWarned = false;

/** Warns of it once in a process. @param warn says it (default: as Node says warnings) */
export function warnOfMemory(
  what: string,
  wantedBytes: number,
  warn: (text: string) => void = (text) => process.emitWarning(text, "ZcacheWarning"),
): void {
  if (isWarned) return;
  const text = memoryWarning(what, wantedBytes);
  if (text === undefined) return;
  isWarned = true;
  warn(text);
}
