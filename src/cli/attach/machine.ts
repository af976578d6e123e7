// What `attach`, `detach` and `list` see of the machine, and what they do to it. LinuxMachine is
// the real one (linux.ts); the tests have a double that can stop at any step.
import type { ControlRequest } from "../../monitor/control_protocol.ts";
import type { ProcessIdentity } from "../../node/process_identity.ts";

/** A mounted file system, or a file mounted by FUSE. */
export interface Mount {
  readonly target: string;
  /** Major and minor number of the block device, such as `7:0`. */
  readonly number: string;
  readonly type: string;
}

/** An active swap device. */
export interface Swap {
  readonly device: string;
  readonly usedBytes: number;
  /** What of it is free. */
  readonly freeBytes: number;
}

export interface LoopDevice {
  readonly device: string;
  /** The file behind it. */
  readonly file: string;
}

/** A device of the kernel's nbd driver. */
export interface NbdDevice {
  readonly device: string;
  readonly isConnected: boolean;
}

/** A block device, or a partition of one. */
export interface BlockDevice {
  readonly device: string;
  readonly number: string;
  /** Block devices that are made of it, such as those of the device mapper. */
  readonly holders: readonly string[];
}

/** A process that has a file open, works in a folder, or runs a program of it. */
export interface Opener {
  readonly pid: number;
  readonly name: string;
}

/** A control group that has no room for its swapped pages. */
export interface FullGroup {
  readonly name: string;
  readonly swappedBytes: number;
  /** What its limit leaves. */
  readonly roomBytes: number;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** So that `marked` finds the program if the one that has run it was killed. */
  readonly mark?: string;
}

/** A program to start in the background. */
export interface Background {
  readonly program: string;
  readonly args: readonly string[];
  /** The file for its output. */
  readonly log: string;
  /** Marks its environment, so that `marked` finds it. */
  readonly mark: string;
  /** The control group that it runs in. */
  readonly group: Group;
}

/** A control group that does not swap. */
export interface Group {
  /** The file that takes the number of a process; undefined if there is no such group. */
  readonly procs: string | undefined;
  /** Why there is no such group, or why it may swap. */
  readonly refusal: string | undefined;
}

export interface Machine {
  readonly isRoot: boolean;
  /** Whether a program is installed. */
  has(program: string): boolean;
  /** Whether there is a file, such as a device. */
  exists(path: string): boolean;
  isFolder(path: string): boolean;
  /** Waits a moment, between two looks at something that is about to change. */
  pause(): Promise<void>;
  /** Milliseconds of a clock that never runs backwards. */
  nowMs(): number;
  /**
   * Runs a program to its end.
   * @param how what ends the program early, and the mark of its environment; with a signal, the
   *   call returns when the program has ended
   * @returns what it has written to stdout
   * @throws ZcacheError ERR_SYSTEM with its first line of stderr; the reason of the signal
   */
  run(program: string, args: readonly string[], how?: RunOptions): Promise<string>;
  /** Starts a program that goes on when this one ends. @throws ZcacheError ERR_SYSTEM */
  start(background: Background): Promise<ProcessIdentity>;
  /** Sends a signal; nothing happens if there is no such process. */
  kill(pid: number, signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  isAlive(process: ProcessIdentity): boolean;
  /** Whether a process handles SIGTERM, instead of being ended by it. */
  handlesTerm(pid: number): boolean;
  /** Numbers of the running processes with this mark. */
  marked(mark: string): number[];
  /** Makes the group, or returns the one of that name. */
  makeGroup(name: string): Promise<Group>;
  removeGroup(name: string): Promise<void>;
  /** The number by which the kernel chooses processes to kill; undefined if unknown. */
  oomScoreOf(pid: number): number | undefined;
  mounts(): Mount[];
  swaps(): Swap[];
  loops(): LoopDevice[];
  nbds(): NbdDevice[];
  /** A block device, followed by its partitions; empty if there is no such device. */
  blocks(device: string): BlockDevice[];
  /** Processes that use one of these paths, or something below it if it ends with a slash. */
  openers(paths: readonly string[]): Opener[];
  /** Control groups whose swapped pages do not fit within their limit. */
  fullGroups(): FullGroup[];
  /** Bytes that programs can still take without swapping. */
  availableBytes(): number;
  /** The answer of a daemon. @throws ZcacheError ERR_IO if there is none within `replyMs` */
  ask(
    control: string,
    request: ControlRequest,
    replyMs: number,
  ): Promise<Readonly<Record<string, unknown>>>;
}
