// How much memory this process may still take before the system ends a process: what is left below
// the limits of its control groups and of the machine, less nothing that the system can drop by
// itself. Files of control groups in version 2 and 1, and of /proc; all are read anew each time.
import { join } from "node:path";
import { KIB } from "../base/units.ts";
import { groupFolders, textOf } from "./machine_memory.ts";

export interface AvailableMemory {
  readonly availableBytes: number;
  /** The limit that is nearest: of a control group, or the machine's memory. */
  readonly limitBytes: number;
  readonly source: "machine" | "control group";
  /**
   * Time that tasks have waited for memory since the start of the machine, in us: the `some` line
   * of the group's memory.pressure, or of /proc/pressure/memory. Undefined where it is not counted.
   */
  readonly stalledUs: number | undefined;
}

interface Version {
  readonly limit: string;
  readonly usage: string;
  /** Names in `memory.stat` of memory that the system can drop or write to files. */
  readonly files: readonly string[];
}

const VERSIONS: readonly Version[] = [
  { limit: "memory.max", usage: "memory.current", files: ["inactive_file", "active_file"] },
  {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
  },
];

/**
 * @param root the folder of /proc and /sys, for tests
 * @returns undefined on systems without these files
 */
export function availableMemory(root = "/"): AvailableMemory | undefined {
  let nearest = machineAvailable(root);
  for (const folder of groupFolders(join(root, "proc/self/cgroup"))) {
    const group = groupAvailable(join(root, "sys/fs/cgroup", folder), root);
    if (group === undefined) continue;
    if (nearest === undefined || group.availableBytes < nearest.availableBytes) nearest = group;
  }
  return nearest;
}

function machineAvailable(root: string): AvailableMemory | undefined {
  const text = textOf(join(root, "proc/meminfo"));
  const availableBytes = field(text, "MemAvailable:") * KIB;
  const limitBytes = field(text, "MemTotal:") * KIB;
  if (Number.isNaN(availableBytes) || Number.isNaN(limitBytes)) return undefined;
  return { availableBytes, limitBytes, source: "machine", stalledUs: stalledIn(root) };
}

/** @returns undefined if the group has no limit */
function groupAvailable(folder: string, root: string): AvailableMemory | undefined {
  for (const { limit, usage, files } of VERSIONS) {
    const limitBytes = Number(textOf(join(folder, limit)).trim() || "max");
    // Version 1 has a huge number for "no limit", version 2 the word "max".
    if (!(limitBytes < Number.MAX_SAFE_INTEGER)) continue;
    const usedBytes = Number(textOf(join(folder, usage)).trim() || "none");
    if (Number.isNaN(usedBytes)) continue;
    const stat = textOf(join(folder, "memory.stat"));
    const fileBytes = files.reduce((sum, name) => sum + (field(stat, name) || 0), 0);
    return {
      availableBytes: Math.max(0, limitBytes - usedBytes + fileBytes),
      limitBytes,
      source: "control group",
      stalledUs: stalledUs(textOf(join(folder, "memory.pressure"))) ?? stalledIn(root),
    };
  }
  return undefined;
}

function stalledIn(root: string): number | undefined {
  return stalledUs(textOf(join(root, "proc/pressure/memory")));
}

function stalledUs(pressure: string): number | undefined {
  const total = /^some .*total=(\d+)/m.exec(pressure)?.[1];
  return total === undefined ? undefined : Number(total);
}

/** The number behind a name at the start of a line; NaN if there is none. */
function field(text: string, name: string): number {
  const at = text.startsWith(name) ? 0 : text.indexOf(`\n${name}`);
  return at < 0 ? Number.NaN : Number.parseInt(text.slice(at).trim().slice(name.length), 10);
}
