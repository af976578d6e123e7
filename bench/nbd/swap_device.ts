// A temporary swap device of this machine: over NBD (server → nbdfuse → loop device), or a zram
// device of the kernel. Everything is undone in reverse order, also when the benchmark is
// interrupted, because a swap device without its server kills the programs whose pages are on it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  accessSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { MIB } from "../../src/base/units.ts";
import { has } from "../programs.ts";

const WAIT_MS = 20_000;
const LOOK_EVERY_MS = 50;
const COMMAND_MS = 60_000;
const ADD_ZRAM = "/sys/class/zram-control/hot_add";
const REMOVE_ZRAM = "/sys/class/zram-control/hot_remove";
const GROUPS = "/sys/fs/cgroup";

export function run(program: string, ...args: string[]): string {
  const options = { encoding: "utf8", timeout: COMMAND_MS, stdio: "pipe" } as const;
  return execFileSync(program, args, options);
}

export async function until(what: string, condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition(); waited += LOOK_EVERY_MS) {
    if (waited >= WAIT_MS) throw new Error(`${what}: not in time`);
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
  }
}

/** Steps that undo the setup, in reverse order. */
export class Undo {
  readonly #steps: (() => void | Promise<void>)[] = [];

  add(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Runs all steps; a step that fails may have been undone already. */
  async all(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch {
        // The step was undone before, or never took effect.
      }
    }
  }
}

/** A program that Ctrl-C at the terminal does not end: the undo step ends it. */
export function keep(undo: Undo, program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: "ignore", detached: true });
  child.on("error", () => {});
  undo.add(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), WAIT_MS);
    await exited;
    clearTimeout(timer);
  });
  return child;
}

/** Why the swap benchmark can't run on this machine, or undefined. */
export function whyNoSwap(): string | undefined {
  if (process.getuid?.() !== 0) return "this needs root";
  const programs = ["nbdfuse", "losetup", "mkswap", "swapon", "blkdiscard", "fusermount3", "gcc"];
  const absent = programs.filter((program) => !has(program));
  if (absent.length > 0) return `not installed: ${absent.join(", ")}`;
  for (const path of ["/dev/fuse", "/dev/loop-control", "/proc/swaps"]) {
    if (!existsSync(path)) return `there is no ${path}`;
  }
  const swaps = readFileSync("/proc/swaps", "utf8").trim().split("\n").slice(1);
  if (swaps.length > 0) return `this machine swaps already, to ${swaps[0]!.split(/\s/)[0]}`;
  return undefined;
}

/** A control group (version 1 or 2) with a memory limit; undefined if none can be created. */
export function makeGroup(undo: Undo, limitBytes: number): string | undefined {
  const isTwo = existsSync(join(GROUPS, "cgroup.controllers"));
  const group = join(GROUPS, isTwo ? "" : "memory", `zcache-bench-${process.pid}`);
  try {
    if (isTwo) writeFileSync(join(GROUPS, "cgroup.subtree_control"), "+memory");
    else accessSync(join(GROUPS, "memory/memory.limit_in_bytes"));
    mkdirSync(group);
    undo.add(() => rmdirSync(group));
    const limit = isTwo ? "memory.max" : "memory.limit_in_bytes";
    writeFileSync(join(group, limit), String(limitBytes));
    return group;
  } catch {
    return undefined;
  }
}

/** A loop device over the NBD export at a socket. */
export async function attachNbd(
  undo: Undo,
  { folder, socket, sizeBytes }: { folder: string; socket: string; sizeBytes: number },
): Promise<string> {
  const file = join(folder, "swap");
  writeFileSync(file, "");
  keep(undo, "nbdfuse", [file, `nbd+unix:///?socket=${socket}`]);
  undo.add(() => void run("fusermount3", "-u", file));
  await until("nbdfuse", () => statSync(file).size === sizeBytes);
  const loop = run("losetup", "--direct-io=on", "-f", "--show", file).trim();
  undo.add(() => void run("losetup", "-d", loop));
  return loop;
}

export function canAddZram(): boolean {
  return process.getuid?.() === 0 && existsSync(ADD_ZRAM) && existsSync(REMOVE_ZRAM);
}

/**
 * Adds a new zram device with lz4; existing devices are left alone.
 * @returns its name, as in /sys/block, or undefined where the kernel lacks lz4
 */
export function addZram(undo: Undo, sizeBytes: number): string | undefined {
  const number = readFileSync(ADD_ZRAM, "utf8").trim();
  undo.add(() => writeFileSync(REMOVE_ZRAM, number));
  const settings = `/sys/block/zram${number}`;
  if (!/\blz4\b/.test(readFileSync(`${settings}/comp_algorithm`, "utf8"))) return undefined;
  writeFileSync(`${settings}/comp_algorithm`, "lz4");
  writeFileSync(`${settings}/disksize`, String(sizeBytes));
  return `zram${number}`;
}

export function startSwap(undo: Undo, device: string): void {
  run("mkswap", device);
  run("swapon", "--discard", "-p", "100", device);
  undo.add(() => void run("swapoff", device));
}

export function residentMiB(child: ChildProcess): number {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
}

/** Processor time of a process so far, in Linux' units of 10 ms. */
export function processorMs(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

export function zramMiB(name: string): number {
  const words = readFileSync(`/sys/block/${name}/mm_stat`, "utf8").trim().split(/\s+/);
  return Number(words[2]) / MIB;
}
