// A snapshot in progress and its file: writes it in steps, syncs it, and names it when it is whole.
import { FILE_HEADER_BYTES as HEADER_BYTES } from "../store/change_record.layout.ts";
import type { Values } from "../values/values.ts";
import type { PersistFiles } from "./files.ts";
import { type RecordBuffer, Snapshot } from "./snapshot.ts";

export class SnapshotFile {
  readonly #files: PersistFiles;
  readonly #snapshot: Snapshot;
  readonly #generation: number;
  readonly #fd: number;
  /** All is written; the sync runs, beside this thread. */
  #isSyncing = false;
  /** The file was published, or the snapshot given up. */
  #isOver = false;

  /**
   * Creates the file.
   * @param generation of the log that was begun before
   * @param limitBytes maximum size of the file
   * @throws ZcacheError ERR_IO
   */
  constructor(
    files: PersistFiles,
    values: Values,
    buffer: RecordBuffer,
    generation: number,
    limitBytes: number,
  ) {
    const { fd, seed } = files.create("snapshot", generation);
    let offset = HEADER_BYTES;
    const write = (bytes: Uint8Array) => {
      files.write(fd, offset, bytes);
      offset += bytes.length;
    };
    this.#files = files;
    this.#generation = generation;
    this.#fd = fd;
    this.#snapshot = new Snapshot(values, buffer, seed, limitBytes, write);
  }

  /** Bytes of the records so far, and of the header. */
  get sizeBytes(): number {
    return HEADER_BYTES + this.#snapshot.bytes;
  }

  /** Values left out because of the limit. */
  get unsaved(): number {
    return this.#snapshot.unsaved;
  }

  /** Whether all is written, and waits for the device. */
  get isSyncing(): boolean {
    return this.#isSyncing;
  }

  /** Writes some tens of values. @returns whether all are written @throws ZcacheError ERR_IO */
  step(): boolean {
    return this.#snapshot.step();
  }

  /** Writes what is missing, and syncs the file. @throws ZcacheError ERR_IO */
  finish(): void {
    while (!this.#isSyncing && !this.#snapshot.step());
    this.#files.sync(this.#fd);
  }

  /**
   * Syncs the file without blocking this thread, after the last step.
   * @param onSynced called then, unless the snapshot is over meanwhile; with the failure, if any
   */
  async syncLater(onSynced: (failure: unknown) => void): Promise<void> {
    this.#isSyncing = true;
    let failure: unknown;
    await this.#files.syncLater(this.#fd).catch((error: unknown) => {
      failure = error;
    });
    this.#isSyncing = false;
    if (this.#isOver) this.#files.close(this.#fd);
    else onSynced(failure);
  }

  /** Gives the file, which is on the device, its name in place of all older files. */
  publish(): void {
    this.#files.publish(this.#generation);
    this.#end();
  }

  /** Gives the snapshot up, and removes its file. */
  abandon(): void {
    this.#end();
    this.#files.abandon(this.#generation);
  }

  #end(): void {
    this.#isOver = true;
    // Otherwise the sync still uses the descriptor; it is closed after that.
    if (!this.#isSyncing) this.#files.close(this.#fd);
  }
}
