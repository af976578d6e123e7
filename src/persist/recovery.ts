// Recovery: reads the values of the previous process from its files (docs/formats.md), in whatever
// state they are. Intact records are used; missing and damaged parts are counted and reported.
//
// A recovered value is the last one that was set, or absent. So if a log is missing or unreadable,
// all values before it are dropped: it may have changed any of them.
import type { Address } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { FILE_HEADER_BYTES, NONE, UNIT_BYTES } from "../store/change_record.layout.ts";
import type { Destination } from "./destination.ts";
import { closeFile, PersistFiles } from "./files.ts";
import { isReadable, type LostFile, type PersistFile } from "./found_files.ts";
import { isShortage } from "./header.ts";
import { type FileEnd, type IsUnwanted, Replay, type ReplayCounts } from "./replay.ts";
import { makeNextRecord, type RecordBuffer } from "./snapshot.ts";

/** Problems that a message lists; further ones are counted. */
const PROBLEMS_MAX = 4;

/** Statistics of a recovery. */
export interface Recovered extends Readonly<ReplayCounts> {
  /** Values that were recovered. */
  readonly entries: number;
  /** Duration. */
  readonly ms: number;
  /** Whether the previous process closed the files, or there were none; else it may have died. */
  readonly wasClosed: boolean;
}

/** The result of a recovery. */
export interface Recovery {
  readonly recovered: Recovered;
  /** Whether the files should be replaced by a new snapshot soon. */
  readonly isDamaged: boolean;
  /** The words that the front wrote last (`ChangeLog.note`); zeros: none. */
  readonly frontWords: ArrayLike<number>;
  /** The highest generation of a file; 0: none. */
  readonly generationMax: number;
  /** Units of the last log, or UNKNOWN. */
  readonly unitsBefore: number;
  readonly logBytes: number;
  readonly logs: number;
  readonly snapshotBytes: number;
  /** What is wrong with the files, one line each. */
  readonly problems: readonly string[];
  /** Names the next log at the end of the last one. @param buffer address for one record */
  link(generation: number, buffer: Address): void;
}

/**
 * Recovers the values of all files of a shard.
 * @param buffer a buffer of several pages
 * @throws ZcacheError ERR_ARENA_FULL; ERR_IO if the process has no descriptor or memory left
 */
export function recover(
  files: PersistFiles,
  to: Destination,
  buffer: RecordBuffer,
  isUnwanted: IsUnwanted,
): Recovery {
  const begin = performance.now();
  const replay = new Replay(to, buffer, Date.now(), isUnwanted);
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
    recovered: { ...counts, entries: to.count, ms, wasClosed },
    isDamaged: counts.gaps > 0 || counts.damagedBytes > 0 || counts.lostFiles > 0,
    frontWords: replay.frontWords,
    generationMax: found.reduce((max, { generation }) => Math.max(max, generation), 0),
    unitsBefore: replay.unitsBefore,
    logBytes: reader.logBytes,
    logs: reader.logs,
    snapshotBytes: reader.snapshotBytes,
    problems: reader.problems,
    link: (generation, at) => {
      if (last === undefined) return;
      const record = makeNextRecord(to.reader, at, last.file.seed, last.units, generation);
      PersistFiles.endLog(last.file, FILE_HEADER_BYTES + last.units * UNIT_BYTES, record);
    },
  };
}

/** Reads the files in their order, and checks that no log is missing. */
class Reader {
  logBytes = 0;
  logs = 0;
  snapshotBytes = 0;
  readonly problems: string[] = [];
  /** The log that was read last, unless a gap follows it. */
  last: { readonly file: PersistFile; readonly units: number } | undefined;
  readonly #replay: Replay;
  /**
   * The generation of the next log: named by the last file (#isNamed) or assumed; NONE: the last
   * log was closed; undefined: unknown.
   */
  #next: number | undefined;
  #isNamed = false;

  constructor(replay: Replay) {
    this.#replay = replay;
  }

  read(file: PersistFile): void {
    const { kind, generation } = file;
    if (kind === "snapshot") {
      this.snapshotBytes = file.sizeBytes;
      const end = this.#replayFile(file);
      if (end !== undefined && end.next === undefined) this.#report(file, "it has no end");
      // The log with the number of the snapshot was begun before it, and always exists.
      this.#isNamed = true;
      this.#next = generation;
      return;
    }
    if (!this.#mayFollow(generation)) this.#reportMissingLog();
    this.logBytes += file.sizeBytes;
    this.logs++;
    const end = this.#replayFile(file);
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
    // If the log before names another one, or was closed, this file is no part of the sequence.
    if (file.isShort || (this.#isNamed && this.#next !== file.generation)) return;
    this.#gap();
  }

  get wasClosed(): boolean {
    return this.#isNamed && this.#next === NONE;
  }

  /** After the last file: a log that it names must not be missing. */
  finish(): void {
    if (this.#isNamed && this.#next !== NONE) this.#reportMissingLog();
  }

  /**
   * Whether the log of this generation may come next. A closed log names the next one only once
   * the next process has begun it, and that process may have died in between. The next log also
   * tells whether the closed one is complete: it begins with the number of units before it.
   */
  #mayFollow(generation: number): boolean {
    const { last } = this;
    const isAfterClosed = this.#next === NONE && generation === (last?.file.generation ?? 0) + 1;
    return this.#next === undefined || this.#next === generation || isAfterClosed;
  }

  #reportMissingLog(): void {
    this.problems.push(`log ${this.#next} is missing`);
    this.#replay.countLostFile();
    this.#gap();
  }

  #gap(): void {
    this.#replay.gap();
    this.last = undefined;
    this.#next = undefined;
    this.#isNamed = false;
  }

  #report({ path }: { readonly path: string }, why: string): void {
    this.#replay.countLostFile();
    this.problems.push(`${path}: ${why}`);
  }

  /** @returns undefined if a read failed */
  #replayFile(file: PersistFile): FileEnd | undefined {
    let fd = -1;
    try {
      fd = PersistFiles.openToRead(file);
      const read = (offset: number, target: Uint8Array) =>
        PersistFiles.read(file, fd, offset, target);
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

/** The error that reports a loss; undefined if everything was recovered. */
export function lossOf(path: string, { recovered, problems }: Recovery): ZcacheError | undefined {
  const { entries, gaps, damagedBytes, tornBytes, lostFiles } = recovered;
  if (gaps + damagedBytes + tornBytes + lostFiles === 0) return undefined;
  const more = problems.length - PROBLEMS_MAX;
  const parts = [
    ...problems.slice(0, PROBLEMS_MAX),
    ...(more > 0 ? [`${more} more files`] : []),
    ...(damagedBytes > 0 ? [`${damagedBytes} damaged bytes were skipped`] : []),
    ...(tornBytes > 0 ? [`the last ${tornBytes} bytes of a file are not a complete record`] : []),
    ...(gaps > 0 ? ["values before a gap in the logs were dropped"] : []),
  ];
  const message = `persist: ${path} has lost some values, ${entries} are recovered: `;
  return new ZcacheError("ERR_CORRUPT", message + parts.join("; "), {
    context: { ...recovered, path, problems },
  });
}

/** The error that reports values in the files of another shard: files may have been exchanged. */
export function foreignError(path: string, values: number): ZcacheError {
  const message = `persist: ${path} had ${values} values of other shards, which are dropped`;
  return new ZcacheError("ERR_CORRUPT", message, { context: { path, values } });
}
