// Resident memory of processes, as the kernel counts it, and disk space of files.
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Resident {
  /** Bytes now, and the peak. */
  readonly nowBytes: number;
  readonly peakBytes: number;
}

/** @param pid number of the process (default: this process) */
export function residentOf(pid: number | "self" = "self"): Resident {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytesOf = (name: string) =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN);
  return { nowBytes: bytesOf("VmRSS"), peakBytes: bytesOf("VmHWM") };
}

/** The sum for this process and its helper processes. */
export function residentWith(helpers: readonly number[]): Resident {
  const all = [residentOf(), ...helpers.map(residentOf)];
  return {
    nowBytes: all.reduce((sum, one) => sum + one.nowBytes, 0),
    peakBytes: all.reduce((sum, one) => sum + one.peakBytes, 0),
  };
}

/** Bytes on the disk of all files below a folder; holes of sparse files do not count. */
export function fileBytes(folder: string): number {
  return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(folder, entry.name);
    return sum + (entry.isDirectory() ? fileBytes(path) : lstatSync(path).blocks * 512);
  }, 0);
}
