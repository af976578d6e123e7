// A machine for `attach` and `detach` that exists in memory only: processes, mounts, loop devices,
// the kernel's nbd, swap. It can stop the program that works on it before or after any step, as
// kill -9 does, and it refuses what would lose data: a loop device removed, or a daemon ended,
// below a mounted file system.
import assert from "node:assert/strict";
import { basename, dirname } from "node:path";
import { ZcacheError } from "../../src/base/errors.ts";
import type {
  Background,
  BlockDevice,
  FullGroup,
  Group,
  LoopDevice,
  Machine,
  Mount,
  NbdDevice,
  Opener,
  RunOptions,
  Swap,
} from "../../src/cli/attach/machine.ts";
import type { ProcessIdentity } from "../../src/node/process_identity.ts";

/** Thrown out of a program that was killed; the program can't do anything after it. */
export class Killed extends Error {}

interface FakeProcess {
  readonly program: string;
  readonly args: readonly string[];
  readonly mark: string;
  handlesTerm: boolean;
}

/** What happens to the program at a step. */
export interface Plan {
  /** The step, counted from 0; each call that changes something has one before and one after it. */
  readonly at: number;
  readonly what: "kill" | "fail" | "signal";
}

const TICK_MS = 50;

function systemError(program: string, why: string): ZcacheError {
  return new ZcacheError("ERR_SYSTEM", `${program}: ${why}`);
}

export class FakeMachine implements Machine {
  isRoot = true;
  readonly missing = new Set<string>();
  readonly files = new Set(["/dev/fuse", "/dev/loop-control", "/proc/swaps"]);
  readonly folders = new Set(["/mnt/a", "/mnt/b", "/mnt/c"]);
  readonly processes = new Map<number, FakeProcess>();
  readonly groups = new Set<string>();
  readonly mounted: { device: string; target: string; isFuse: boolean }[] = [];
  readonly loopFiles = new Map<string, string>();
  readonly nbdSockets = new Map<string, string | undefined>();
  readonly swapped = new Map<string, { usedBytes: number; freeBytes: number }>();
  readonly content = new Map<string, string>();
  /** Processes that use a path. */
  readonly users = new Map<string, Opener>();
  readonly ran: string[] = [];
  available = 1024 ** 3;
  full: FullGroup[] = [];
  /** Whether daemons answer. */
  answers = true;
  plan: Plan | undefined;
  steps = 0;
  readonly signal = new AbortController();
  /** Whether something may be lost: with --force, and below a daemon that was killed. */
  mayLose = false;
  #isKilled = false;
  #now = 0;
  #nextPid = 100;
  #pending: (() => void)[] = [];

  /** The same machine for the next program. */
  revive(): void {
    this.#isKilled = false;
    this.plan = undefined;
    this.steps = 0;
  }

  /** Nothing of any device is left. */
  assertEmpty(): void {
    this.#settle();
    const left = [
      ...[...this.processes.values()].map(({ program }) => program),
      ...this.groups,
      ...this.mounted.map(({ target }) => target),
      ...this.loopFiles.keys(),
      ...[...this.nbdSockets].flatMap(([device, socket]) => (socket === undefined ? [] : [device])),
      ...this.swapped.keys(),
    ];
    assert.deepEqual(left, []);
  }

  addNbd(device: string): void {
    this.files.add(device);
    this.nbdSockets.set(device, undefined);
  }

  /** Ends a process as a crash does. */
  crash(pid: number): void {
    this.#end(pid);
    this.#settle();
  }

  has(program: string): boolean {
    return !this.missing.has(program);
  }

  exists(path: string): boolean {
    return this.files.has(path);
  }

  isFolder(path: string): boolean {
    return this.folders.has(path);
  }

  async pause(): Promise<void> {
    this.#checkAlive();
    this.#now += TICK_MS;
    this.#settle();
  }

  nowMs(): number {
    return this.#now;
  }

  async run(
    program: string,
    args: readonly string[],
    { signal }: RunOptions = {},
  ): Promise<string> {
    return this.#step(program, signal, () => {
      if (!this.has(program)) throw systemError(program, "not found");
      this.ran.push([program, ...args].join(" "));
      return this.#run(program, args);
    });
  }

  async start({ program, args, mark }: Background): Promise<ProcessIdentity> {
    return this.#step(program, undefined, () => {
      const pid = this.#nextPid++;
      const child: FakeProcess = { program, args, mark, handlesTerm: true };
      this.processes.set(pid, child);
      this.#pending.push(() => this.#begin(pid, child));
      return { pid, start: "1", boot: "1" };
    });
  }

  async kill(pid: number, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    return this.#step("kill", undefined, () => {
      if (signal === "SIGKILL") {
        this.#end(pid);
        return;
      }
      const child = this.processes.get(pid);
      if (child === undefined) return;
      const saves = child.args.includes("--image");
      assert.ok(child.handlesTerm || !saves, "a second SIGTERM ends a daemon that saves");
      child.handlesTerm = false;
      this.#pending.push(() => this.#end(pid));
    });
  }

  isAlive({ pid }: ProcessIdentity): boolean {
    return this.processes.has(pid);
  }

  handlesTerm(pid: number): boolean {
    return this.processes.get(pid)?.handlesTerm === true;
  }

  marked(mark: string): number[] {
    this.#checkAlive();
    return [...this.processes].flatMap(([pid, child]) => (child.mark === mark ? [pid] : []));
  }

  async makeGroup(name: string): Promise<Group> {
    return this.#step("group", undefined, () => {
      this.groups.add(name);
      return { procs: `/sys/fs/cgroup/${name}/cgroup.procs`, refusal: undefined };
    });
  }

  async removeGroup(name: string): Promise<void> {
    return this.#step("group", undefined, () => void this.groups.delete(name));
  }

  oomScoreOf(): number {
    return -900;
  }

  mounts(): Mount[] {
    this.#checkAlive();
    return this.mounted.map(({ device, target, isFuse }) => ({
      target,
      number: isFuse ? "0:99" : device,
      type: isFuse ? "fuse" : "ext4",
    }));
  }

  swaps(): Swap[] {
    this.#checkAlive();
    return [...this.swapped].map(([device, bytes]) => ({ device, ...bytes }));
  }

  loops(): LoopDevice[] {
    this.#checkAlive();
    return [...this.loopFiles].map(([device, file]) => ({ device, file }));
  }

  nbds(): NbdDevice[] {
    this.#checkAlive();
    return [...this.nbdSockets].map(([device, socket]) => ({
      device,
      isConnected: socket !== undefined,
    }));
  }

  blocks(device: string): BlockDevice[] {
    return [{ device, number: device, holders: [] }];
  }

  openers(paths: readonly string[]): Opener[] {
    return [...this.users].flatMap(([path, user]) => (paths.includes(path) ? [user] : []));
  }

  fullGroups(): FullGroup[] {
    return this.full;
  }

  availableBytes(): number {
    return this.available;
  }

  async ask(control: string): Promise<Readonly<Record<string, unknown>>> {
    if (!this.answers || !this.exists(control)) throw new ZcacheError("ERR_IO", "no answer");
    const folder = dirname(control);
    const clients = [...this.nbdSockets.values()].filter((one) => one?.startsWith(`${folder}/`));
    return {
      disksize: "1",
      memory_lock: "on",
      mm_stat: "1 2 3 4 5 6 7 8 9",
      server: { connections: clients.length },
    };
  }

  /** Counts a step, and does to the program what the plan says. */
  async #step<T>(program: string, signal: AbortSignal | undefined, work: () => T): Promise<T> {
    this.#point(program);
    signal?.throwIfAborted();
    const result = work();
    this.#point(program);
    signal?.throwIfAborted();
    return result;
  }

  /** A program that was killed can't even look. */
  #checkAlive(): void {
    if (this.#isKilled) throw new Killed();
  }

  #point(program: string): void {
    this.#checkAlive();
    const { plan } = this;
    if (plan === undefined || this.steps++ !== plan.at) return;
    if (plan.what === "kill") {
      this.#isKilled = true;
      throw new Killed();
    }
    if (plan.what === "signal") this.signal.abort(new Killed("by a signal"));
    else throw systemError(program, "has failed as planned");
  }

  #settle(): void {
    for (const change of this.#pending.splice(0)) change();
  }

  #begin(pid: number, { program, args }: FakeProcess): void {
    if (!this.processes.has(pid)) return;
    if (program === "nbdfuse") {
      this.mounted.push({ device: "", target: args[0]!, isFuse: true });
    } else {
      const control = args.find((one) => one.startsWith("--control="))!;
      this.files.add(control.slice("--control=".length));
    }
  }

  #end(pid: number): void {
    const child = this.processes.get(pid);
    if (child === undefined) return;
    this.processes.delete(pid);
    if (child.program === "nbdfuse") return;
    const control = child.args.find((one) => one.startsWith("--control="))!;
    this.files.delete(control.slice("--control=".length));
    // So does nbdfuse when its server has gone.
    for (const [other, { program, mark }] of this.processes) {
      if (program === "nbdfuse" && mark === child.mark) this.#pending.push(() => this.#end(other));
    }
    if (!this.mayLose) this.#assertUnused(child.mark);
  }

  /** The devices of a folder are neither mounted nor swap. */
  #assertUnused(folder: string): void {
    const ofFolder = (place: string | undefined) => place?.startsWith(`${folder}/`) === true;
    const devices = [...this.loopFiles, ...this.nbdSockets].flatMap(([device, place]) =>
      ofFolder(place) ? [device] : [],
    );
    for (const device of devices) this.#assertFree(device);
  }

  #assertFree(device: string): void {
    const isUsed = this.swapped.has(device) || this.mounted.some((one) => one.device === device);
    assert.ok(!isUsed, `${device} is removed while it is in use`);
  }

  #run(program: string, args: readonly string[]): string {
    const last = args.at(-1)!;
    switch (program) {
      case "modprobe":
        throw systemError("modprobe", `FATAL: Module ${last} not found`);
      case "losetup":
        return this.#losetup(args);
      case "nbd-client":
        return this.#nbdClient(args);
      case "mount":
        this.mounted.push({ device: args.at(-2)!, target: last, isFuse: false });
        return "";
      case "umount":
        return this.#umount(last);
      case "blkid":
        if (!this.content.has(last)) throw systemError("blkid", "ended with 2");
        return `${this.content.get(last)}\n`;
      case "mkswap":
        this.content.set(last, "swap");
        return "";
      case "swapon":
        this.swapped.set(last, { usedBytes: 0, freeBytes: 4096 });
        return "";
      case "swapoff":
        assert.ok(this.swapped.delete(last));
        return "";
      default:
        assert.match(program, /^mkfs\./);
        this.content.set(last, program.slice("mkfs.".length));
        return "";
    }
  }

  #losetup(args: readonly string[]): string {
    const last = args.at(-1)!;
    if (args[0] !== "-d") {
      let number = 0;
      while (this.loopFiles.has(`/dev/loop${number}`)) number++;
      this.loopFiles.set(`/dev/loop${number}`, last);
      this.content.delete(`/dev/loop${number}`);
      return `/dev/loop${number}\n`;
    }
    this.#assertFree(last);
    // The kernel removes the device a moment later.
    this.#pending.push(() => this.loopFiles.delete(last));
    return "";
  }

  #nbdClient(args: readonly string[]): string {
    if (args[0] === "-d") {
      this.#assertFree(args[1]!);
      this.#pending.push(() => this.nbdSockets.set(args[1]!, undefined));
      return "";
    }
    const [, socket = "", device = ""] = args;
    if (this.nbdSockets.get(device) !== undefined) {
      throw systemError("nbd-client", `${basename(device)} is already in use`);
    }
    this.nbdSockets.set(device, socket);
    this.content.delete(device);
    return "";
  }

  #umount(target: string): string {
    const at = this.mounted.findLastIndex((one) => one.target === target);
    if (at < 0) throw systemError("umount", `${target}: not mounted`);
    const isOverLoop = [...this.loopFiles.values()].includes(target);
    if (this.users.has(`${target}/`) || isOverLoop) {
      throw systemError("umount", `${target}: target is busy.`);
    }
    this.mounted.splice(at, 1);
    for (const [pid, { program, args }] of this.processes) {
      if (program === "nbdfuse" && args[0] === target) this.#pending.push(() => this.#end(pid));
    }
    return "";
  }
}
