// The files of the log: the current one, and the previous one while changes wait for it. A new log
// follows the last one; a snapshot makes those before it superfluous.

import type { ChangeLog } from "../store/change_log.ts";
import { UNKNOWN } from "../store/change_record.layout.ts";
import type { PersistFiles } from "./files.ts";

export class LogFiles {
  readonly log: ChangeLog;
  readonly #files: PersistFiles;
  readonly #sizeBytesMax: number;
  /** Descriptors of the log, and of the previous one while changes wait for it; −1: none. */
  #fd = -1;
  #oldFd = -1;
  /** The logs before the current one that a restart would read. */
  #oldBytes: number;
  #oldLogs: number;

  /**
   * @param sizeBytesMax maximum size of a log
   * @param found bytes and number of the logs that a start has read
   */
  constructor(
    log: ChangeLog,
    files: PersistFiles,
    sizeBytesMax: number,
    found: { readonly logBytes: number; readonly logs: number },
  ) {
    this.log = log;
    this.#files = files;
    this.#sizeBytesMax = sizeBytesMax;
    this.#oldBytes = found.logBytes;
    this.#oldLogs = found.logs;
  }

  /** Bytes of the logs that a restart would read. */
  get sizeBytes(): number {
    return this.#oldBytes + this.log.fileBytes;
  }

  /** Whether the file of the current log was removed or replaced. */
  get isRemoved(): boolean {
    return !this.log.isBroken && this.#files.isRemoved(this.#fd, this.log.generation);
  }

  /**
   * Begins a log.
   * @param above the generation of the last one
   * @param unitsBefore units of the last one
   * @throws ZcacheError ERR_IO
   */
  begin(above: number, unitsBefore = UNKNOWN): void {
    const generation = this.#files.freeGeneration(above);
    const { fd, seed } = this.#files.create("log", generation);
    try {
      const sizeBytesMax = this.#sizeBytesMax;
      const before = this.log.switchTo({ fd, generation, seed, sizeBytesMax, unitsBefore });
      // The log before the old one: its changes were written by switchTo.
      if (this.#oldFd >= 0) this.#files.close(this.#oldFd);
      this.#oldFd = before;
    } catch (error) {
      this.#files.close(fd);
      // A start would take an empty log, which follows no other, as a sign of a missing one.
      this.#files.abandonLog(generation);
      throw error;
    }
    this.#fd = fd;
  }

  /** Begins a log after the current one, and writes the changes that wait for that. */
  beginNext(): void {
    const before = this.log.fileBytes;
    this.begin(this.log.generation);
    this.#oldBytes += before;
    this.#oldLogs++;
    this.log.drain();
    this.closeOld();
  }

  /** Closes the previous log once no change waits for it. */
  closeOld(): void {
    if (this.log.needsOld) return;
    if (this.#oldFd >= 0) this.#files.close(this.#oldFd);
    this.#oldFd = -1;
  }

  /** After a snapshot has replaced the logs before the current one. */
  forgetOld(): void {
    this.#oldBytes = this.#oldLogs = 0;
  }

  /** Removes all files. */
  removeAll(): void {
    this.#files.removeAll();
    this.forgetOld();
    this.close();
  }

  /** Writes and syncs all changes. @throws ZcacheError ERR_IO */
  finish(): void {
    this.log.finish();
    this.log.drain();
    if (this.#fd >= 0) this.#files.sync(this.#fd);
  }

  close(): void {
    this.closeOld();
    if (this.#fd >= 0) this.#files.close(this.#fd);
    this.#fd = -1;
  }
}
