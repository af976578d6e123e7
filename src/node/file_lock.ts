// A lock on a file that only one process may use: `path.lock` beside it names the process.
//
// Node has no flock. The lock file is made in one step, as a link to a complete file, so no process
// reads half of one. The start time of the process and the boot ID of the machine tell a process
// from a later one with the same number.
//
//   path.lock           the process that has the file: "zcache lock 1 PID START BOOT\n"
//   path.lock.P.R       a claim: process P is about to take the lock; R is random
//
// Removing the lock of a process that has ended is the delicate step: if two processes find it
// stale, the slower one could remove the lock that the faster one has made since. So a process
// removes it only if it has a claim and sees no other: of two processes that claim first and look
// then, at least one sees the other's claim. Names of claims are never used again, so any process
// may remove the claim of one that has ended.
//
// Other programs use names that end in .lock too: any other file is left as it is.
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { identityOf, isAlive, type ProcessIdentity, startOf } from "./process_identity.ts";
import { bitsOff, NEAR_BITS } from "./signature.ts";

const NAME = "zcache lock ";
const VERSION = "1";
/** The content of a lock: version, PID, START, BOOT. */
const LOCK = /^zcache lock (\S+) (\d+) (\S+) (\S*)\n/;
/** The content before there were versions. */
const LOCK_0 = /^(\d+) (\S+) (\S*)\n$/;
/** Bytes of a lock that are read. */
const LOCK_BYTES = 256;
/** Attempts to take a lock that other processes want too: 50 to 100 µs each. */
const ATTEMPTS = 2000;
/** Attempts to release a lock. */
const RELEASE_ATTEMPTS = 3;

/** A parsed lock. */
type Lock =
  | { readonly state: "held"; readonly by: ProcessIdentity; readonly text: string }
  | { readonly state: "damaged"; readonly text: string }
  | { readonly state: "foreign"; readonly why: string };

/**
 * Takes the lock. @returns releases the lock
 * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if a foreign file has the lock's name; ERR_IO
 */
export function lockFile(path: string): () => void {
  const lock = `${path}.lock`;
  const claim = `${lock}.${process.pid}.${randomBytes(6).toString("hex")}`;
  const own = textOf(identityOf(process.pid));
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
      // Of the processes that see each other, all but the first wait until that one is done.
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
  throw new ZcacheError(
    "ERR_FILE_LOCKED",
    `other processes are trying to lock ${path} at the same time: try again`,
    {
      context: { path },
    },
  );
}

/** The process that has the lock of a file; undefined: none that runs. */
export function lockHolder(path: string): number | undefined {
  const found = readLock(`${path}.lock`);
  return found?.state === "held" && isAlive(found.by) ? found.by.pid : undefined;
}

function lockedError(path: string, pid: number): ZcacheError {
  const who = pid === process.pid ? `process ${pid}, which is this one` : `process ${pid}`;
  const what = "use another path, or end that process";
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
      ? `there is no folder ${folder}: create it, or use another path`
      : code === "EACCES" || code === "EPERM" || code === "EROFS"
        ? `no write permission in ${folder} (${code}): correct it, or use another path`
        : message;
  return new ZcacheError("ERR_IO", `${lock} can't be created: ${why}`, {
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
 * Releases this process's lock. If the lock can't be read, for lack of a descriptor, say, its inode
 * tells whether it is this process's.
 */
function releaseLock(lock: string, own: string, ino: bigint): void {
  for (let attempt = 0; attempt < RELEASE_ATTEMPTS; attempt++) {
    try {
      const text = readText(lock);
      if (text !== own && text !== NO_FILE) return;
      if (lstatSync(lock, { bigint: true }).ino === ino) unlinkSync(lock);
      return;
    } catch {
      // The next attempt may succeed.
    }
  }
}

/** Removes a lock unless its content has changed: another process may have taken it. */
function removeLock(lock: string, text: string): void {
  if (readText(lock) === text) removeIfThere(lock);
}

/** @returns undefined if there is no lock */
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
    : { state: "foreign", why: "is not a lock of zcache" };
}

/**
 * Whether a text is a damaged lock, or another file of zcache: truncated, overwritten by zeros, or
 * with a few flipped bits.
 */
function isOurs(text: string): boolean {
  if (NAME.startsWith(text) || /^\0*$/.test(text) || text.startsWith("zcache ")) return true;
  const bits = bitsOff(Buffer.from(text, "latin1"), NAME);
  return text.length >= NAME.length && bits <= NEAR_BITS;
}

/** The claims of running processes; claims of ended ones are removed. */
function livingClaims(lock: string): string[] {
  const living: string[] = [];
  const start = `${basename(lock)}.`;
  for (const name of readdirSync(dirname(lock))) {
    if (!name.startsWith(start)) continue;
    const match = /^(\d+)\.[0-9a-f]{12}$/.exec(name.slice(start.length));
    if (match === null) continue;
    const claim = join(dirname(lock), name);
    // A claim whose content is not written yet has the process only in its name.
    const found = readLock(claim);
    if (found === undefined || found.state === "foreign") continue;
    const isHeld =
      found.state === "held" ? isAlive(found.by) : startOf(Number(match[1])) !== "gone";
    if (isHeld) living.push(claim);
    else removeIfThere(claim);
  }
  return living;
}

/** The content of a lock. START is "-" on systems without /proc. */
function textOf({ pid, start, boot }: ProcessIdentity): string {
  return `${NAME}${VERSION} ${pid} ${start} ${boot}\n`;
}

/** Stands for a file that is not regular or can't be read; no lock has this text. */
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
