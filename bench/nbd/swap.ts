// NBD servers as real swap of this machine. Measured are random page accesses per second of a
// program that has half of the memory it needs, with every page verified, and the memory of the
// server when full and after everything was discarded. The contenders are zcache with lz4, by
// default and on one thread, nbdkit's memory (malloc), and the kernel's zram with lz4, which needs
// no process.
//
// Rounds alternate, so that a slow machine slows all contenders, and results are medians. Needs
// root. Existing swap devices are left alone.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { MIB } from "../../src/base/units.ts";
import { median } from "../codec/timing.ts";
import { has } from "../programs.ts";
import {
  addZram,
  attachNbd,
  canAddZram,
  keep,
  makeGroup,
  processorMs,
  residentMiB,
  run,
  startSwap,
  Undo,
  until,
  whyNoSwap,
  zramMiB,
} from "./swap_device.ts";

const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
/** The C source lies beside the scripts, not in the built tree. */
const SOURCE = ["../../scripts/guest/need_much.c", "../../../scripts/guest/need_much.c"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path))!;
/** Time limit for filling and verifying all pages, besides the touches. */
const PROGRAM_MS = 120_000;

export interface SwapRow {
  readonly device: string;
  readonly touchesPerSecond: number;
  /** Processor time of the server, which decides on a busy machine; 0 without a server. */
  readonly serverMs: number;
  /** Memory of the server or of zram: before, with the program's pages, after the discard. */
  readonly beforeMiB: number;
  readonly fullMiB: number;
  readonly afterMiB: number;
}

interface Sizes {
  readonly dataMiB: number;
  readonly seconds: number;
  readonly rounds: number;
}

interface Target {
  readonly device: string;
  memoryMiB(): number;
  processorMs(): number;
}

interface Contender {
  readonly name: string;
  make(undo: Undo, folder: string, sizeBytes: number): Promise<Target | undefined>;
}

async function overNbd(
  undo: Undo,
  folder: string,
  sizeBytes: number,
  program: string,
  args: readonly string[],
): Promise<Target> {
  const socket = join(folder, "nbd.sock");
  const server: ChildProcess = keep(undo, program, [...args]);
  await until(program, () => existsSync(socket));
  const device = await attachNbd(undo, { folder, socket, sizeBytes });
  const [memoryMiB, used] = [() => residentMiB(server), () => processorMs(server)];
  return { device, memoryMiB, processorMs: used };
}

function ours(name: string, ...more: string[]): Contender {
  return {
    name,
    make: (undo, folder, sizeBytes) => {
      const where = ["--socket", join(folder, "nbd.sock"), "--no-control", "--recompress", "none"];
      const args = [CLI, "serve", "nbd", "--size", String(sizeBytes), ...where, ...more];
      return overNbd(undo, folder, sizeBytes, process.execPath, args);
    },
  };
}

/** nbdfuse uses several connections, so by default several threads serve a swap device. */
const OURS = [ours("zcache lz4"), ours("zcache lz4, 1 thread", "--threads", "1")];

const NBDKIT: Contender = {
  name: "nbdkit malloc",
  make: (undo, folder, sizeBytes) => {
    const args = ["-f", "-U", join(folder, "nbd.sock"), "memory", String(sizeBytes)];
    return overNbd(undo, folder, sizeBytes, "nbdkit", [...args, "allocator=malloc"]);
  },
};

const KERNEL: Contender = {
  name: "kernel zram lz4",
  make: async (undo, _folder, sizeBytes) => {
    const name = addZram(undo, sizeBytes);
    if (name === undefined) return undefined;
    return { device: `/dev/${name}`, memoryMiB: () => zramMiB(name), processorMs: () => 0 };
  },
};

/**
 * Runs the program in the group.
 * @returns touches per second; undefined if the kernel has killed the program, which happens if
 *   pages can't be swapped out fast enough
 * @throws if a page was wrong
 */
async function touch(undo: Undo, program: string, group: string, sizes: Sizes, look: () => void) {
  const script = `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`;
  const args = ["-c", script, "sh", program, String(sizes.dataMiB), String(sizes.seconds)];
  const child = spawn("sh", args, { stdio: ["ignore", "pipe", "inherit"], detached: true });
  const closed = new Promise<number | null>((done) => child.once("close", (code) => done(code)));
  undo.add(async () => {
    child.kill("SIGKILL");
    await closed;
  });
  let text = "";
  child.stdout.on("data", (data) => {
    text += data;
  });
  const looking = setInterval(look, 500);
  const timer = setTimeout(() => child.kill("SIGKILL"), PROGRAM_MS);
  const code = await closed;
  clearInterval(looking);
  clearTimeout(timer);
  const rate = /touches per second: (\d+)/.exec(text)?.[1];
  if (child.signalCode === "SIGKILL") return undefined;
  if (code !== 0 || rate === undefined || !/ 0 wrong/.test(text)) {
    throw new Error(`the program has ended with ${code}: ${text}`);
  }
  return Number(rate);
}

async function measure(
  undo: Undo,
  contender: Contender,
  sizes: Sizes,
  program: string,
): Promise<SwapRow | undefined> {
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-swap-"));
  undo.add(() => rmSync(folder, { recursive: true, force: true }));
  const group = makeGroup(undo, (sizes.dataMiB / 2) * MIB);
  if (group === undefined) return undefined;
  const target = await contender.make(undo, folder, sizes.dataMiB * 2 * MIB);
  if (target === undefined) return undefined;
  startSwap(undo, target.device);
  const beforeMiB = target.memoryMiB();
  const beforeMs = target.processorMs();
  let fullMiB = beforeMiB;
  const look = () => {
    fullMiB = Math.max(fullMiB, target.memoryMiB());
  };
  const touchesPerSecond = await touch(undo, program, group, sizes, look);
  if (touchesPerSecond === undefined) return undefined;
  const serverMs = target.processorMs() - beforeMs;
  run("swapoff", target.device);
  run("blkdiscard", target.device);
  // Some servers give memory back late.
  await new Promise((done) => setTimeout(done, 2000));
  const afterMiB = target.memoryMiB();
  return { device: contender.name, touchesPerSecond, serverMs, beforeMiB, fullMiB, afterMiB };
}

const FIGURES = ["touchesPerSecond", "serverMs", "beforeMiB", "fullMiB", "afterMiB"] as const;

function report(found: readonly SwapRow[], print: (line: string) => void): SwapRow[] {
  const names = [...new Set(found.map((row) => row.device))];
  const rows = names.map((device) => {
    const own = found.filter((row) => row.device === device);
    const figures = FIGURES.map((figure) => [figure, median(own.map((row) => row[figure]))]);
    return { device, ...Object.fromEntries(figures) } as SwapRow;
  });
  print(`${"".padEnd(22)}${FIGURES.map((figure) => figure.padStart(18)).join("")}`);
  for (const row of rows) {
    const figures = FIGURES.map((figure) => row[figure].toFixed(0).padStart(18));
    print(`${row.device.padEnd(22)}${figures.join("")}`);
  }
  const mine = rows.filter((row) => OURS.some(({ name }) => name === row.device));
  for (const own of mine) {
    for (const peer of rows.filter((row) => !mine.includes(row))) {
      const ratio = (own.touchesPerSecond / peer.touchesPerSecond).toFixed(2);
      const taken = (own.fullMiB / peer.fullMiB).toFixed(2);
      print(`${own.device} ÷ ${peer.device}: ${ratio} of the touches, ${taken} of the memory`);
    }
  }
  return rows;
}

/** Measures every available device. @param tiny only zcache, with 32 MiB, for a second */
export async function benchSwap({ tiny = false, print = console.log } = {}): Promise<SwapRow[]> {
  const why = whyNoSwap();
  if (why !== undefined) {
    print(`swap: skipped: ${why}`);
    return [];
  }
  const sizes = tiny
    ? { dataMiB: 32, seconds: 1, rounds: 1 }
    : { dataMiB: 256, seconds: 8, rounds: 3 };
  const contenders = tiny ? OURS.slice(0, 1) : [...OURS];
  if (!tiny && has("nbdkit")) contenders.push(NBDKIT);
  if (!tiny && canAddZram()) contenders.push(KERNEL);
  const undo = new Undo();
  const stop = () => void undo.all().then(() => process.exit(130));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stop);
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-swap-"));
  const found: SwapRow[] = [];
  try {
    const program = join(folder, "need_much");
    run("gcc", "-O2", "-static", "-o", program, SOURCE);
    for (let round = 0; round < sizes.rounds; round++) {
      const order = round % 2 === 0 ? contenders : [...contenders].reverse();
      for (const contender of order) {
        const row = await measure(undo, contender, sizes, program);
        if (row !== undefined) found.push(row);
        else print(`${contender.name}: no group of limited memory, or the program was killed`);
        const done = `${found.length} of ${sizes.rounds * contenders.length}`;
        if (process.stderr.isTTY) process.stderr.write(`\rswap: ${done} runs`);
        await undo.all();
      }
    }
  } finally {
    await undo.all();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.removeListener(signal, stop);
    rmSync(folder, { recursive: true, force: true });
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (found.length === 0) print("swap: skipped: no memory control group can be made");
  return report(found, print);
}
