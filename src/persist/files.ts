// The files of persistence: their names, which of them a start needs, and how a new one replaces
// older ones. Their contents are described in docs/formats.md.
//
//   PATH.log.G            changes since snapshot G was begun, or since the previous log
//   PATH.snapshot.G       all values, as they were when log G was begun or a little later
//   PATH.snapshot.G.tmp   a snapshot in progress
//   PATH.log.lock         the process that owns the files (file_lock.ts)
//
// A snapshot gets its name when it is complete; then all files with lower numbers are removed.
//
// Damaged, missing and foreign files do not prevent a start. A file is removed only if its content
// shows that this library has written it; the number of any other file is skipped.
import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { attemptIo, ioError } from "../node/file_io.ts";
import { lockFile } from "../node/file_lock.ts";
import { random32 } from "../node/platform.ts";
import {
  type FileHeader,
  type FileIdentity,
  FORMAT_VERSIONS_READ,
  HEADER_BYTES,
  type Inspection,
  inspect,
  makeHeader,
} from "./header.ts";

/** Generations are below this number. */
const GENERATION_END = 2 ** 31;
/** A foreign file with a number from here on is not skipped: it would leave too few above it. */
const FOREIGN_END = 2 ** 30;

/** A file with a readable header. */
export interface PersistFile extends FileHeader {
  readonly path: string;
  readonly sizeBytes: number;
}

/** A file whose header can't be read; kind and generation are those of its name. */
export interface LostFile {
  readonly path: string;
  readonly kind: "log" | "snapshot";
  readonly generation: number;
  /** What is wrong with the file, for messages. */
  readonly why: string;
  /** Whether the file ends within its header, and so never had a record. */
  readonly isShort: boolean;
}

/** A file in the folder, by name and content. */
interface Found {
  readonly name: FileName;
  readonly is: Inspection;
}

interface FileName {
  readonly path: string;
  readonly kind: "log" | "snapshot";
  readonly generation: number;
  readonly isTmp: boolean;
}

export class PersistFiles {
  readonly path: string;
  /** The files that a start needs, oldest first: a snapshot, if any, then logs. */
  readonly found: readonly (PersistFile | LostFile)[];
  readonly #identity: FileIdentity;
  readonly #unlock: () => void;
  #keySeeds: readonly [number, number] | undefined;

  private constructor(
    path: string,
    found: readonly (PersistFile | LostFile)[],
    identity: FileIdentity,
    unlock: () => void,
  ) {
    this.path = path;
    this.found = found;
    this.#identity = identity;
    this.#unlock = unlock;
    this.#keySeeds = found.find(isReadable)?.keySeeds;
  }

  /**
   * Locks the files at a path for this process.
   * @param existing "discard" removes the files that this library has written
   * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if the files are of another version, or of a
   *   store with other settings; ERR_IO
   */
  static open(path: string, identity: FileIdentity, existing: "recover" | "discard"): PersistFiles {
    const unlock = lockFile(`${path}.log`);
    try {
      const all = namesOf(path).map((name) => ({ name, is: inspectAt(name.path) }));
      for (const { name, is } of all) {
        if (is.state === "foreign") continue;
        if (existing === "discard" || (name.isTmp && is.state !== "version")) remove(name.path);
      }
      if (existing !== "discard") checkReadable(all);
      const found = existing === "discard" ? [] : needed(path, all, identity);
      return new PersistFiles(path, found, identity, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Seeds of the key hash; undefined without any file. */
  get keySeeds(): readonly [number, number] | undefined {
    return this.#keySeeds;
  }

  /** A number above `above` and above those of all files, whatever they contain. */
  freeGeneration(above: number): number {
    const taken = namesOf(this.path).map(({ generation }) => generation);
    return taken.reduce((max, one) => (one < FOREIGN_END ? Math.max(max, one) : max), above) + 1;
  }

  /** Creates a log or a snapshot in progress, with its header. @throws ZcacheError ERR_IO */
  create(
    kind: "log" | "snapshot",
    generation: number,
    keySeeds: readonly [number, number],
  ): { readonly fd: number; readonly seed: number } {
    this.#keySeeds = keySeeds;
    const path = kind === "log" ? this.#log(generation) : `${this.#snapshot(generation)}.tmp`;
    const seed = random32();
    const fd = attemptIo(path, 0, () => openSync(path, "wx", 0o600));
    try {
      // The umask may have removed permissions of the owner.
      attemptIo(path, 0, () => fchmodSync(fd, 0o600));
      const identity = this.#identity;
      this.write(fd, 0, makeHeader({ kind, generation, seed, keySeeds, identity }));
    } catch (error) {
      this.close(fd);
      remove(path);
      throw error;
    }
    return { fd, seed };
  }

  /** As `LogWriter`. @throws ZcacheError ERR_IO */
  write(fd: number, offsetBytes: number, bytes: Uint8Array): void {
    writeAll(this.path, fd, offsetBytes, bytes);
  }

  /** @returns the number of bytes read, 0 at the end @throws ZcacheError ERR_IO */
  static read(file: PersistFile, fd: number, offsetBytes: number, target: Uint8Array): number {
    return attemptIo(file.path, offsetBytes, () =>
      readSync(fd, target, 0, target.length, offsetBytes),
    );
  }

  /** @returns a descriptor @throws ZcacheError ERR_IO */
  static openToRead({ path }: PersistFile): number {
    return attemptIo(path, 0, () => openSync(path, "r"));
  }

  /**
   * Writes the last record of a log, behind its last intact record. Errors are ignored: without
   * this record, a start only does not notice if the next log is missing.
   */
  static endLog({ path }: PersistFile, offsetBytes: number, record: Uint8Array): void {
    try {
      const fd = openSync(path, "r+");
      try {
        writeAll(path, fd, offsetBytes, record);
      } finally {
        closeSync(fd);
      }
    } catch {
      // See above.
    }
  }

  /** Waits until all that was written is on the device. @throws ZcacheError ERR_IO */
  sync(fd: number): void {
    attemptIo(this.path, 0, () => fsyncSync(fd));
  }

  /** As `sync`, without blocking this thread. */
  async syncLater(fd: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      fsync(fd, (cause) => {
        if (cause === null) resolve();
        else reject(ioError(this.path, 0, cause));
      });
    });
  }

  close(fd: number): void {
    closeFile(fd);
  }

  /** Names a complete snapshot, and removes the files it replaces. @throws ZcacheError ERR_IO */
  publish(generation: number): void {
    const path = this.#snapshot(generation);
    attemptIo(path, 0, () => renameSync(`${path}.tmp`, path));
    syncFolder(dirname(path));
    this.#removeIf((found, isTmp) => found < generation || isTmp);
  }

  /** Removes a snapshot in progress. */
  abandon(generation: number): void {
    remove(`${this.#snapshot(generation)}.tmp`);
  }

  /** Removes a log without records. */
  abandonLog(generation: number): void {
    remove(this.#log(generation));
  }

  /** Whether an open log was removed or replaced, so that no start would find its records. */
  isRemoved(fd: number, generation: number): boolean {
    const path = this.#log(generation);
    const named = attemptIo(path, 0, () => statSync(path, { throwIfNoEntry: false }));
    return named === undefined || named.ino !== attemptIo(path, 0, () => fstatSync(fd)).ino;
  }

  /** Removes all files. */
  removeAll(): void {
    this.#removeIf(() => true);
  }

  /** Lets other processes open the files. */
  unlock(): void {
    this.#unlock();
  }

  #log(generation: number): string {
    return `${this.path}.log.${generation}`;
  }

  #snapshot(generation: number): string {
    return `${this.path}.snapshot.${generation}`;
  }

  #removeIf(isReplaced: (generation: number, isTmp: boolean) => boolean): void {
    removeReplaced(this.path, String(this.#keySeeds), isReplaced);
  }
}

/** A `LogWriter` for another thread: descriptors belong to the process. @param path for messages */
export function logWriter(path: string) {
  return {
    write: (fd: number, offsetBytes: number, bytes: Uint8Array) =>
      writeAll(path, fd, offsetBytes, bytes),
  };
}

export function closeFile(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // What has to survive was synced before.
  }
}

/** All files whose names have the form of one of these files. */
function namesOf(path: string): FileName[] {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  return attemptIo(folder, 0, () => readdirSync(folder)).flatMap((name) => {
    if (!name.startsWith(start)) return [];
    const match = /^(log|snapshot)\.([1-9]\d{0,9})(\.tmp)?$/.exec(name.slice(start.length));
    if (match === null || (match[1] === "log" && match[3] !== undefined)) return [];
    const kind = match[1] as "log" | "snapshot";
    const generation = Number(match[2]);
    if (generation >= GENERATION_END) return [];
    return [{ path: join(folder, name), kind, generation, isTmp: match[3] !== undefined }];
  });
}

/** Whether the header of a file can be read. */
export function isReadable(file: PersistFile | LostFile): file is PersistFile {
  return "seed" in file;
}

/**
 * The last snapshot and the logs since it was begun. Files that it has replaced are removed.
 *
 * The header of a file tells what it is, not its name: names may have been exchanged. A name whose
 * file is not found under any name stands for a lost file.
 * @throws ZcacheError ERR_OPTION if files are of another version, or of a store with other settings
 */
function needed(
  path: string,
  all: readonly Found[],
  identity: FileIdentity,
): (PersistFile | LostFile)[] {
  const named = all.filter(({ name }) => !name.isTmp);
  for (const { name, is } of named) {
    if (is.state !== "version") continue;
    const which = `is of version ${JSON.stringify(is.version)} of these files`;
    throw otherError(name.path, `${which}, and this zcache reads ${FORMAT_VERSIONS_READ}`);
  }
  const whole = wholeOf(named);
  const seeds = seedsOf(whole);
  const own = whole.filter(({ keySeeds }) => String(keySeeds) === seeds);
  for (const file of own) checkIdentity(file, identity);
  const files = [...own, ...lostOf(named, own)];
  const last = own
    .filter(({ kind }) => kind === "snapshot")
    .reduce((max, { generation }) => Math.max(max, generation), 0);
  removeReplaced(path, seeds, (generation) => generation < last);
  const sorted = files
    .filter(({ generation }) => generation >= last)
    .sort((a, b) => a.generation - b.generation || (a.kind === "snapshot" ? -1 : 1));
  const end = sorted.at(-1);
  if (end !== undefined && !isReadable(end) && end.isShort) remove(end.path);
  return sorted;
}

/** The files with a readable header, each once: copies under other names are left out. */
function wholeOf(named: readonly Found[]): PersistFile[] {
  const files = new Map<string, PersistFile>();
  for (const { name, is } of named) {
    if (is.state !== "whole") continue;
    const { kind, generation } = is.header;
    const slot = `${kind}.${generation}`;
    const isNamedSo = kind === name.kind && generation === name.generation;
    if (files.has(slot) && !isNamedSo) continue;
    files.set(slot, { ...is.header, path: name.path, sizeBytes: is.sizeBytes });
  }
  return [...files.values()];
}

/** The seeds that most files have; among equals, those of the newest file. */
function seedsOf(files: readonly PersistFile[]): string | undefined {
  const counts = new Map<string, number>();
  const newestFirst = [...files].sort((a, b) => b.generation - a.generation);
  for (const { keySeeds } of newestFirst) {
    counts.set(String(keySeeds), (counts.get(String(keySeeds)) ?? 0) + 1);
  }
  let most: string | undefined;
  for (const [seeds, count] of counts) {
    if (most === undefined || count > counts.get(most)!) most = seeds;
  }
  return most;
}

/** The names whose file is unreadable or is another one, and whose own file was not found. */
function lostOf(named: readonly Found[], own: readonly PersistFile[]): LostFile[] {
  const slots = new Set(own.map(({ kind, generation }) => `${kind}.${generation}`));
  return named.flatMap(({ name, is }) => {
    const { path, kind, generation } = name;
    if (slots.has(`${kind}.${generation}`)) return [];
    const isShort = is.state === "damaged" && is.sizeBytes < HEADER_BYTES;
    return [{ path, kind, generation, why: whyOf(is), isShort }];
  });
}

function whyOf(is: Inspection): string {
  if (is.state === "whole") return "it holds the contents of another file";
  if (is.state === "version") return `it is of version ${is.version}`;
  return is.state === "foreign" ? `${is.why}: left as it is` : is.why;
}

/**
 * Refuses a start if no file can be read because of errors of the system: they may be temporary,
 * and a start without values would remove the files.
 * @throws ZcacheError ERR_IO
 */
function checkReadable(all: readonly Found[]): void {
  if (all.some(({ is }) => is.state === "whole" || is.state === "damaged")) return;
  for (const { name, is } of all) {
    if (is.state !== "foreign" || is.cause === undefined) continue;
    const what = 'repair that, or start without its values with existing: "discard"';
    throw new ZcacheError("ERR_IO", `persist: ${name.path}: ${is.why}: ${what}`, {
      context: { path: name.path, code: (is.cause as NodeJS.ErrnoException).code },
      cause: is.cause,
    });
  }
}

/** As `inspect`. @throws ZcacheError ERR_IO if the process has no descriptor or memory left */
function inspectAt(path: string): Inspection {
  return attemptIo(path, 0, () => inspect(path));
}

/** Removes files that this library has written and that are no longer needed. */
function removeReplaced(
  path: string,
  seeds: string | undefined,
  isReplaced: (generation: number, isTmp: boolean) => boolean,
): void {
  for (const { path: file, generation, isTmp } of namesOf(path)) {
    if (!isReplaced(generation, isTmp)) continue;
    const is = inspectAt(file);
    const isOwn = is.state === "whole" && String(is.header.keySeeds) === seeds;
    // The name of an older file may belong to one that is still needed.
    const isOld = isOwn && isReplaced(is.header.generation, isTmp);
    if (isOld || is.state === "damaged") remove(file);
  }
}

/** @throws ZcacheError ERR_OPTION if a store with these settings can't use the values of a file */
function checkIdentity({ path, identity }: PersistFile, wanted: FileIdentity): void {
  if (identity.front !== wanted.front) {
    const writer = identity.front === "" ? "a cache" : "a memcached server";
    throw otherError(path, `was written by ${writer}`);
  }
  for (const what of ["codec", "dense", "pageSize"] as const) {
    if (identity[what] === wanted[what] || identity[what] === "") continue;
    const names = { codec: "codec", dense: "codec for idle values", pageSize: "pageSize" };
    const now = wanted[what] === "" ? "none" : wanted[what];
    throw otherError(path, `was written with ${names[what]} ${identity[what]}, not ${now}`);
  }
}

function otherError(path: string, how: string): ZcacheError {
  const what = 'existing: "discard" begins without it';
  return new ZcacheError("ERR_OPTION", `persist: ${path} ${how}; ${what}`, {
    context: { path },
  });
}

function writeAll(path: string, fd: number, offsetBytes: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const at = offsetBytes + done;
    const count = attemptIo(path, at, () => writeSync(fd, bytes, done, bytes.length - done, at));
    if (count === 0) throw ioError(path, at, { message: "nothing was written" });
    done += count;
  }
}

/** Makes a new name survive a loss of power, on platforms that can do that. */
function syncFolder(path: string): void {
  try {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The platform does not support it.
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was removed already; or it stays, and the next start recognizes it as replaced.
  }
}
