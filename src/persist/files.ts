// The files of persistence: creates and writes them, and replaces older ones by a new snapshot.
// Their contents are described in docs/formats.md.
//
//   PATH.log.G            changes since snapshot G was begun, or since the previous log
//   PATH.snapshot.G       all values, as they were when log G was begun or a little later
//   PATH.snapshot.G.tmp   a snapshot in progress
//   PATH.log.lock         the process that owns the files (file_lock.ts)
//
// A snapshot gets its name when it is complete; then all files with lower numbers are removed.
import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { attemptIo, ioError } from "../node/file_io.ts";
import { random32 } from "../node/platform.ts";
import {
  findFiles,
  isReadable,
  type LostFile,
  namesOf,
  type PersistFile,
  removeFile,
  removeReplaced,
} from "./found_files.ts";
import { type FileIdentity, makeHeader } from "./header.ts";

/** A foreign file with a number from here on is not skipped: it would leave too few above it. */
const FOREIGN_END = 2 ** 30;

export class PersistFiles {
  readonly path: string;
  /** The files that a start needs, oldest first: a snapshot, if any, then logs. */
  found: readonly (PersistFile | LostFile)[];
  /** Seeds of the key hash: those of the files that were found, else new ones. */
  keySeeds: readonly [number, number];
  readonly #identity: FileIdentity;
  readonly #unlock: () => void;

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
    this.keySeeds = found.find(isReadable)?.keySeeds ?? [random32(), random32()];
  }

  /**
   * Opens the files at a path, which this process has locked.
   * @param existing "discard" removes the files that this library has written
   * @param unlock lets other processes open the files; called by `unlock`
   * @throws ZcacheError ERR_OPTION if the files are of another version, or of a store with other
   *   settings; ERR_IO
   */
  static open(
    path: string,
    identity: FileIdentity,
    existing: "recover" | "discard",
    unlock: () => void,
  ): PersistFiles {
    return new PersistFiles(path, findFiles(path, identity, existing), identity, unlock);
  }

  /**
   * Sets the seeds of the key hash, before anything is written.
   * @returns false if the files that were found have others: they are removed
   */
  useSeeds(seeds: readonly [number, number]): boolean {
    const isSame = !this.found.some(isReadable) || String(this.keySeeds) === String(seeds);
    if (!isSame) {
      this.removeAll();
      this.found = [];
    }
    this.keySeeds = seeds;
    return isSame;
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
  ): { readonly fd: number; readonly seed: number } {
    const path = kind === "log" ? this.#log(generation) : `${this.#snapshot(generation)}.tmp`;
    const seed = random32();
    const fd = attemptIo(path, 0, () => openSync(path, "wx", 0o600));
    try {
      // The umask may have removed permissions of the owner.
      attemptIo(path, 0, () => fchmodSync(fd, 0o600));
      const header = { kind, generation, seed, keySeeds: this.keySeeds, identity: this.#identity };
      this.write(fd, 0, makeHeader(header));
    } catch (error) {
      this.close(fd);
      removeFile(path);
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
    removeFile(`${this.#snapshot(generation)}.tmp`);
  }

  /** Removes a log without records. */
  abandonLog(generation: number): void {
    removeFile(this.#log(generation));
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
    removeReplaced(this.path, String(this.keySeeds), isReplaced);
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

function writeAll(path: string, fd: number, offsetBytes: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const at = offsetBytes + done;
    const count = attemptIo(path, at, () => writeSync(fd, bytes, done, bytes.length - done, at));
    if (count === 0) throw ioError(path, at, { message: "nothing was written" });
    done += count;
  }
}

/** Makes a new name survive a loss of power, on platforms that can do that. */
export function syncFolder(path: string): void {
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
