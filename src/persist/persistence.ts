// Persistence: what makes a cache or a memcached server begin with the values that the previous
// process had, however that ended (the option `persist`).
//
// Changes go to a log through a ring in the arena (store/change_log.ts), which this thread writes
// to a file at intervals. When the logs have grown enough, a snapshot of all values is written, in
// steps of some milliseconds, and replaces them. At the start the files are read back.
//
// Parts:
//   options.ts        the option `persist`
//   shards.ts         opens the files of all shards of a store
//   takeover.ts       takes the values over from files of another number of shards
//   files.ts          creates, writes and replaces files; header.ts: their headers
//   found_files.ts    which of the files in the folder a start needs
//   log_files.ts      the files of the log
//   snapshot_file.ts  the file of a snapshot; snapshot_policy.ts: when one is written, how large
//   snapshot.ts       writes all values as records
//   recovery.ts       reads the files back, checks that none is missing; replay.ts: their records
//   destination.ts    to which shards the values go
//   exit.ts           writes the rest of the log when the process ends without a `close`
//
// Guarantee: a recovered value is the last one that was set, or absent. If the files can't be
// written for so long that a change is lost, they are removed, because an overwritten or deleted
// value must not come back. Later, new files are begun.
//
// Concurrency: all threads add changes to the ring under the store's lock. Only the thread that
// created the store has a Persistence; it also owns the files, which are locked against other
// processes.
//
// Limits: all files together take at most `max` bytes. A killed process loses at most the changes
// of the last `flushMs`.
import { ZcacheError } from "../base/errors.ts";
import type { Scheduler } from "../node/scheduler.ts";
import * as Log from "../store/change_log.layout.ts";
import { type ChangeLog, isLogFull } from "../store/change_log.ts";
import type { Store } from "../store/store.ts";
import { logTo, makeLog } from "../values/stored.ts";
import type { Values } from "../values/values.ts";
import { type Destination, OneShard } from "./destination.ts";
import { exitFlushes, flushAtExit, flushDetachedAtExit, flushLog } from "./exit.ts";
import { PersistFiles } from "./files.ts";
import { isReadable } from "./found_files.ts";
import type { FileIdentity } from "./header.ts";
import { LogFiles } from "./log_files.ts";
import type { ResolvedPersist } from "./options.ts";
import { lossOf, type Recovered, type Recovery, recover } from "./recovery.ts";
import type { IsUnwanted } from "./replay.ts";
import { allocateBuffer, type RecordBuffer } from "./snapshot.ts";
import { SnapshotFile } from "./snapshot_file.ts";
import * as Policy from "./snapshot_policy.ts";
import { SnapshotTurns } from "./snapshot_turns.ts";
import type { PersistStats } from "./statistics.ts";

/** Pause after a failure, doubled after each further one. */
const PAUSE_MS = 1000;
const PAUSE_MS_MAX = 60_000;

export class Persistence {
  /** Shared by all shards of the store. */
  turns = new SnapshotTurns(1);
  readonly #files: PersistFiles;
  readonly #options: ResolvedPersist;
  #onFault: (error: ZcacheError) => void = () => {};
  /** Takes an unexpected error; without it that is an uncaught exception. */
  onError: ((task: string, error: unknown) => void) | undefined;
  #values: Values | undefined;
  #newLog: ChangeLog | undefined;
  #logs: LogFiles | undefined;
  #buffer: RecordBuffer | undefined;
  #inProgress: SnapshotFile | undefined;
  #snapshotBytes = 0;
  /** The store's count of evictions when the last snapshot was begun. */
  #evicted = 0;
  #snapshots = 0;
  #unsaved = 0;
  #wantsSnapshot = false;
  /** Whether the files were removed because a change was lost. */
  #isRemoved = false;
  #isClosed = false;
  #runs = 0;
  #pauseMs = PAUSE_MS;
  /** End of the pause after a failure, by `performance.now`. */
  #pausedUntil = 0;
  #recovered: Recovered | undefined;
  /** Why the values of this shard are lost, found out before `begin`. */
  #loss: string | undefined;
  /** What a takeover has recovered for this shard, beside values. */
  taken: { readonly frontWords: ArrayLike<number>; readonly dictionary: Uint8Array | undefined } = {
    frontWords: [],
    dictionary: undefined,
  };

  private constructor(files: PersistFiles, options: ResolvedPersist) {
    this.#files = files;
    this.#options = options;
  }

  /**
   * Opens the files of one shard, which this process has locked (shards.ts).
   * @param unlock called by `close`
   * @throws ZcacheError ERR_OPTION if a store of another kind, or with other settings, has written
   *   them; ERR_IO
   */
  static open(options: ResolvedPersist, identity: FileIdentity, unlock: () => void): Persistence {
    const { path, existing } = options;
    return new Persistence(PersistFiles.open(path, identity, existing, unlock), options);
  }

  get path(): string {
    return this.#options.path;
  }

  /** Whether there are files whose headers can be read. */
  get hasValues(): boolean {
    return this.#files.found.some(isReadable);
  }

  /**
   * Sets the seeds of the key hash, before `begin`. Files with other seeds are removed.
   * @param isExpected whether other shards have files, so that this one should have some too
   */
  useSeeds(seeds: readonly [number, number], isExpected: boolean): void {
    const { found } = this.#files;
    if (isExpected && found.length === 0) this.#loss = "has no files, though other shards have";
    if (this.#files.useSeeds(seeds)) return;
    this.#loss = "has the files of another store, which are removed";
  }

  /** Seeds of the key hash, with which the store has to be made. */
  get keySeeds(): readonly [number, number] {
    return this.#files.keySeeds;
  }

  /**
   * Allocates what `begin` needs in the arena of new values.
   * @returns a buffer for records
   * @throws ZcacheError ERR_ARENA_FULL
   */
  prepare(values: Values): RecordBuffer {
    this.#values = values;
    this.#newLog ??= makeLog(values, this.#files);
    this.#buffer ??= allocateBuffer(values);
    return this.#buffer;
  }

  /**
   * Recovers the values in the files, for a store of another number of shards.
   * @param buffer in the memory of the reader
   * @throws ZcacheError as `begin`
   */
  recoverTo(
    to: Destination,
    buffer: RecordBuffer,
    isUnwanted: IsUnwanted,
  ): { readonly recovery: Recovery; readonly losses: readonly ZcacheError[] } {
    const recovery = recover(this.#files, to, buffer, isUnwanted);
    return { recovery, losses: this.#losses(recovery) };
  }

  /** Writes a snapshot of all values at once. @throws ZcacheError ERR_IO */
  writeSnapshot(): void {
    this.#beginSnapshot();
    this.#finishSnapshot(this.#inProgress!);
  }

  /** Removes all files. */
  removeFiles(): void {
    this.#files.removeAll();
  }

  /**
   * Recovers the values in the files, and logs all changes from now on.
   * @param isUnwanted tells which recovered values are to be dropped
   * @param onFault told of failures later
   * @param scheduler runs the task that writes the files; to be stopped before `detach` and
   *   `writeLastSnapshot`
   * @returns the recovered dictionary, if any
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  begin(
    values: Values,
    isUnwanted: IsUnwanted,
    onFault: (error: ZcacheError) => void,
    scheduler: Scheduler,
  ): Uint8Array | undefined {
    const buffer = this.prepare(values);
    this.#onFault = onFault;
    const log = this.#newLog!;
    const own = new OneShard(values);
    const recovery = this.#recover(own, isUnwanted, log);
    const sizeBytesMax = Policy.logBytesMax(this.#options.maxBytes);
    this.#logs = new LogFiles(log, this.#files, sizeBytesMax, recovery);
    this.#evicted = values.store.inspection.evicted;
    this.#logs.begin(recovery.generationMax, recovery.unitsBefore);
    recovery.link(log.generation, buffer.at);
    logTo(values, log);
    log.onFull = () => this.#replaceFullLog();
    scheduler.add({
      name: "persist",
      everyMs: this.#options.flushMs,
      step: () => {
        this.#run();
        return false;
      },
      last: () => this.#run(),
    });
    flushAtExit(this);
    // Later, because the creator of the store has no listener yet.
    for (const loss of this.#losses(recovery)) setImmediate(() => onFault(loss));
    return own.dictionary ?? this.taken.dictionary;
  }

  /** The words that the front wrote last (`ChangeLog.note`). */
  get frontWords(): readonly number[] {
    return this.#log.lastNote;
  }

  /** For threads that attach: word index of the log, and the path of the files for messages. */
  share(): { readonly at: number; readonly path: string } {
    return { at: this.#log.at, path: this.#options.path };
  }

  /** Writes all changes so far to the log. @throws ZcacheError ERR_IO */
  flush(): void {
    if (this.#logs === undefined) return;
    this.#drain();
    this.#replaceRemovedLog();
    flushLog(this.#log, this.#options.path);
  }

  stats(): PersistStats {
    const { log, sizeBytes } = this.#logs!;
    return {
      path: this.#options.path,
      logBytes: sizeBytes,
      snapshotBytes: this.#snapshotBytes,
      waitingBytes: log.waitingBytes,
      snapshots: this.#snapshots,
      unsaved: this.#unsaved,
      errors: log.errors,
      isSuspended: log.isBroken,
      recovered: this.#recovered!,
    };
  }

  /** Ends the work of this thread. The log that other threads fill is also written at exit. */
  detach(): void {
    this.#abandonSnapshot();
    const log = this.#log;
    this.#attempt(() => log.drain());
    this.#logs = undefined;
    exitFlushes.delete(this);
    flushDetachedAtExit(this.#values!.store.share(), log, this.#options.path);
  }

  /** Before the store is closed: writes a snapshot if a restart would read the logs for longer. */
  writeLastSnapshot(): void {
    const logs = this.#logs;
    if (logs === undefined || logs.log.isBroken || this.#store.isClosed) return;
    this.#attempt(() => {
      this.#drain();
      logs.closeOld();
      if (this.#inProgress === undefined) {
        // A restart would find values in the logs that were evicted since.
        const hasEvicted = this.#store.inspection.evicted > this.#evicted;
        const pays = hasEvicted || this.#wantsSnapshot || Policy.paysAtClose(this.#sizes);
        if (!pays) return;
        this.#beginLogAndSnapshot();
      }
      this.#finishSnapshot(this.#inProgress!);
    });
  }

  /**
   * After the store is closed, before this thread detaches: writes and syncs all changes, and
   * unlocks the files. After `detach`, or if the store could not be opened, it only unlocks them.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    exitFlushes.delete(this);
    const logs = this.#logs;
    if (logs !== undefined) {
      this.#abandonSnapshot();
      this.#attempt(() => logs.finish());
      this.#attempt(() => logs.log.end(Log.OFF));
      logs.close();
    }
    this.#files.unlock();
  }

  get #store(): Store {
    return this.#values!.store;
  }

  get #log(): ChangeLog {
    return this.#logs!.log;
  }

  #recover(to: Destination, isUnwanted: IsUnwanted, log: ChangeLog): Recovery {
    const recovery = recover(this.#files, to, log.room, isUnwanted);
    const { frontWords } = this.taken;
    log.note(frontWords.length > 0 ? frontWords : recovery.frontWords);
    this.#snapshotBytes = recovery.snapshotBytes;
    this.#wantsSnapshot = recovery.isDamaged || recovery.logs > Policy.LOGS_MAX;
    this.#recovered = recovery.recovered;
    return recovery;
  }

  /** The errors that report what was lost. */
  #losses(recovery: Recovery): ZcacheError[] {
    const { path } = this.#options;
    const loss = lossOf(path, recovery);
    const losses = loss === undefined ? [] : [loss];
    if (this.#loss === undefined) return losses;
    const message = `persist: ${path} ${this.#loss}: the values of this shard are lost`;
    return [...losses, new ZcacheError("ERR_CORRUPT", message, { context: { path } })];
  }

  /** One run of the background task. */
  #run(): void {
    const { log } = this.#logs!;
    // A look at the file takes as long as some sets: all shards together look as often as one.
    const looks = this.#runs++ % this.turns.shards === 0;
    this.#attempt(() => {
      if (log.isBroken) this.#beginAnew();
      else {
        this.#drain();
        this.#logs!.closeOld();
        if (this.#store.isClosed) return;
        if (looks) this.#replaceRemovedLog();
        this.#advanceSnapshot();
      }
    });
  }

  /** Runs work that may fail for reasons outside of the process. A failure causes a pause. */
  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (error instanceof ZcacheError) this.#fail(error);
      else if (this.onError === undefined) throw error;
      else this.onError("the files of persist", error);
    }
  }

  #fail(error: ZcacheError): void {
    this.#abandonSnapshot();
    // Another thread has closed the store in the middle of a step.
    if (error.code === "ERR_STORE_CLOSED" || error.code === "ERR_ARENA_CLOSED") return;
    this.#pausedUntil = performance.now() + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX);
    this.#onFault(error);
  }

  /** After a change was lost: removes the files, which are outdated, and begins new ones later. */
  #beginAnew(): void {
    if (!this.#isRemoved) {
      this.#isRemoved = true;
      this.#logs!.removeAll();
      this.#snapshotBytes = 0;
      const message = `persist: ${this.#options.path} could not be written: the files are removed`;
      throw new ZcacheError("ERR_IO", message, { context: { path: this.#options.path } });
    }
    if (performance.now() < this.#pausedUntil) return;
    // Skips a number: if an outdated log could not be removed, a start notices that one is missing.
    this.#logs!.begin(this.#log.generation + 1);
    this.#isRemoved = false;
    this.#beginSnapshot();
  }

  /** If the file of the current log was removed or replaced: begins another log and a snapshot. */
  #replaceRemovedLog(): void {
    if (!this.#logs!.isRemoved) return;
    const { generation } = this.#log;
    this.#abandonSnapshot();
    this.#beginLogAndSnapshot();
    this.#finishSnapshot(this.#inProgress!);
    const file = `${this.#options.path}.log.${generation}`;
    const message = `persist: ${file} was removed by another program: new files are written`;
    const context = { path: this.#options.path, generation };
    this.#onFault(new ZcacheError("ERR_IO", message, { context }));
  }

  /** @internal Bytes of the last complete snapshot. */
  get snapshotBytes(): number {
    return this.#snapshotBytes;
  }

  /** What snapshot_policy.ts decides by. */
  get #sizes(): Policy.Sizes {
    return {
      logBytes: this.#logs!.sizeBytes,
      snapshotBytes: this.#snapshotBytes,
      storedBytes: this.#store.inspection.storedBytes,
      maxBytes: this.#options.maxBytes,
    };
  }

  /** Begins a snapshot if one is due, or writes some milliseconds of the one in progress. */
  #advanceSnapshot(): void {
    const inProgress = this.#inProgress;
    if (inProgress === undefined) {
      const isPaused = performance.now() < this.#pausedUntil;
      const isDue = this.#wantsSnapshot || Policy.isDue(this.#sizes);
      if (isDue && !isPaused && this.turns.isFreeFor(this)) this.#beginLogAndSnapshot();
      return;
    }
    if (inProgress.isSyncing) return;
    const end = performance.now() + Policy.stepMs(this.#log.fileBytes, this.#options.maxBytes);
    while (performance.now() < end) {
      if (!inProgress.step()) {
        if (!Policy.isRunaway(inProgress.sizeBytes, this.#store.inspection.storedBytes)) continue;
        // Other threads remove so much that the scan keeps going back.
        this.#abandonSnapshot();
        this.#pausedUntil = performance.now() + PAUSE_MS_MAX;
        return;
      }
      void inProgress.syncLater((failure) => this.#onSynced(failure));
      return;
    }
  }

  /** Begins a log, and a snapshot that will replace all logs before it. */
  #beginLogAndSnapshot(): void {
    this.#logs!.beginNext();
    this.#beginSnapshot();
  }

  #beginSnapshot(): void {
    const { generation } = this.#log;
    const max = this.turns.begin(this, this.#options.maxBytes);
    this.#inProgress = new SnapshotFile(this.#files, this.#values!, this.#buffer!, generation, max);
    this.#evicted = this.#store.inspection.evicted;
  }

  /** Writes all changes so far; a log that has reached its limit is replaced first. */
  #drain(): void {
    try {
      this.#log.drain();
    } catch (error) {
      if (!isLogFull(error) || this.#store.isClosed) throw error;
      this.#replaceFullLog();
      this.#log.drain();
    }
  }

  /** The log is full: finishes the snapshot in progress at once, and begins another log. */
  #replaceFullLog(): void {
    this.#attempt(() => {
      if (this.#inProgress !== undefined) this.#finishSnapshot(this.#inProgress);
      this.#logs!.closeOld();
      this.#beginLogAndSnapshot();
    });
  }

  /** @internal */
  finishSnapshot(): void {
    this.#attempt(() => {
      if (this.#inProgress !== undefined) this.#finishSnapshot(this.#inProgress);
    });
  }

  #finishSnapshot(file: SnapshotFile): void {
    file.finish();
    this.#publish(file);
  }

  #onSynced(failure: unknown): void {
    this.#attempt(() => {
      if (failure !== undefined) throw failure;
      this.#publish(this.#inProgress!);
    });
  }

  /** The snapshot is on the device: it replaces all older files. */
  #publish(file: SnapshotFile): void {
    file.publish();
    this.#inProgress = undefined;
    this.turns.end(this);
    this.#snapshotBytes = file.sizeBytes;
    this.#unsaved = file.unsaved;
    this.#logs!.forgetOld();
    this.#snapshots++;
    this.#wantsSnapshot = false;
    this.#pauseMs = PAUSE_MS;
  }

  /** Gives up the snapshot in progress, if there is one. */
  #abandonSnapshot(): void {
    this.turns.end(this);
    if (this.#inProgress === undefined) return;
    this.#inProgress.abandon();
    this.#inProgress = undefined;
    // The logs that it was to replace are still needed, and as long as before.
    this.#wantsSnapshot = true;
  }
}
