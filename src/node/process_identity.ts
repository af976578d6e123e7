// Tells a process from a later one with the same number: by its start time, and by the ID that the
// machine makes at each boot.
import { readFileSync } from "node:fs";

/** Field 22 of /proc/…/stat, counted from after the program's name. */
const START_FIELD = 22 - 3;
/** The ID that Linux makes at each boot. */
const BOOT = "/proc/sys/kernel/random/boot_id";
/** States of a process that has ended, the field after its name: zombie, dead. */
const ENDED: readonly string[] = ["Z", "X"];

/** A process: its number, its start time, and the boot ID. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: string;
  readonly boot: string;
}

export function identityOf(pid: number): ProcessIdentity {
  return { pid, start: startOf(pid), boot: bootId() };
}

/** Whether a process of this machine still runs; false for one of another machine. */
export function isAlive({ pid, start, boot }: ProcessIdentity): boolean {
  return start !== "gone" && startOf(pid) === start && bootId() === boot;
}

/** Empty on systems without one. */
export function bootId(): string {
  try {
    return readFileSync(BOOT, "latin1").trim();
  } catch {
    return "";
  }
}

/** The start of a process in clock ticks; "gone" if there is no process, "-" if unknown. */
export function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie has no open files.
    return ENDED.includes(fields[0]!) ? "gone" : fields[START_FIELD]!;
  } catch {
    // On systems without /proc: whether a process has this number.
    if (process.platform === "linux") return "gone";
  }
  try {
    process.kill(pid, 0);
    return "-";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "-" : "gone";
  }
}
