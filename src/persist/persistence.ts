// What makes a cache begin with what the process before it had: recovers the files at the start,
// moves changes to the log on a timer, and now and then writes everything anew as a snapshot, some
// milliseconds at a time, so that the logs do not grow for ever.
//
// Where the files can't be written for so long that a change would be lost, they are removed: a
// cache may forget, but a value that has been overwritten or deleted must not come back. After a
// pause it is begun anew.
import { randomInt } from "node:crypto";
import { ZcacheError } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import type { Scheduler } from "../node/scheduler.ts";
import * as Log from "../store/change_log.layout.ts";
import type { ChangeLog } from "../store/change_log.ts";
import { FILE_HEADER_BYTES as HEADER_BYTES, UNKNOWN } from "../store/change_record.layout.ts";
import type { Store } from "../store/store.ts";
import { logTo, makeLog } from "../values/stored.ts";
import type { Values } from "../values/values.ts";
import { exitFlushes, flushAtExit, flushDetachedAtExit, flushLog } from "./exit.ts";
import { RestartFiles } from "./files.ts";
import type { RestartIdentity } from "./header.ts";
import type { ResolvedPersist } from "./options.ts";
import { lossOf, type Recovered, type Recovery, recover } from "./recovery.ts";
import type { IsUnwanted } from "./replay.ts";
import { Snapshot, snapshotRoom } from "./snapshot.ts";

/** Time of one step of a snapshot: a fifth of the default time between two. */
const STEP_MS = 4;
/** A snapshot has no more than this times what is stored: with headers, and what grows. */
const RUNAWAY_FACTOR = 4;
const RUNAWAY_BYTES = 16 * MIB;
/** How much longer a step is when the log is nearly full: then there is no time to lose. */
const HURRY = 10;
/** Bytes of logs that are always allowed: below this it is faster to read them. */
const LOG_BYTES_FREE = 4 * MIB;
/** When the cache is closed, a snapshot is written if the logs are so many times as long. */
const WORTH_FACTOR = 1.5;
/** Logs at most, however short: each start begins one. */
const LOGS_MAX = 4;
/** Parts of `max`: for a log, above which a snapshot is begun, and for that. Twice each. */
const LOG_PART = 1 / 8;
const LOG_PART_WANTED = 1 / 16;
const SNAPSHOT_PART = 3 / 8;
/** A pause after a failure, doubled with each. */
const PAUSE_MS = 1000;
const PAUSE_MS_MAX = 60_000;
const RANDOM_END = 2 ** 32;

export interface PersistStats {
  readonly path: string;
  /** Bytes of the logs and of the snapshot that a restart would read. */
  readonly logBytes: number;
  readonly snapshotBytes: number;
  /** Bytes that are not in the log yet. */
  readonly waitingBytes: number;
  readonly snapshots: number;
  /** Values that the last snapshot had no room for. */
  readonly unsaved: number;
  /** Writes that failed; and whether nothing is kept just now, because of them. */
  readonly errors: number;
  readonly isSuspended: boolean;
  /** What there was at the start: values, and what the files had. */
  readonly recovered: Recovered;
}

/** A snapshot that is being written. */
interface Compaction {
  readonly snapshot: Snapshot;
  readonly generation: number;
  readonly fd: number;
  isSyncing: boolean;
  isOver: boolean;
}

export class Restart {
  readonly #files: RestartFiles;
  readonly #options: ResolvedPersist;
  readonly #keySeeds: readonly [number, number];
  #onFault: (error: ZcacheError) => void = () => {};
  /** Takes what nobody expected; without it that is an uncaught exception. */
  onError: ((task: string, error: unknown) => void) | undefined;
  #values: Values | undefined;
  #log: ChangeLog | undefined;
  #room: ReturnType<typeof snapshotRoom> | undefined;
  #fd = -1;
  #oldFd = -1;
  #compaction: Compaction | undefined;
  /** Of logs before the one that is written, and of the snapshot. */
  #oldLogBytes = 0;
  #oldLogs = 0;
  #snapshotBytes = 0;
  #evicted = 0;
  #snapshots = 0;
  #unsaved = 0;
  #wantsSnapshot = false;
  #isRemoved = false;
  #isClosed = false;
  #pauseMs = PAUSE_MS;
  #notBefore = 0;
  #recovered: Recovered | undefined;

  private constructor(files: RestartFiles, options: ResolvedPersist) {
    this.#files = files;
    this.#options = options;
    const random = () => randomInt(RANDOM_END) | 0;
    this.#keySeeds = files.keySeeds ?? [random(), random()];
  }

  /**
   * Takes the files for this process.
   * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if they can't be this cache's; ERR_IO
   */
  static open(options: ResolvedPersist, identity: RestartIdentity): Restart {
    return new Restart(RestartFiles.open(options.path, identity, options.existing), options);
  }

  /** Of the keys' hash: the store is to be made with these. */
  get keySeeds(): readonly [number, number] {
    return this.#keySeeds;
  }

  /**
   * Recovers what there is, and keeps what changes from here on.
   * @param onFault told of what fails later
   * @param scheduler writes the log from now on; to be stopped before `detach` and `settle`
   * @returns the dictionary in use
   * @throws ZcacheError ERR_IO, ERR_ARENA_FULL
   */
  begin(
    values: Values,
    isUnwanted: IsUnwanted,
    onFault: (error: ZcacheError) => void,
    scheduler: Scheduler,
  ): Uint8Array | undefined {
    this.#values = values;
    this.#onFault = onFault;
    const log = makeLog(values, this.#files);
    this.#log = log;
    this.#room = snapshotRoom(values);
    const recovery = this.#recover(values, isUnwanted, log);
    this.#evicted = values.store.inspection.evicted;
    this.#beginLog(recovery.generationMax, recovery.unitsBefore);
    recovery.link(log.generation, this.#room.at);
    logTo(values, log);
    log.onFull = () => this.#hurry();
    scheduler.add({
      name: "persist",
      everyMs: this.#options.flushMs,
      step: () => {
        this.#beat();
        return false;
      },
      last: () => this.#beat(),
    });
    flushAtExit(this);
    const loss = lossOf(this.#options.path, recovery);
    // Whoever made the cache has no listener yet.
    if (loss !== undefined) setImmediate(() => onFault(loss));
    return recovery.dictionary;
  }

  /** What the front noted last. */
  get note(): readonly number[] {
    return this.#log!.noted;
  }

  /** What another thread needs: where the log's words stand, and the path for its messages. */
  share(): { readonly at: number; readonly path: string } {
    return { at: this.#log!.at, path: this.#options.path };
  }

  /** Moves all that waits to the log. @throws ZcacheError ERR_IO */
  flush(): void {
    if (this.#log === undefined) return;
    this.#drain();
    this.#replaceGone();
    flushLog(this.#log, this.#options.path);
  }

  stats(): PersistStats {
    const log = this.#log!;
    return {
      path: this.#options.path,
      logBytes: this.#oldLogBytes + log.fileBytes,
      snapshotBytes: this.#snapshotBytes,
      waitingBytes: log.waitingBytes,
      snapshots: this.#snapshots,
      unsaved: this.#unsaved,
      errors: log.errors,
      isSuspended: log.isBroken,
      recovered: this.#recovered!,
    };
  }

  /** Ends the work of this thread, while others go on: what they change goes to the same log. */
  detach(): void {
    this.#abandon();
    const log = this.#log!;
    this.#attempt(() => log.drain());
    this.#log = undefined;
    exitFlushes.delete(this);
    flushDetachedAtExit(this.#values!.store.share(), log, this.#options.path);
  }

  /** Before the store is closed: writes a snapshot, if reading the logs would take longer. */
  settle(): void {
    const log = this.#log;
    if (log === undefined || log.isBroken || this.#store.isClosed) return;
    this.#attempt(() => {
      this.#drain();
      this.#closeOld();
      if (this.#compaction === undefined && !this.#isWorthIt()) return;
      if (this.#compaction === undefined) this.#beginCompaction();
      this.#finishNow(this.#compaction!);
    });
  }

  /**
   * Once the store is closed, before this thread detaches: all is on the device, and the files are
   * given back. After `detach`, or where the store could not be opened, there is nothing to write.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    exitFlushes.delete(this);
    const log = this.#log;
    if (log !== undefined) {
      this.#abandon();
      this.#attempt(() => {
        log.finish();
        log.drain();
        if (this.#fd >= 0) this.#files.sync(this.#fd);
      });
      this.#attempt(() => log.end(Log.OFF));
      this.#closeOld();
      if (this.#fd >= 0) this.#files.close(this.#fd);
      this.#fd = -1;
    }
    this.#files.unlock();
  }

  get #store(): Store {
    return this.#values!.store;
  }

  #recover(values: Values, isUnwanted: IsUnwanted, log: ChangeLog): Recovery {
    const recovery = recover(this.#files, values, log.room, isUnwanted);
    log.note(recovery.note);
    this.#oldLogBytes = recovery.logBytes;
    this.#oldLogs = recovery.logs;
    this.#snapshotBytes = recovery.snapshotBytes;
    this.#wantsSnapshot = recovery.isDamaged || this.#oldLogs > LOGS_MAX;
    this.#recovered = recovery.recovered;
    return recovery;
  }

  /** Lets changes go to a new file. */
  #beginLog(above: number, unitsBefore = UNKNOWN): void {
    const generation = this.#files.freeGeneration(above);
    const { fd, seed } = this.#files.create("log", generation, this.#keySeeds);
    try {
      const sizeBytesMax = Math.floor(this.#options.maxBytes * LOG_PART);
      const before = this.#log!.switchTo({ fd, generation, seed, sizeBytesMax, unitsBefore });
      // What waited for the file before that has been written now.
      if (this.#oldFd >= 0) this.#files.close(this.#oldFd);
      this.#oldFd = before;
    } catch (error) {
      this.#files.close(fd);
      // It follows none, and would look like the sign of one that is missing.
      this.#files.abandonLog(generation);
      throw error;
    }
    this.#fd = fd;
  }

  #beat(): void {
    const log = this.#log!;
    this.#attempt(() => {
      if (log.isBroken) this.#beginAnew();
      else {
        this.#drain();
        this.#closeOld();
        if (this.#store.isClosed) return;
        this.#replaceGone();
        this.#compact();
      }
    });
  }

  /** Does what may fail for reasons of the world outside; it is told, and there is a pause. */
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
    this.#abandon();
    // Another thread has closed the cache in the middle of a step.
    if (error.code === "ERR_STORE_CLOSED" || error.code === "ERR_ARENA_CLOSED") return;
    this.#notBefore = performance.now() + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS_MAX);
    this.#onFault(error);
  }

  /** Once a change was lost: removes what is old by now, and later begins with nothing. */
  #beginAnew(): void {
    if (!this.#isRemoved) {
      this.#isRemoved = true;
      this.#files.removeAll();
      this.#closeOld();
      this.#files.close(this.#fd);
      this.#fd = -1;
      this.#oldLogBytes = this.#oldLogs = this.#snapshotBytes = 0;
      const message = `persist: ${this.#options.path} could not be written: its files are removed`;
      throw new ZcacheError("ERR_IO", message, { context: { path: this.#options.path } });
    }
    if (performance.now() < this.#notBefore) return;
    // Not the next number: what could not be removed is told by the one that is missing.
    this.#beginLog(this.#log!.generation + 1);
    this.#isRemoved = false;
    this.#beginSnapshot();
  }

  /** Somebody has removed the log that is written: begins another, and a snapshot. */
  #replaceGone(): void {
    const { generation, isBroken } = this.#log!;
    if (isBroken || !this.#files.isGone(this.#fd, generation)) return;
    this.#abandon();
    this.#beginCompaction();
    this.#finishNow(this.#compaction!);
    const message = `persist: ${this.#options.path}.log.${generation} was removed by others`;
    const context = { path: this.#options.path, generation };
    this.#onFault(new ZcacheError("ERR_IO", `${message}: all is written anew`, { context }));
  }

  #closeOld(): void {
    if (this.#log!.needsOld) return;
    if (this.#oldFd >= 0) this.#files.close(this.#oldFd);
    this.#oldFd = -1;
  }

  get #logBytes(): number {
    return this.#oldLogBytes + this.#log!.fileBytes;
  }

  /** Whether a restart would be faster with a new snapshot, or know what has been evicted. */
  #isWorthIt(): boolean {
    if (this.#store.inspection.evicted > this.#evicted) return true;
    const enough = Math.max(MIB, this.#store.inspection.storedBytes * WORTH_FACTOR);
    return this.#logBytes > enough || this.#wantsSnapshot;
  }

  #isDue(): boolean {
    if (performance.now() < this.#notBefore) return false;
    if (this.#wantsSnapshot) return true;
    const live = Math.max(this.#store.inspection.storedBytes, this.#snapshotBytes);
    const wanted = this.#options.maxBytes * LOG_PART_WANTED;
    return this.#logBytes > Math.min(2 * live + LOG_BYTES_FREE, wanted);
  }

  #compact(): void {
    if (this.#compaction === undefined) {
      if (this.#isDue()) this.#beginCompaction();
      return;
    }
    const compaction = this.#compaction;
    if (compaction.isSyncing) return;
    const fill = this.#log!.fileBytes / (this.#options.maxBytes * LOG_PART);
    const end = performance.now() + STEP_MS * (1 + fill * HURRY);
    while (performance.now() < end) {
      if (!compaction.snapshot.step()) {
        if (compaction.snapshot.bytes < this.#runawayBytes) continue;
        // So much is removed meanwhile that the walk goes back again and again.
        this.#abandon();
        this.#notBefore = performance.now() + PAUSE_MS_MAX;
        return;
      }
      compaction.isSyncing = true;
      void this.#finish(compaction);
      return;
    }
  }

  /** A snapshot that is longer than this meets the same values again and again. */
  get #runawayBytes(): number {
    return RUNAWAY_FACTOR * Math.max(this.#store.inspection.storedBytes, RUNAWAY_BYTES);
  }

  #beginCompaction(): void {
    const log = this.#log!;
    const before = log.fileBytes;
    this.#beginLog(log.generation);
    this.#oldLogBytes += before;
    this.#oldLogs++;
    log.drain();
    this.#closeOld();
    this.#beginSnapshot();
  }

  #beginSnapshot(): void {
    const { generation } = this.#log!;
    const { fd, seed } = this.#files.create("snapshot", generation, this.#keySeeds);
    let offset = HEADER_BYTES;
    const write = (bytes: Uint8Array) => {
      this.#files.write(fd, offset, bytes);
      offset += bytes.length;
    };
    const max = Math.floor(this.#options.maxBytes * SNAPSHOT_PART);
    const snapshot = new Snapshot(this.#values!, this.#room!, seed, max, write);
    this.#evicted = this.#store.inspection.evicted;
    this.#compaction = { snapshot, generation, fd, isSyncing: false, isOver: false };
  }

  /** Writes what waits; where the log is full, after a snapshot that makes room for another. */
  #drain(): void {
    try {
      this.#log!.drain();
    } catch (error) {
      const isFull = error instanceof ZcacheError && error.context["code"] === "EFBIG";
      if (!isFull || this.#store.isClosed) throw error;
      this.#hurry();
      this.#log!.drain();
    }
  }

  /** The log is full before the snapshot is whole: it is finished at once, another log begun. */
  #hurry(): void {
    this.#attempt(() => {
      if (this.#compaction !== undefined) this.#finishNow(this.#compaction);
      this.#closeOld();
      this.#beginCompaction();
    });
  }

  #finishNow(compaction: Compaction): void {
    while (!compaction.isSyncing && !compaction.snapshot.step());
    this.#files.sync(compaction.fd);
    this.#publish(compaction);
  }

  async #finish(compaction: Compaction): Promise<void> {
    let failure: unknown;
    await this.#files.syncLater(compaction.fd).catch((error: unknown) => {
      failure = error;
    });
    if (compaction.isOver) {
      this.#files.close(compaction.fd);
      return;
    }
    this.#attempt(() => {
      if (failure !== undefined) throw failure;
      compaction.isSyncing = false;
      this.#publish(compaction);
    });
  }

  /** The snapshot is on the device: it takes the place of what was before. */
  #publish(compaction: Compaction): void {
    this.#files.publish(compaction.generation);
    this.#compaction = undefined;
    compaction.isOver = true;
    if (!compaction.isSyncing) this.#files.close(compaction.fd);
    this.#snapshotBytes = HEADER_BYTES + compaction.snapshot.bytes;
    this.#unsaved = compaction.snapshot.unsaved;
    this.#oldLogBytes = this.#oldLogs = 0;
    this.#snapshots++;
    this.#wantsSnapshot = false;
    this.#pauseMs = PAUSE_MS;
  }

  /** Gives up the snapshot that is being written, if one is. */
  #abandon(): void {
    const compaction = this.#compaction;
    if (compaction === undefined) return;
    this.#compaction = undefined;
    compaction.isOver = true;
    // Who waits for the device has the descriptor yet.
    if (!compaction.isSyncing) this.#files.close(compaction.fd);
    this.#files.abandon(compaction.generation);
    // What it was to take the place of is still needed, and is as long as before.
    this.#wantsSnapshot = true;
  }
}
