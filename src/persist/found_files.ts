// The files that a start finds in the folder: which of them belong to the store, and which it needs
// to recover all values.
//
// Damaged, missing and foreign files do not prevent a start. A file is removed only if its content
// shows that this library has written it; the number of any other file is skipped.
import { readdirSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { attemptIo } from "../node/file_io.ts";
import {
  type FileHeader,
  type FileIdentity,
  FORMAT_VERSIONS_READ,
  HEADER_BYTES,
  type Inspection,
  inspect,
} from "./header.ts";

/** Generations are below this number. */
const GENERATION_END = 2 ** 31;
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

/**
 * The files that a start needs, oldest first. Removes those that it does not need.
 * @param existing "discard" removes the files that this library has written
 * @throws ZcacheError ERR_OPTION if the files are of another version, or of a store with other
 *   settings; ERR_IO
 */
export function findFiles(
  path: string,
  identity: FileIdentity,
  existing: "recover" | "discard",
): (PersistFile | LostFile)[] {
  const all = namesOf(path).map((name) => ({ name, is: inspectAt(name.path) }));
  for (const { name, is } of all) {
    if (is.state === "foreign") continue;
    if (existing === "discard" || (name.isTmp && is.state !== "version")) removeFile(name.path);
  }
  if (existing === "discard") return [];
  checkReadable(all);
  return needed(path, all, identity);
}

/** All files whose names have the form of one of these files. */
export function namesOf(path: string): FileName[] {
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

/** Whether this library has written a file, or has to be able to read it to tell. */
export function isOurs(path: string): boolean {
  const is = inspectAt(path);
  return is.state !== "foreign" || is.cause !== undefined;
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
  if (end !== undefined && !isReadable(end) && end.isShort) removeFile(end.path);
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
    const what = 'correct the cause, or start without the values: existing: "discard"';
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
export function removeReplaced(
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
    if (isOld || is.state === "damaged") removeFile(file);
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
  const what = 'start without the file: existing: "discard"';
  return new ZcacheError("ERR_OPTION", `persist: ${path} ${how}; ${what}`, {
    context: { path },
  });
}

/** Removes a file. Errors are ignored. */
export function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was removed already; or it stays, and the next start recognizes it as replaced.
  }
}
