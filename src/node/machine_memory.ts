// How much memory this process may use: the machine's memory, or the limit of its control group,
// which containers and services of systemd have.
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { formatBytes, GIB } from "../base/units.ts";

export interface MachineMemory {
  readonly bytes: number;
  readonly source: "machine" | "control group";
}

/** The files of the limit in a group's folder, of cgroup version 2 and 1. */
const LIMIT_FILES = ["memory.max", "memory.limit_in_bytes"];

/**
 * @param root the folder of /proc and /sys, for tests
 * @param machineBytes the machine's memory, for tests
 */
export function machineMemory(root = "/", machineBytes: number = totalmem()): MachineMemory {
  let bytes = machineBytes;
  let source: MachineMemory["source"] = "machine";
  for (const folder of groupFolders(join(root, "proc/self/cgroup"))) {
    for (const file of LIMIT_FILES) {
      // Version 1 has a huge number for "no limit", version 2 the word "max".
      const limit = Number(textOf(join(root, "sys/fs/cgroup", folder, file)).trim() || "max");
      if (!(limit > 0 && limit < bytes)) continue;
      bytes = limit;
      source = "control group";
    }
  }
  return { bytes, source };
}

/**
 * Folders, below /sys/fs/cgroup, of the memory control groups whose limits count: the process's
 * group and all above it.
 */
export function groupFolders(path: string): string[] {
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

/** A file's text; "" if it can't be read. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** @returns a warning if `wantedBytes` are more than this process may use */
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

/** Emits that warning, once in a process. @param warn (default: a warning of the process) */
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

/** Addresses that V8 reserves for a WebAssembly memory, whatever its size. */
export const RESERVED_BYTES = 10 * GIB;

/** Bytes of address space that this process may use (`ulimit -v`); undefined: not limited. */
export function addressSpaceLimit(root = "/"): number | undefined {
  const limits = textOf(join(root, "proc/self/limits"));
  const soft = /^Max address space\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}
