// What the NBD server gives back: copies real data in, twice, discards 70 % of it at random as
// `blkdiscard` and file systems do, and looks at the memory of the server's arena a second later.
// The first copy touches new memory, the second uses it again.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import { readFilePages } from "../store/data.ts";
import { residentBytesOf } from "../store/resident.ts";

const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const PAGE = 4096;
const EXTENT = 64 * KIB;
const DISCARDED_PERCENT = 70;
const START_MS = 20_000;
/** Memory of the server beyond the size of the device. */
const MEMORY_MORE = 64 * MIB;
const WORK_MS = 1000;
/** Hundredths of a second, in which /proc counts processor time. */
const TICKS_PER_SECOND = 100;
/** The programs that the benchmark runs. */
export const CLIENTS = ["nbdcopy", "qemu-io"];

export interface NbdGiveBackRow {
  readonly giveBack: boolean;
  /** MiB per second and seconds of the server's processor time, of both copies. */
  readonly copies: readonly { readonly speed: number; readonly seconds: number }[];
  /** Resident MiB of the arena: filled, after the last discard, a second later. */
  readonly filledMiB: number;
  readonly discardedMiB: number;
  readonly afterMiB: number;
  /** MiB of the compressed pages that are left. */
  readonly liveMiB: number;
}

export async function benchNbdGiveBack(
  tiny: boolean,
  print: (line: string) => void = console.log,
): Promise<NbdGiveBackRow[]> {
  const bytes = (tiny ? 32 : 512) * MIB;
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-"));
  print(`NBD: ${bytes / MIB} MiB copied in twice, ${DISCARDED_PERCENT} % discarded; MiB`);
  const rows: NbdGiveBackRow[] = [];
  try {
    const data = join(folder, "data");
    writeData(data, bytes);
    for (const giveBack of [true, false]) {
      const row = await run(folder, data, bytes, giveBack);
      rows.push(row);
      const [first, second] = row.copies as [Copy, Copy];
      print(
        `give-back ${String(giveBack).padEnd(5)}: filled ${row.filledMiB.toFixed(0)}, ` +
          `discarded ${row.discardedMiB.toFixed(0)}, a second later ${row.afterMiB.toFixed(0)}; ` +
          `objects ${row.liveMiB.toFixed(0)}, resident ÷ objects ` +
          `${(row.afterMiB / row.liveMiB).toFixed(3)}; ` +
          `first copy ${first.speed.toFixed(0)} MiB/s, ${first.seconds} s of processor; ` +
          `second ${second.speed.toFixed(0)} MiB/s, ${second.seconds} s`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}

type Copy = NbdGiveBackRow["copies"][number];

async function run(
  folder: string,
  data: string,
  bytes: number,
  giveBack: boolean,
): Promise<NbdGiveBackRow> {
  const socket = join(folder, `${giveBack}.sock`);
  const control = join(folder, `${giveBack}.control`);
  const memoryMax = bytes + MEMORY_MORE;
  const options = ["--size", String(bytes), "--memory-max", String(memoryMax), "--recompress"];
  const places = ["--socket", socket, "--control", control];
  const args = [CLI, "serve", "nbd", ...options, "none", ...places];
  if (!giveBack) args.push("--no-give-back");
  const server = spawn(process.execPath, args, { stdio: "ignore" });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  try {
    await waitFor(socket, server);
    const residentMiB = () => residentBytesOf(server.pid!, memoryMax) / MIB;
    const uri = `nbd+unix:///?socket=${socket}`;
    const copies = [1, 2].map(() => copyIn(server, data, uri, bytes));
    const filled = residentMiB();
    discard(uri, bytes);
    const discarded = residentMiB();
    await setTimeout(WORK_MS);
    return {
      ...{ giveBack, copies },
      filledMiB: filled,
      discardedMiB: discarded,
      afterMiB: residentMiB(),
      liveMiB: liveMiB(control),
    };
  } finally {
    server.kill();
    await ended;
  }
}

function writeData(path: string, bytes: number): void {
  const file = openSync(path, "w");
  for (const page of readFilePages(bytes / PAGE, PAGE, 0, 1)) writeSync(file, page);
  closeSync(file);
}

async function waitFor(socket: string, server: ChildProcess): Promise<void> {
  const end = Date.now() + START_MS;
  while (!existsSync(socket)) {
    if (Date.now() > end || server.exitCode !== null) throw new Error("the server did not start");
    await setTimeout(20);
  }
  // The threads warm up before they serve.
  await setTimeout(WORK_MS);
}

function copyIn(server: ChildProcess, data: string, uri: string, bytes: number): Copy {
  const [start, busy] = [performance.now(), processorSeconds(server)];
  execFileSync("nbdcopy", ["--no-extents", data, uri], { stdio: "ignore" });
  const speed = bytes / MIB / ((performance.now() - start) / 1000);
  return { speed, seconds: Math.round((processorSeconds(server) - busy) * 100) / 100 };
}

/** Discards most extents at random. */
function discard(uri: string, bytes: number): void {
  const random = new Xorshift32(3);
  const lines: string[] = [];
  for (let at = 0; at + EXTENT <= bytes; at += EXTENT) {
    if (random.next() % 100 < DISCARDED_PERCENT) lines.push(`discard -q ${at} ${EXTENT}`);
  }
  execFileSync("qemu-io", ["-d", "unmap", "-f", "raw", uri], {
    input: `${lines.join("\n")}\nquit\n`,
    stdio: ["pipe", "ignore", "inherit"],
  });
}

/** MiB of the compressed pages, as the server says it. */
function liveMiB(control: string): number {
  const args = [CLI, "stats", "--socket", control, "--json"];
  const stats = JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8" }));
  return stats.compr_data_size / MIB;
}

function processorSeconds({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
