// A file that only one process may use: `path.lock` beside it names the process.
//
// Node has no flock. The lock file is made as a whole or not at all (a link to a finished file), so
// nobody sees half of one; and a process that is gone, or another one under its number, is told by
// the time at which the process began, and by which start of the machine.
//
//   path.lock           who has the file: "zcache lock 1 PID START BOOT\n"
//   path.lock.P.R       a claim: somebody in process P, R is random, is about to take the lock
//
// To remove the lock of a process that is gone is the delicate step: of two that have found it
// stale, the slower would remove the lock that the faster has made since. So it is removed only by
// one that has a claim and sees nobody else's: of two that claim and then look, one sees the other
// at least. Claims of the dead have names that nobody uses again: anyone may remove them.
//
// Other programs use such names too. What is not known to be a lock of ours is left as it is.
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { bitsOff, NEAR_BITS } from "./signature.ts";

const NAME = "zcache lock ";
const VERSION = "1";
/** What a lock holds: the version, and what tells a process from all others. */
const LOCK = /^zcache lock (\S+) (\d+) (\S+) (\S*)\n/;
/** Before there were versions: "version 0". */
const LOCK_0 = /^(\d+) (\S+) (\S*)\n$/;
/** Bytes of a lock that are looked at. */
const LOCK_BYTES = 256;
/** Field 22 of /proc/…/stat, counted behind the program's name. */
const START_FIELD = 22 - 3;
/** A number that Linux makes at each start. */
const BOOT = "/proc/sys/kernel/random/boot_id";
/** States of a process, the field behind its name: zombie, dead. */
const ENDED: readonly string[] = ["Z", "X"];
/** Looks at what others do who want the lock at the same time: 50 to 100 µs each. */
const ATTEMPTS = 2000;
/** And attempts to give the lock back. */
const RELEASE_ATTEMPTS = 3;

/** A process: its number, when it began, and since which start of the machine. */
interface Holder {
  readonly pid: number;
  readonly start: string;
  readonly boot: string;
}

/** What stands in a lock. */
type Lock =
  | { readonly state: "held"; readonly by: Holder; readonly text: string }
  | { readonly state: "damaged"; readonly text: string }
  | { readonly state: "foreign"; readonly why: string };

/**
 * Takes the lock. @returns what gives it back
 * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if a foreign file has the lock's name; ERR_IO
 */
export function lockFile(path: string): () => void {
  const lock = `${path}.lock`;
  const claim = `${lock}.${process.pid}.${randomBytes(6).toString("hex")}`;
  const own = textOf(holderOf(process.pid));
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (takeLock(claim, lock, own)) {
        const { ino } = lstatSync(claim, { bigint: true });
        return () => releaseLock(lock, own, ino);
      }
      const found = readLock(lock);
      if (found === undefined) continue;
      if (found.state === "foreign") throw foreignError(lock, found.why);
      if (found.state === "held" && isAlive(found.by)) throw lockedError(path, found.by.pid);
      const rivals = livingClaims(lock).filter((name) => name !== claim);
      if (rivals.length === 0) removeLock(lock, found.text);
      // Of those that see each other, all but one step back, until that one has done its work.
      else if (rivals.some((name) => name < claim)) {
        removeIfThere(claim);
        while (attempt++ < ATTEMPTS && livingClaims(lock).some((name) => name < claim));
      }
    }
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    throw failedError(path, lock, cause as NodeJS.ErrnoException);
  } finally {
    removeIfThere(claim);
  }
  throw new ZcacheError("ERR_FILE_LOCKED", `others want ${path} at the same time: try again`, {
    context: { path },
  });
}

function lockedError(path: string, pid: number): ZcacheError {
  const who = pid === process.pid ? `process ${pid}, which is this one` : `process ${pid}`;
  const what = "use another path, or end what uses it";
  return new ZcacheError("ERR_FILE_LOCKED", `${path} is in use by ${who}: ${what}`, {
    context: { path, pid },
  });
}

function foreignError(lock: string, why: string): ZcacheError {
  const what = "left as it is; use another path, or move the file away";
  return new ZcacheError("ERR_OPTION", `${lock} ${why}: ${what}`, { context: { path: lock } });
}

function failedError(path: string, lock: string, cause: NodeJS.ErrnoException): ZcacheError {
  const { code, message } = cause;
  const folder = dirname(path);
  const why =
    code === "ENOENT" || code === "ENOTDIR"
      ? `there is no folder ${folder}: make it, or use another path`
      : code === "EACCES" || code === "EPERM" || code === "EROFS"
        ? `nothing can be made in ${folder} (${code}): allow it, or use another path`
        : message;
  return new ZcacheError("ERR_IO", `${lock} can't be made: ${why}`, {
    context: { path: lock, code },
    cause,
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

/**
 * Gives this process's own lock back. That the lock can't be read, for want of a descriptor, say,
 * is no reason to leave it: the file is known by its number too.
 */
function releaseLock(lock: string, own: string, ino: bigint): void {
  for (let attempt = 0; attempt < RELEASE_ATTEMPTS; attempt++) {
    try {
      const text = readText(lock);
      if (text !== own && text !== NO_FILE) return;
      if (lstatSync(lock, { bigint: true }).ino === ino) unlinkSync(lock);
      return;
    } catch {
      // A disk that fails once may do better the next time.
    }
  }
}

/** Looked at once more: it may be another's by now. */
function removeLock(lock: string, text: string): void {
  if (readText(lock) === text) removeIfThere(lock);
}

/** @returns undefined if there is none any more */
function readLock(lock: string): Lock | undefined {
  const text = readText(lock);
  if (text === undefined) return undefined;
  if (text === NO_FILE) return { state: "foreign", why: "is no regular file" };
  const versioned = LOCK.exec(text);
  const fields = versioned?.slice(2) ?? LOCK_0.exec(text)?.slice(1);
  if (versioned !== null && versioned[1] !== VERSION) {
    const why = `is a lock of version ${versioned[1]}, and this zcache knows version ${VERSION}`;
    return { state: "foreign", why };
  }
  if (fields !== undefined) {
    const [pid = "", start = "", boot = ""] = fields;
    return { state: "held", by: { pid: Number(pid), start, boot }, text };
  }
  return isOurs(text)
    ? { state: "damaged", text }
    : { state: "foreign", why: "is no lock of ours" };
}

/**
 * Whether a text was a lock once, or another file of this library's: cut, made of zeros by a loss
 * of power, or with a few bits flipped.
 */
function isOurs(text: string): boolean {
  if (NAME.startsWith(text) || /^\0*$/.test(text) || text.startsWith("zcache ")) return true;
  const bits = bitsOff(Buffer.from(text, "latin1"), NAME);
  return text.length >= NAME.length && bits <= NEAR_BITS;
}

/** The claims of processes that live; those of the dead are removed. */
function livingClaims(lock: string): string[] {
  const living: string[] = [];
  const start = `${basename(lock)}.`;
  for (const name of readdirSync(dirname(lock))) {
    if (!name.startsWith(start)) continue;
    const match = /^(\d+)\.[0-9a-f]{12}$/.exec(name.slice(start.length));
    if (match === null) continue;
    const claim = join(dirname(lock), name);
    // One that is not finished has the number of its process in its name alone.
    const found = readLock(claim);
    if (found === undefined || found.state === "foreign") continue;
    const isHeld =
      found.state === "held" ? isAlive(found.by) : startOf(Number(match[1])) !== "gone";
    if (isHeld) living.push(claim);
    else removeIfThere(claim);
  }
  return living;
}

function holderOf(pid: number): Holder {
  return { pid, start: startOf(pid), boot: bootId() };
}

/** Without /proc nobody can tell when a process began: "-". */
function textOf({ pid, start, boot }: Holder): string {
  return `${NAME}${VERSION} ${pid} ${start} ${boot}\n`;
}

function isAlive({ pid, start, boot }: Holder): boolean {
  return start !== "gone" && startOf(pid) === start && bootId() === boot;
}

function bootId(): string {
  try {
    return readFileSync(BOOT, "latin1").trim();
  } catch {
    return "";
  }
}

/** When a process began, in ticks of the system; "gone" if there is none, "-" if unknown. */
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
    return "-";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "-" : "gone";
  }
}

/** What is there is no regular file, or can't be read: nothing that a text could be. */
const NO_FILE = "\uffff";

/** @returns its first bytes; undefined if there is no such file, NO_FILE if it can't be read */
function readText(path: string): string | undefined {
  let fd: number | undefined;
  try {
    if (!lstatSync(path).isFile()) return NO_FILE;
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = Buffer.alloc(LOCK_BYTES);
    return bytes.toString("latin1", 0, readSync(fd, bytes, 0, LOCK_BYTES, 0));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? undefined : NO_FILE;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // not there any more
  }
}
