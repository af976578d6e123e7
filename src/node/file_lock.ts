// A file that only one process may use: `path.lock` beside it names the process.
//
// Node has no flock. The lock file is made as a whole or not at all (a link to a finished file), so
// nobody sees half of one; and a process that is gone, or another one under its number, is told by
// the time at which the process began, and by which start of the machine.
//
//   path.lock           who has the file: a process
//   path.lock.P.R       a claim: somebody in process P, R is random, is about to take the lock
//
// To remove the lock of a process that is gone is the delicate step: of two that have found it
// stale, the slower would remove the lock that the faster has made since. So it is removed only by
// one that has a claim and sees nobody else's: of two that claim and then look, one sees the other
// at least. Claims of the dead have names that nobody uses again: anyone may remove them.
import { randomBytes } from "node:crypto";
import { linkSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZcacheError } from "../base/errors.ts";

/** Field 22 of /proc/…/stat, counted behind the program's name. */
const START_FIELD = 22 - 3;
/** A number that Linux makes at each start. */
const BOOT = "/proc/sys/kernel/random/boot_id";
/** States of a process, the field behind its name: zombie, dead. */
const ENDED: readonly string[] = ["Z", "X"];
/** Looks at what others do who want the lock at the same time: 50 to 100 µs each. */
const ATTEMPTS = 2000;

/** Takes the lock. @returns what gives it back  @throws ZcacheError ERR_FILE_LOCKED, ERR_IO */
export function lockFile(path: string): () => void {
  const lock = `${path}.lock`;
  const claim = `${lock}.${process.pid}.${randomBytes(6).toString("hex")}`;
  const own = nameOf(process.pid);
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (takeLock(claim, lock, own)) return () => removeLock(lock, own);
      const holder = readText(lock);
      if (holder === undefined) continue;
      if (isAlive(holder)) throw lockedError(path, holder);
      const rivals = livingClaims(lock).filter((name) => name !== claim);
      if (rivals.length === 0) removeLock(lock, holder);
      // Of those that see each other, all but one step back, until that one has done its work.
      else if (rivals.some((name) => name < claim)) {
        removeIfThere(claim);
        while (attempt++ < ATTEMPTS && livingClaims(lock).some((name) => name < claim));
      }
    }
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    throw new ZcacheError("ERR_IO", `${lock} can't be made: ${(cause as Error).message}`, {
      context: { path: lock, code: (cause as NodeJS.ErrnoException).code },
      cause,
    });
  } finally {
    removeIfThere(claim);
  }
  throw new ZcacheError("ERR_FILE_LOCKED", `others want ${path} at the same time: try again`, {
    context: { path },
  });
}

function lockedError(path: string, holder: string): ZcacheError {
  const pid = Number.parseInt(holder, 10);
  return new ZcacheError("ERR_FILE_LOCKED", `${path} is in use by process ${pid}`, {
    context: { path, pid },
  });
}

function takeLock(claim: string, lock: string, own: string): boolean {
  writeFileSync(claim, own, { mode: 0o600 });
  try {
    linkSync(claim, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Looked at once more: it may be another's by now. */
function removeLock(lock: string, holder: string): void {
  if (readText(lock) === holder) removeIfThere(lock);
}

/** The claims of processes that live; those of the dead are removed. */
function livingClaims(lock: string): string[] {
  const living: string[] = [];
  for (const name of readdirSync(dirname(lock))) {
    if (!name.startsWith(`${basename(lock)}.`)) continue;
    const claim = join(dirname(lock), name);
    const text = readText(claim);
    // One that has no text yet has the number of its process in its name.
    const pid = Number.parseInt(name.slice(basename(lock).length + 1), 10);
    if (text === undefined) continue;
    if (text === "" ? startOf(pid) !== "gone" : isAlive(text)) living.push(claim);
    else removeIfThere(claim);
  }
  return living;
}

/** What names a process: its number, when it began, and since which start of the machine. */
function nameOf(pid: number): string {
  return `${pid} ${startOf(pid)} ${(readText(BOOT) ?? "").trim()}\n`;
}

function isAlive(name: string): boolean {
  return nameOf(Number.parseInt(name, 10)) === name;
}

/** When a process began, in ticks of the system; "gone" if there is none, "" if nobody can tell. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // One that has ended has no files open, though its parent has not asked for its end yet.
    return ENDED.includes(fields[0]!) ? "gone" : fields[START_FIELD]!;
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

/** @returns undefined if there is no such file, or it can't be read */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // not there any more
  }
}
