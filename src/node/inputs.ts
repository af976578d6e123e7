// Files and folders as pieces of input, walked depth first. One folder per level is open and
// nothing else is kept, so a tree of any size takes little memory.
//
// Anything but regular files is listed and skipped: a FIFO, a socket or a device could block
// forever or never end. Symbolic links in folders are not followed, which also rules out loops;
// those given as arguments are.
import { isUtf8 } from "node:buffer";
import {
  closeSync,
  constants,
  type Dir,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
  statSync,
} from "node:fs";
import { ZcacheError } from "../base/errors.ts";
import type { Piece, PieceReader, SkipList } from "../lab/feed.ts";

const SLASH = 0x2f;
/** Node's replacement for bytes that are not UTF-8. */
const REPLACED = "\ufffd";

/** Entries of one read of a folder. */
const DIR_BUFFER = 128;

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  ENOENT: "no such file or folder",
  ENOTDIR: "no such file or folder",
  ELOOP: "a symbolic link",
  ENXIO: "a device or socket",
  EIO: "input/output error",
  ESRCH: "the process has ended",
  EMFILE: "too many open files",
  ENAMETOOLONG: "name too long",
  EFAULT: "the region no longer exists",
  ENOMEM: "the region no longer exists",
};

/** The reason of an error of node:fs, in words. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = code === undefined ? undefined : REASONS[code];
  return reason === undefined ? message : `${reason} (${code})`;
}

/** Calls node:fs. @throws ZcacheError ERR_INPUT with the reason as its message */
export function asInput<T>(name: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    throw new ZcacheError("ERR_INPUT", reasonOf(cause), { context: { name }, cause });
  }
}

/**
 * Arguments of the program as bytes. Node decodes them as text and loses bytes that are not UTF-8;
 * Linux still has them.
 */
export function rawArguments(texts: readonly string[]): Buffer[] {
  if (!texts.some((text) => text.includes(REPLACED))) return texts.map((text) => Buffer.from(text));
  const given: Buffer[] = [];
  try {
    const all = readFileSync("/proc/self/cmdline");
    for (let at = 0; at < all.length; ) {
      const end = all.indexOf(0, at);
      given.push(all.subarray(at, end));
      at = end + 1;
    }
  } catch {
    // Without /proc there is only Node's text.
  }
  return texts.map((text) => {
    const at = given.findIndex((bytes) => bytes.toString() === text);
    // Two arguments may have the same text: each is used once.
    return at < 0 ? Buffer.from(text) : given.splice(at, 1)[0]!;
  });
}

/** A path as text, with `\xHH` for bytes that are not UTF-8. */
export function shownPath(path: Buffer): string {
  if (isUtf8(path)) return path.toString();
  const letters = Array.from(path, (byte) =>
    byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`,
  );
  return letters.join("");
}

/** The kind of an entry that is neither a file nor a folder. */
function kindOf(entry: Stats | Dirent): string {
  if (entry.isFIFO()) return "a FIFO";
  if (entry.isSocket()) return "a socket";
  if (entry.isCharacterDevice()) return "a character device";
  if (entry.isBlockDevice()) return "a block device";
  return "no regular file";
}

class FileReader implements PieceReader {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #name: string;

  constructor(path: Buffer, name: string, followLink: boolean) {
    // O_NONBLOCK, because a FIFO may have replaced the file since it was listed.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    const fd = asInput(name, () =>
      openSync(path, followLink ? flags : flags | constants.O_NOFOLLOW),
    );
    const stats = fstatSync(fd);
    if (!stats.isFile()) {
      closeSync(fd);
      throw new ZcacheError("ERR_INPUT", `${kindOf(stats)}, no longer a file`);
    }
    this.#name = name;
    this.#fd = fd;
    this.sizeBytes = stats.size;
  }

  read(target: Uint8Array, at: number, lengthBytes: number, position: number): number {
    return asInput(this.#name, () => readSync(this.#fd, target, at, lengthBytes, position));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function filePiece(path: Buffer, sizeBytes: number, followLink = false): Piece {
  const name = shownPath(path);
  return { name, sizeBytes, open: () => new FileReader(path, name, followLink) };
}

/** The files under each path, in the order in which the folders list them. */
export function* walkPaths(paths: readonly Buffer[], skips: SkipList): Generator<Piece> {
  for (const path of paths) {
    let stats: Stats;
    try {
      stats = statSync(path);
    } catch (error) {
      skips.add(shownPath(path), reasonOf(error));
      continue;
    }
    if (stats.isDirectory()) yield* walkFolder(path, skips);
    else if (!stats.isFile()) skips.add(shownPath(path), kindOf(stats));
    else if (stats.size === 0) skips.empty++;
    else yield filePiece(path, stats.size, true);
  }
}

function* walkFolder(top: Buffer, skips: SkipList): Generator<Piece> {
  const open: { readonly path: Buffer; readonly dir: Dir }[] = [];
  const enter = (path: Buffer) => {
    try {
      open.push({ path, dir: opendirSync(path, OPEN_AS_BYTES) });
    } catch (error) {
      skips.add(shownPath(path), reasonOf(error));
    }
  };
  enter(top);
  try {
    while (open.length > 0) {
      const { path, dir } = open.at(-1)!;
      const entry = nextEntry(path, dir, skips);
      if (entry === null) {
        open.pop();
        dir.closeSync();
        continue;
      }
      const within = below(path, entry.name as unknown as Buffer);
      if (entry.isSymbolicLink()) skips.links++;
      else if (entry.isDirectory()) enter(within);
      else yield* fileEntry(within, skips);
    }
  } finally {
    for (const { dir } of open) dir.closeSync();
  }
}

/** An encoding that Node has and its types lack. */
const OPEN_AS_BYTES = { bufferSize: DIR_BUFFER, encoding: "buffer" as BufferEncoding };

function below(folder: Buffer, name: Buffer): Buffer {
  const slash = folder.at(-1) === SLASH ? [] : [Buffer.of(SLASH)];
  return Buffer.concat([folder, ...slash, name]);
}

function nextEntry(path: Buffer, dir: Dir, skips: SkipList): Dirent | null {
  try {
    return dir.readSync();
  } catch (error) {
    skips.add(shownPath(path), reasonOf(error));
    return null;
  }
}

/** An entry that is neither a folder nor a link; a listing has no sizes, so `lstat` is needed. */
function* fileEntry(path: Buffer, skips: SkipList): Generator<Piece> {
  let stats: Stats;
  try {
    stats = lstatSync(path);
  } catch (error) {
    skips.add(shownPath(path), reasonOf(error));
    return;
  }
  if (!stats.isFile()) skips.add(shownPath(path), kindOf(stats));
  else if (stats.size === 0) skips.empty++;
  else yield filePiece(path, stats.size);
}
