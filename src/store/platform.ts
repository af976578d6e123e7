// What a store needs of its platform: a contract that node/platform.ts implements.
import type { BackingDevice, BackingShare } from "../backing/contract.ts";
import type { RemoteFigures } from "../backing/remote_contract.ts";
import type { Clock } from "../base/clock.ts";
import type { Threads } from "../base/threads.ts";
import type { CodecRegistry } from "../codec/registry.ts";
import type { ReleaseArena } from "../memory/thread_table.ts";
import type { KernelSwitch } from "../wasm/kernel_switch.ts";
import type { KeptRecords } from "./kept_records.ts";

export interface DeviceOptions {
  readonly path: string;
  readonly sizeBytesMax: number;
  readonly existing: "reuse" | "refuse" | "discard";
  readonly preallocate: boolean;
}

export interface StorePlatform {
  readonly threads: Threads;
  /** Where a store has several shards: what the kernels of all of them are called through. */
  readonly kernelSwitch?: KernelSwitch;
  /**
   * Whether the system takes only touched memory into account, so that a store may reserve more
   * than it needs and grow later.
   */
  readonly reservesFreely: boolean;
  /** Returns the memory of closed arenas to the system; undefined where that is not possible. */
  readonly releaseArena?: ReleaseArena;
  readonly clock: Clock;
  /** 32 random bits. */
  random(): number;
  /** Returns the codecs for the calling thread. */
  codecs(): CodecRegistry;
  /** Opens a write-back file. @throws ZcacheError ERR_IO, ERR_FILE_LOCKED */
  openDevice(options: DeviceOptions): BackingDevice;
  /**
   * Removes the write-back files `path.from` and so on, up to the most that a store has, which no
   * process uses: a store of more shards has left them.
   */
  removeDevices(path: string, from: number): void;
  /** Opens, in another thread of the same process, a device that `openDevice` has opened. */
  attachDevice(share: BackingShare): BackingDevice;
}

/** The remote tier of a store, in the thread that made the store (node/remote_service.ts). */
export interface RemoteControl {
  /**
   * Resolves when this store has the lease of its prefix, and rejects if the first attempt failed:
   * then it is tried again in the background.
   * @throws ZcacheError as a rejection: ERR_REMOTE, ERR_REMOTE_OWNED
   */
  readonly ready: Promise<void>;
  /** Allows to remove records that no page of the store has, also those of earlier owners. */
  sweep(): void;
  /**
   * Removes all records under the prefix, before a store is closed whose pages nobody needs.
   * @returns whether all nodes have answered
   */
  empty(): Promise<boolean>;
  /** Records that a file names, for a restart: they are not removed. */
  readonly kept: KeptRecords;
  /** From now on no page comes back by itself: its record stays where a file may say that it is. */
  holdPages(): void;
  /**
   * Keeps no record any more, and removes those that no page has.
   * @returns whether all nodes have answered
   */
  releaseKept(): Promise<boolean>;
  /** The nodes, as last known. */
  figures(): RemoteFigures;
}

/** Statistics of the background task called `name`. */
export interface TaskStats {
  readonly name: string;
  readonly runs: number;
  /** Runs that ended with an unexpected error. */
  readonly errors: number;
  /** Time spent, in ms. */
  readonly ms: number;
}

/** The background tasks of one thread on a store (node/scheduler.ts). */
export interface BackgroundWork {
  readonly tasks: readonly TaskStats[];
  /** Stops all tasks for good. */
  stop(): void;
}
