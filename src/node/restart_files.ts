// The files from which a cache begins again, on Node: which there are, whose they are, and how one
// takes the place of others. What is in them, front/values knows (docs/formats.md).
//
//   PATH.log.G            changes since snapshot G was begun, or since the log before it
//   PATH.snapshot.G       everything, as it was when log G began or a little later
//   PATH.snapshot.G.tmp   one that is being written
//   PATH.log.lock         which process has them (file_lock.ts)
//
// A snapshot has its name only when it is whole; then all with lower numbers go.
import { createHash, randomInt } from "node:crypto";
import {
  closeSync,
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
import { lockFile } from "./file_lock.ts";

/** The last character is the version. */
const MAGIC = "zcache restart 1";
const MAGIC_BYTES = 16;
const HEADER_BYTES = 96;
// Where in the header what stands; numbers are 32 bits, lowest byte first.
const KIND = 16;
const GENERATION = 20;
const SEED = 24;
const PAGE_SIZE = 28;
const KEY_SEED = 32;
const MADE = 40;
const CODEC = 48;
const DENSE = 64;
const NAME_BYTES = 16;
const FRONT = 80;
const FRONT_BYTES = 12;
const CHECK = 92;

const KINDS = ["", "log", "snapshot"] as const;
const RANDOM_END = 2 ** 32;

/** What a store must have in common with the files: values lie in them as they are stored. */
export interface RestartIdentity {
  readonly codec: string;
  /** The denser codec, "" = none. */
  readonly dense: string;
  readonly pageSize: number;
  /** Who knows what the values mean: "items" for memcached's, "" for the cache. */
  readonly front: string;
}

export interface RestartFile {
  readonly path: string;
  readonly kind: "log" | "snapshot";
  readonly generation: number;
  readonly sizeBytes: number;
  readonly seed: number;
  /** Of the keys' hash. */
  readonly keySeeds: readonly [number, number];
  /** False for one whose header was never finished, or is damaged. */
  readonly isWhole: boolean;
  /** Of another version of zcache. */
  readonly isOther: boolean;
  readonly identity: RestartIdentity;
}

export class RestartFiles {
  readonly path: string;
  /** Those that were there, oldest first: a snapshot, if any, then logs. */
  readonly found: readonly RestartFile[];
  readonly #identity: RestartIdentity;
  readonly #unlock: () => void;

  private constructor(
    path: string,
    found: readonly RestartFile[],
    identity: RestartIdentity,
    unlock: () => void,
  ) {
    this.path = path;
    this.found = found;
    this.#identity = identity;
    this.#unlock = unlock;
  }

  /**
   * Takes the files of this name, for this process alone.
   * @param existing "discard": removes those that there are
   * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if they are another store's, another version's
   *   or none of ours; ERR_IO
   */
  static open(
    path: string,
    identity: RestartIdentity,
    existing: "recover" | "discard",
  ): RestartFiles {
    const unlock = lockFile(`${path}.log`);
    try {
      let found = findFiles(path);
      if (existing === "discard") {
        for (const file of found) remove(file.path);
        found = [];
      }
      for (const file of found) checkIdentity(file, identity);
      checkSeeds(found);
      return new RestartFiles(path, current(found), identity, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** The seeds of the keys' hash in these files, if there are any. */
  get keySeeds(): readonly [number, number] | undefined {
    return this.found.find(({ isWhole }) => isWhole)?.keySeeds;
  }

  /** The highest number that a file has. */
  get generationMax(): number {
    return this.found.reduce((max, { generation }) => Math.max(max, generation), 0);
  }

  /** Makes a file with its header. @throws ZcacheError ERR_IO */
  create(
    kind: "log" | "snapshot",
    generation: number,
    keySeeds: readonly [number, number],
  ): { readonly fd: number; readonly seed: number } {
    const path = kind === "log" ? this.#log(generation) : `${this.#snapshot(generation)}.tmp`;
    const seed = randomInt(RANDOM_END) | 0;
    const fd = attempt(path, 0, () => openSync(path, "wx", 0o600));
    try {
      this.write(fd, 0, makeHeader(kind, generation, seed, keySeeds, this.#identity));
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
    try {
      closeSync(fd);
    } catch {
      // What was to be kept was synced before.
    }
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
    for (const { path, generation, isTmp } of namesOf(this.path)) {
      if (is(generation, isTmp)) remove(path);
    }
  }
}

/** Opens, in another thread, the way to files that are open in this process. */
export function restartWriter(path: string) {
  return {
    write: (fd: number, offsetBytes: number, bytes: Uint8Array) =>
      writeAll(path, fd, offsetBytes, bytes),
  };
}

/** All files that have such names. */
function namesOf(path: string) {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  return attempt(folder, 0, () => readdirSync(folder)).flatMap((name) => {
    if (!name.startsWith(start)) return [];
    const match = /^(log|snapshot)\.([1-9]\d{0,9})(\.tmp)?$/.exec(name.slice(start.length));
    if (match === null || (match[1] === "log" && match[3] !== undefined)) return [];
    const kind = match[1] as "log" | "snapshot";
    const generation = Number(match[2]);
    return [{ path: join(folder, name), kind, generation, isTmp: match[3] !== undefined }];
  });
}

/** All files of ours, finished or not, once it is known that they are. */
function findFiles(path: string): RestartFile[] {
  const names = namesOf(path);
  const files = names.map(({ path: file, kind, generation }) => readHeader(file, kind, generation));
  for (const { path: file, isTmp } of names) if (isTmp) remove(file);
  return files.filter((_, nth) => !names[nth]!.isTmp);
}

/** The last snapshot, and the logs since it was begun; files that it has replaced are removed. */
function current(files: readonly RestartFile[]): RestartFile[] {
  const snapshots = files.filter(({ kind }) => kind === "snapshot");
  const last = snapshots.reduce((max, { generation }) => Math.max(max, generation), 0);
  for (const { path, generation } of files) if (generation < last) remove(path);
  return files
    .filter(({ generation }) => generation >= last)
    .sort((a, b) => a.generation - b.generation || (a.kind === "snapshot" ? -1 : 1))
    .filter((file, nth, all) => {
      // One that was begun and nothing more: its number is used again.
      const isBegun = nth === all.length - 1 && file.sizeBytes < HEADER_BYTES;
      if (isBegun) remove(file.path);
      return !isBegun;
    });
}

/** @throws ZcacheError ERR_OPTION if it is no file of ours, or of another version */
function readHeader(path: string, kind: "log" | "snapshot", generation: number): RestartFile {
  const stat = attempt(path, 0, () => statSync(path));
  const header = Buffer.alloc(HEADER_BYTES);
  let got = 0;
  if (stat.isFile()) {
    const fd = attempt(path, 0, () => openSync(path, "r"));
    try {
      got = attempt(path, 0, () => readSync(fd, header, 0, HEADER_BYTES, 0));
    } finally {
      closeSync(fd);
    }
  }
  const magic = header.toString("latin1", 0, Math.min(got, MAGIC_BYTES));
  const unversioned = MAGIC.slice(0, -1);
  const isOurs = stat.isFile() && (got < MAGIC_BYTES ? MAGIC : magic).startsWith(unversioned);
  if (!isOurs || !MAGIC.startsWith(magic.slice(0, unversioned.length))) {
    throw new ZcacheError("ERR_OPTION", `${path} is no file of zcache: left as it is`, {
      context: { path },
    });
  }
  const isWhole =
    got === HEADER_BYTES &&
    magic === MAGIC &&
    header.readUInt32LE(CHECK) === checkOf(header) &&
    KINDS[header.readUInt32LE(KIND)] === kind &&
    header.readUInt32LE(GENERATION) === generation;
  return {
    ...{ path, kind, generation, isWhole, sizeBytes: stat.size },
    seed: header.readInt32LE(SEED),
    keySeeds: [header.readInt32LE(KEY_SEED), header.readInt32LE(KEY_SEED + 4)],
    isOther: got >= MAGIC_BYTES && magic !== MAGIC,
    identity: identityIn(header),
  };
}

function identityIn(header: Buffer): RestartIdentity {
  const name = (at: number, bytes = NAME_BYTES) =>
    header.toString("latin1", at, at + bytes).replace(/\0+$/, "");
  const pageSize = header.readUInt32LE(PAGE_SIZE);
  return { codec: name(CODEC), dense: name(DENSE), pageSize, front: name(FRONT, FRONT_BYTES) };
}

function checkIdentity(file: RestartFile, wanted: RestartIdentity): void {
  const { identity, isWhole, isOther } = file;
  if (isOther) throw otherError(file.path, "by another version of zcache");
  if (!isWhole) return;
  if (identity.front !== wanted.front) {
    throw otherError(file.path, `by ${identity.front === "" ? "a cache" : "a memcached server"}`);
  }
  for (const what of ["codec", "dense", "pageSize"] as const) {
    if (identity[what] === wanted[what] || identity[what] === "") continue;
    const names = { codec: "codec", dense: "codec for idle values", pageSize: "pageSize" };
    const now = wanted[what] === "" ? "none" : wanted[what];
    throw otherError(file.path, `with ${names[what]} ${identity[what]}, not ${now}`);
  }
}

/** Files that were copied from here and there would find nothing of each other's. */
function checkSeeds(files: readonly RestartFile[]): void {
  const whole = files.filter(({ isWhole }) => isWhole);
  for (const { path, keySeeds } of whole) {
    if (String(keySeeds) === String(whole[0]!.keySeeds)) continue;
    throw otherError(path, "by another cache than the files beside it");
  }
}

function otherError(path: string, how: string): ZcacheError {
  const what = 'existing: "discard" begins without it';
  return new ZcacheError("ERR_OPTION", `persist: ${path} was written ${how}; ${what}`, {
    context: { path },
  });
}

function makeHeader(
  kind: "log" | "snapshot",
  generation: number,
  seed: number,
  keySeeds: readonly [number, number],
  { codec, dense, pageSize, front }: RestartIdentity,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, 0, "latin1");
  header.writeUInt32LE(KINDS.indexOf(kind), KIND);
  header.writeUInt32LE(generation, GENERATION);
  header.writeInt32LE(seed, SEED);
  header.writeUInt32LE(pageSize, PAGE_SIZE);
  header.writeInt32LE(keySeeds[0], KEY_SEED);
  header.writeInt32LE(keySeeds[1], KEY_SEED + 4);
  header.writeBigUInt64LE(BigInt(Date.now()), MADE);
  header.write(codec.slice(0, NAME_BYTES), CODEC, "latin1");
  header.write(dense.slice(0, NAME_BYTES), DENSE, "latin1");
  header.write(front.slice(0, FRONT_BYTES), FRONT, "latin1");
  header.writeUInt32LE(checkOf(header), CHECK);
  return header;
}

/** XXH32 is the arena's, and there is none yet when headers are looked at. */
function checkOf(header: Buffer): number {
  return createHash("sha256").update(header.subarray(0, CHECK)).digest().readUInt32LE(0);
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
