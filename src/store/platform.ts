// What a store needs of the platform it runs on: a contract that `node/platform.ts` fulfils.
import type { BackingDevice, BackingShare } from "../backing/contract.ts";
import type { Clock } from "../base/clock.ts";
import type { Threads } from "../base/threads.ts";
import type { CodecRegistry } from "../codec/registry.ts";

export interface DeviceOptions {
  readonly path: string;
  readonly sizeBytesMax: number;
  readonly existing: "reuse" | "refuse" | "discard";
  readonly preallocate: boolean;
}

export interface StorePlatform {
  readonly threads: Threads;
  readonly clock: Clock;
  /** 32 random bits. */
  random(): number;
  /** The codecs, for the calling thread. */
  codecs(): CodecRegistry;
  /** Opens a write-back file. @throws ZcacheError ERR_IO, ERR_FILE_LOCKED */
  openDevice(options: DeviceOptions): BackingDevice;
  /** Opens in another thread what `openDevice` has opened in this process. */
  attachDevice(share: BackingShare): BackingDevice;
}

/** What the background work called `name` has done so far. */
export interface TaskStats {
  readonly name: string;
  readonly runs: number;
  /** Runs that an unexpected error has ended. */
  readonly errors: number;
  /** Time spent, in ms. */
  readonly ms: number;
}

/** Background work on a store, in one thread (node/scheduler.ts). */
export interface BackgroundWork {
  readonly tasks: readonly TaskStats[];
  /** Ends it for good. */
  stop(): void;
}
