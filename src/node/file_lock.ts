// A file that only one process may use: `path.lock` beside it names the process.
//
// Node has no flock. The lock file is made as a whole or not at all (a link to a finished file), so
// nobody sees half of one; and a process that is gone, or another one under its number, is told by
// the time at which the process began.
import { linkSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { ZcacheError } from "../base/errors.ts";

/** Field 22 of /proc/…/stat, counted behind the program's name. */
const START_FIELD = 22 - 3;
/** How often two processes may find the same lock stale at the same time. */
const ATTEMPTS = 10;

/** Takes the lock. @returns what gives it back  @throws ZcacheError ERR_FILE_LOCKED, ERR_IO */
export function lockFile(path: string): () => void {
  const lock = `${path}.lock`;
  const own = `${lock}.${process.pid}`;
  const text = `${process.pid} ${startOf(process.pid)}\n`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      writeFileSync(own, text);
      linkSync(own, lock);
      unlinkSync(own);
      return () => {
        if (readText(lock) === text) unlinkSync(lock);
      };
    } catch (cause) {
      removeIfThere(own);
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") {
        throw new ZcacheError("ERR_IO", `${lock} can't be made: ${(cause as Error).message}`, {
          cause,
        });
      }
    }
    const holder = readText(lock);
    const [pid, start] = holder.split(" ");
    if (holder !== "" && startOf(Number(pid)) === start?.trim()) {
      throw new ZcacheError("ERR_FILE_LOCKED", `${path} is in use by process ${pid}`, {
        context: { path, pid: Number(pid) },
      });
    }
    // Its process is gone. Two that find this out may both remove it; one of them makes it anew.
    removeIfThere(lock);
  }
  throw new ZcacheError("ERR_FILE_LOCKED", `${lock} is taken by one process after the other`);
}

/** When a process began, in ticks of the system; "gone" if there is none, "" if nobody can tell. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_FIELD]!;
  } catch {
    // Without /proc: whether somebody has this number.
    if (process.platform === "linux") return "gone";
  }
  try {
    process.kill(pid, 0);
    return "";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "" : "gone";
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // not there any more
  }
}
