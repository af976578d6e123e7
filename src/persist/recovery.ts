// Brings the values of the process before back from its files (docs/formats.md), whatever has
// happened to these: what is whole is used, and what is missing or damaged is counted and named.
//
// A value that comes back is right, or absent. So where a log is missing or can't be read, all that
// came before it goes: nobody knows which keys the log was about.
import type { Address } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { FILE_HEADER_BYTES, NONE, UNIT_BYTES } from "../store/change_record.layout.ts";
import type { Values } from "../values/values.ts";
import { closeFile, isReadable, type LostFile, type RestartFile, RestartFiles } from "./files.ts";
import { isShortage } from "./header.ts";
import { type FileEnd, type IsUnwanted, Replay, type ReplayCounts } from "./replay.ts";
import { logEnd } from "./snapshot.ts";

/** Names of files that a message lists at most. */
const PROBLEMS_MAX = 4;

type Room = { readonly at: Address; readonly sizeBytes: number };

/** What a start has found. */
export interface Recovered extends Readonly<ReplayCounts> {
  readonly entries: number;
  readonly ms: number;
  /** Whether the last log was closed, or there was none: if not, its end may be missing. */
  readonly wasClosed: boolean;
}

/** What has come back. */
export interface Recovery {
  readonly recovered: Recovered;
  /** Whether a new snapshot is to take the place of the files soon. */
  readonly isDamaged: boolean;
  /** What the front noted last. */
  readonly note: ArrayLike<number>;
  /** The dictionary that was used last. */
  readonly dictionary: Uint8Array | undefined;
  /** The highest number of a file. */
  readonly generationMax: number;
  /** Units of the last log, or UNKNOWN. */
  readonly unitsBefore: number;
  readonly logBytes: number;
  readonly logs: number;
  readonly snapshotBytes: number;
  /** What was wrong, a line for each file. */
  readonly problems: readonly string[];
  /** Writes to the end of the last log that another one follows. @param place for the record */
  link(generation: number, place: Address): void;
}

/**
 * Recovers into an empty store.
 * @param room some pages of the arena for the replay
 * @throws ZcacheError ERR_ARENA_FULL
 */
export function recover(
  files: RestartFiles,
  values: Values,
  room: Room,
  isUnwanted: IsUnwanted,
): Recovery {
  const begin = performance.now();
  const replay = new Replay(values, room, Date.now(), isUnwanted);
  const reader = new Reader(replay);
  for (const file of files.found) {
    if (isReadable(file)) reader.read(file);
    else reader.lose(file);
  }
  reader.finish();
  replay.end();
  const { found } = files;
  const { last } = reader;
  const { counts } = replay;
  const wasClosed = found.length === 0 || reader.wasClosed;
  const ms = performance.now() - begin;
  return {
    recovered: { ...counts, entries: values.count, ms, wasClosed },
    isDamaged: counts.gaps > 0 || counts.damagedBytes > 0 || counts.lostFiles > 0,
    note: replay.note,
    dictionary: replay.dictionary,
    generationMax: found.reduce((max, { generation }) => Math.max(max, generation), 0),
    unitsBefore: replay.unitsBefore,
    logBytes: reader.logBytes,
    logs: reader.logs,
    snapshotBytes: reader.snapshotBytes,
    problems: reader.problems,
    link: (generation, place) => {
      if (last === undefined) return;
      const record = logEnd(values, place, last.file.seed, last.units, generation);
      RestartFiles.endLog(last.file, FILE_HEADER_BYTES + last.units * UNIT_BYTES, record);
    },
  };
}

/** Reads one file after the other, and sees to it that none is missing between two logs. */
class Reader {
  logBytes = 0;
  logs = 0;
  snapshotBytes = 0;
  readonly problems: string[] = [];
  /** The log that was read last, if nothing is missing behind it. */
  last: { readonly file: RestartFile; readonly units: number } | undefined;
  readonly #replay: Replay;
  /** The number of the log that comes next, if that is known; and whether a file says so. */
  #next: number | undefined;
  #isNamed = false;

  constructor(replay: Replay) {
    this.#replay = replay;
  }

  read(file: RestartFile): void {
    const { kind, generation } = file;
    if (kind === "snapshot") {
      this.snapshotBytes = file.sizeBytes;
      const end = this.#replayed(file);
      if (end !== undefined && end.next === undefined) this.#report(file, "it has no end");
      // The log that was begun before a snapshot is always there.
      this.#isNamed = true;
      this.#next = generation;
      return;
    }
    if (!this.#mayFollow(generation)) this.#missing();
    this.logBytes += file.sizeBytes;
    this.logs++;
    const end = this.#replayed(file);
    if (end === undefined) {
      this.#gap();
      return;
    }
    this.last = { file, units: end.units };
    this.#isNamed = end.next !== undefined;
    this.#next = end.next ?? generation + 1;
  }

  lose(file: LostFile): void {
    this.#report(file, file.why);
    if (file.kind === "snapshot") return;
    // Behind a log that names another one, or that was closed, this was never read.
    if (file.isShort || (this.#isNamed && this.#next !== file.generation)) return;
    this.#gap();
  }

  get wasClosed(): boolean {
    return this.#isNamed && this.#next === NONE;
  }

  /** After the last file: nothing that a file names may be missing. */
  finish(): void {
    if (this.#isNamed && this.#next !== NONE) this.#missing();
  }

  /**
   * Whether a log of this number may come next. A log that was closed names no other until the next
   * process has begun one; that process may have died, or failed, between the two. Whether the
   * closed log is whole, the beginning of the next one says too (the units before it).
   */
  #mayFollow(generation: number): boolean {
    const { last } = this;
    const isAfterClosed = this.#next === NONE && generation === (last?.file.generation ?? 0) + 1;
    return this.#next === undefined || this.#next === generation || isAfterClosed;
  }

  #missing(): void {
    this.problems.push(`log ${this.#next} is missing`);
    this.#replay.lose();
    this.#gap();
  }

  #gap(): void {
    this.#replay.gap();
    this.last = undefined;
    this.#next = undefined;
    this.#isNamed = false;
  }

  #report({ path }: { readonly path: string }, why: string): void {
    this.#replay.lose();
    this.problems.push(`${path}: ${why}`);
  }

  /** @returns undefined if the file could not be read to its end */
  #replayed(file: RestartFile): FileEnd | undefined {
    let fd = -1;
    try {
      fd = RestartFiles.openToRead(file);
      const read = (offset: number, target: Uint8Array) =>
        RestartFiles.read(file, fd, offset, target);
      return this.#replay.file(read, file.seed, file.kind === "snapshot");
    } catch (error) {
      if (!(error instanceof ZcacheError) || error.code !== "ERR_IO") throw error;
      if (isShortage(error.cause)) throw error;
      this.#report(file, error.message);
      return undefined;
    } finally {
      if (fd >= 0) closeFile(fd);
    }
  }
}

/** What is to be said of a start that did not find all; undefined if it did. */
export function lossOf(path: string, { recovered, problems }: Recovery): ZcacheError | undefined {
  const { entries, gaps, damagedBytes, tornBytes, lostFiles } = recovered;
  if (gaps + damagedBytes + tornBytes + lostFiles === 0) return undefined;
  const more = problems.length - PROBLEMS_MAX;
  const parts = [
    ...problems.slice(0, PROBLEMS_MAX),
    ...(more > 0 ? [`${more} more files`] : []),
    ...(damagedBytes > 0 ? [`${damagedBytes} damaged bytes are passed over`] : []),
    ...(tornBytes > 0 ? [`the last ${tornBytes} bytes of a file are no whole record`] : []),
    ...(gaps > 0 ? ["what came before a gap in the logs is dropped"] : []),
  ];
  const message = `persist: ${path} has lost some values, ${entries} are recovered: `;
  return new ZcacheError("ERR_CORRUPT", message + parts.join("; "), {
    context: { ...recovered, path, problems },
  });
}
