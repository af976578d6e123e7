// The files from which a cache begins again, on Node: which there are, whose they are, and how one
// takes the place of others. What is in them, front/values knows (docs/formats.md).
//
//   PATH.log.G            changes since snapshot G was begun, or since the log before it
//   PATH.snapshot.G       everything, as it was when log G began or a little later
//   PATH.snapshot.G.tmp   one that is being written
//   PATH.log.lock         which process has them (file_lock.ts)
//
// A snapshot has its name only when it is whole; then all with lower numbers go.
//
// Files that are damaged, missing or foreign do not stop a start. Only files that are known to be
// this library's are ever removed; the number of any other file is passed over.
import { randomInt } from "node:crypto";
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
import { lockFile } from "../node/file_lock.ts";
import {
  RESTART_HEADER_BYTES as HEADER_BYTES,
  type Inspection,
  inspect,
  makeHeader,
  RESTART_VERSIONS_READ,
  type RestartHeader,
  type RestartIdentity,
} from "./header.ts";

const RANDOM_END = 2 ** 32;
/** Numbers of files end there; those that are passed over because something has them, earlier. */
const GENERATION_END = 2 ** 31;
const FOREIGN_END = 2 ** 30;

/** A file that can be read. */
export interface RestartFile extends RestartHeader {
  readonly path: string;
  readonly sizeBytes: number;
}

/** A file of which nothing can be read, under the kind and number of its name. */
export interface LostFile {
  readonly path: string;
  readonly kind: "log" | "snapshot";
  readonly generation: number;
  /** What is wrong with it. */
  readonly why: string;
  /** It was begun and has no record. */
  readonly isShort: boolean;
}

/** A file as it is found. */
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

export class RestartFiles {
  readonly path: string;
  /** Those that were there and are needed, oldest first: a snapshot, if any, then logs. */
  readonly found: readonly (RestartFile | LostFile)[];
  readonly #identity: RestartIdentity;
  readonly #unlock: () => void;
  #keySeeds: readonly [number, number] | undefined;

  private constructor(
    path: string,
    found: readonly (RestartFile | LostFile)[],
    identity: RestartIdentity,
    unlock: () => void,
  ) {
    this.path = path;
    this.found = found;
    this.#identity = identity;
    this.#unlock = unlock;
    this.#keySeeds = found.find(isReadable)?.keySeeds;
  }

  /**
   * Takes the files of this name, for this process alone.
   * @param existing "discard": removes those of this library, and leaves all others
   * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if they are of another version, or of a store
   *   with other settings; ERR_IO
   */
  static open(
    path: string,
    identity: RestartIdentity,
    existing: "recover" | "discard",
  ): RestartFiles {
    const unlock = lockFile(`${path}.log`);
    try {
      const all = namesOf(path).map((name) => ({ name, is: inspectAt(name.path) }));
      for (const { name, is } of all) {
        if (is.state === "foreign") continue;
        if (existing === "discard" || (name.isTmp && is.state !== "version")) remove(name.path);
      }
      if (existing !== "discard") checkReadable(all);
      const found = existing === "discard" ? [] : needed(path, all, identity);
      return new RestartFiles(path, found, identity, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** The seeds of the keys' hash in these files, if there are any. */
  get keySeeds(): readonly [number, number] | undefined {
    return this.#keySeeds;
  }

  /** A number above `above` and above that of every file there is, of whatever content. */
  freeGeneration(above: number): number {
    const taken = namesOf(this.path).map(({ generation }) => generation);
    // A foreign file with an absurd number would leave none above it.
    return taken.reduce((max, one) => (one < FOREIGN_END ? Math.max(max, one) : max), above) + 1;
  }

  /** Makes a file with its header. @throws ZcacheError ERR_IO */
  create(
    kind: "log" | "snapshot",
    generation: number,
    keySeeds: readonly [number, number],
  ): { readonly fd: number; readonly seed: number } {
    this.#keySeeds = keySeeds;
    const path = kind === "log" ? this.#log(generation) : `${this.#snapshot(generation)}.tmp`;
    const seed = randomInt(RANDOM_END) | 0;
    const fd = attempt(path, 0, () => openSync(path, "wx", 0o600));
    try {
      // Whatever the file mode creation mask: it may take the owner's rights, too.
      attempt(path, 0, () => fchmodSync(fd, 0o600));
      const identity = this.#identity;
      this.write(fd, 0, makeHeader({ kind, generation, seed, keySeeds, identity }));
    } catch (error) {
      this.close(fd);
      remove(path);
      throw error;
    }
    return { fd, seed };
  }

  /** Fulfils `LogWriter`. */
  write(fd: number, offsetBytes: number, bytes: Uint8Array): void {
    writeAll(this.path, fd, offsetBytes, bytes);
  }

  /** @returns the bytes read, 0 at the end */
  static read(file: RestartFile, fd: number, offsetBytes: number, target: Uint8Array): number {
    return attempt(file.path, offsetBytes, () =>
      readSync(fd, target, 0, target.length, offsetBytes),
    );
  }

  static openToRead({ path }: RestartFile): number {
    return attempt(path, 0, () => openSync(path, "r"));
  }

  /**
   * Writes the record that ends a log, where its last whole record ended. A file that can't be
   * written stays as it is: a start can do without this record.
   */
  static endLog({ path }: RestartFile, offsetBytes: number, record: Uint8Array): void {
    try {
      const fd = openSync(path, "r+");
      try {
        writeAll(path, fd, offsetBytes, record);
      } finally {
        closeSync(fd);
      }
    } catch {
      // Then a loss of the log after it will not be noticed.
    }
  }

  /** Waits until the device has what was written. @throws ZcacheError ERR_IO */
  sync(fd: number): void {
    attempt(this.path, 0, () => fsyncSync(fd));
  }

  /** As `sync`, beside this thread. */
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

  /** Lets a finished snapshot take the place of everything older. @throws ZcacheError ERR_IO */
  publish(generation: number): void {
    const path = this.#snapshot(generation);
    attempt(path, 0, () => renameSync(`${path}.tmp`, path));
    syncFolder(dirname(path));
    this.#removeIf((found, isTmp) => found < generation || isTmp);
  }

  /** Removes a snapshot that is not finished. */
  abandon(generation: number): void {
    remove(`${this.#snapshot(generation)}.tmp`);
  }

  /** Removes a log that nothing was written to. */
  abandonLog(generation: number): void {
    remove(this.#log(generation));
  }

  /**
   * Whether a log that is being written has lost its name: somebody has removed or replaced the
   * file, and no start would find what is written to it.
   */
  isGone(fd: number, generation: number): boolean {
    const path = this.#log(generation);
    const named = attempt(path, 0, () => statSync(path, { throwIfNoEntry: false }));
    return named === undefined || named.ino !== attempt(path, 0, () => fstatSync(fd)).ino;
  }

  /** Removes all files: what they say is old. */
  removeAll(): void {
    this.#removeIf(() => true);
  }

  /** Gives the files to whoever comes next. */
  unlock(): void {
    this.#unlock();
  }

  #log(generation: number): string {
    return `${this.path}.log.${generation}`;
  }

  #snapshot(generation: number): string {
    return `${this.path}.snapshot.${generation}`;
  }

  #removeIf(is: (generation: number, isTmp: boolean) => boolean): void {
    removeReplaced(this.path, String(this.#keySeeds), is);
  }
}

/** Opens, in another thread, the way to files that are open in this process. */
export function restartWriter(path: string) {
  return {
    write: (fd: number, offsetBytes: number, bytes: Uint8Array) =>
      writeAll(path, fd, offsetBytes, bytes),
  };
}

export function closeFile(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // What was to be kept was synced before.
  }
}

/** All files that have such names. */
function namesOf(path: string): FileName[] {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  return attempt(folder, 0, () => readdirSync(folder)).flatMap((name) => {
    if (!name.startsWith(start)) return [];
    const match = /^(log|snapshot)\.([1-9]\d{0,9})(\.tmp)?$/.exec(name.slice(start.length));
    if (match === null || (match[1] === "log" && match[3] !== undefined)) return [];
    const kind = match[1] as "log" | "snapshot";
    const generation = Number(match[2]);
    if (generation >= GENERATION_END) return [];
    return [{ path: join(folder, name), kind, generation, isTmp: match[3] !== undefined }];
  });
}

/** Whether there is more to a file than its name. */
export function isReadable(file: RestartFile | LostFile): file is RestartFile {
  return "seed" in file;
}

/**
 * The last snapshot, and the logs since it was begun; files that it has replaced are removed.
 *
 * A whole file is what its header says, whatever its name: names may have been exchanged. A name
 * whose file can't be found under any name stands for a file that is lost.
 * @throws ZcacheError ERR_OPTION if they are of another version, or of a store with other settings
 */
function needed(
  path: string,
  all: readonly Found[],
  identity: RestartIdentity,
): (RestartFile | LostFile)[] {
  const named = all.filter(({ name }) => !name.isTmp);
  for (const { name, is } of named) {
    if (is.state !== "version") continue;
    const which = `is of version ${JSON.stringify(is.version)} of these files`;
    throw otherError(name.path, `${which}, and this zcache reads ${RESTART_VERSIONS_READ}`);
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

/** The files that can be read, each once: a copy under another name is left out. */
function wholeOf(named: readonly Found[]): RestartFile[] {
  const files = new Map<string, RestartFile>();
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

/** The seeds that most of the files have; of several such, those of the newest file. */
function seedsOf(files: readonly RestartFile[]): string | undefined {
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

/** The names under which there is something else than what the name says, or nothing readable. */
function lostOf(named: readonly Found[], own: readonly RestartFile[]): LostFile[] {
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
 * Where the system gives back none of the files, what they say is not lost for good: a start with
 * nothing would make it so. @throws ZcacheError ERR_IO
 */
function checkReadable(all: readonly Found[]): void {
  if (all.some(({ is }) => is.state === "whole" || is.state === "damaged")) return;
  for (const { name, is } of all) {
    if (is.state !== "foreign" || is.cause === undefined) continue;
    const what = 'mend that, or begin without it by existing: "discard"';
    throw new ZcacheError("ERR_IO", `persist: ${name.path}: ${is.why}: ${what}`, {
      context: { path: name.path, code: (is.cause as NodeJS.ErrnoException).code },
      cause: is.cause,
    });
  }
}

/** @throws ZcacheError ERR_IO if the process has no descriptor or memory left */
function inspectAt(path: string): Inspection {
  return attempt(path, 0, () => inspect(path));
}

/** Removes files of this library that are not needed any more. */
function removeReplaced(
  path: string,
  seeds: string | undefined,
  isReplaced: (generation: number, isTmp: boolean) => boolean,
): void {
  for (const { path: file, generation, isTmp } of namesOf(path)) {
    if (!isReplaced(generation, isTmp)) continue;
    const is = inspectAt(file);
    const isOwn = is.state === "whole" && String(is.header.keySeeds) === seeds;
    // Under the name of an older file there may be one that is still needed.
    const isOld = isOwn && isReplaced(is.header.generation, isTmp);
    if (isOld || is.state === "damaged") remove(file);
  }
}

/** @throws ZcacheError ERR_OPTION for values that this store would not understand */
function checkIdentity({ path, identity }: RestartFile, wanted: RestartIdentity): void {
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
    const count = attempt(path, at, () => writeSync(fd, bytes, done, bytes.length - done, at));
    if (count === 0) throw ioError(path, at, { code: "EIO", message: "nothing was written" });
    done += count;
  }
}

/** So that a new name outlives a loss of power; not every platform can. */
function syncFolder(path: string): void {
  try {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Then the names are as safe as the platform makes them.
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Not there any more; or it stays, and is found to be replaced by the next process.
  }
}

function attempt<T>(path: string, offsetBytes: number, work: () => T): T {
  for (;;) {
    try {
      return work();
    } catch (cause) {
      const error = cause as NodeJS.ErrnoException;
      if (error.code !== "EINTR") throw ioError(path, offsetBytes, error);
    }
  }
}

function ioError(
  path: string,
  offsetBytes: number,
  cause: { code?: string | undefined; message: string },
): ZcacheError {
  const { code = "EIO", message } = cause;
  return new ZcacheError("ERR_IO", `${path}, at byte ${offsetBytes}: ${message}`, {
    context: { path, offsetBytes, code },
    cause,
  });
}
