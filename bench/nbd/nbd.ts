// NBD servers side by side, each in its own process, filled with the same real data by the same
// clients: nbdcopy in both directions, then fio with random reads and writes of 4 KiB. The servers
// are zcache with lz4 and zstd, nbdkit's memory plugin with malloc and zstd, and, as root and if it
// is unused, the kernel's zram with lz4, which needs no server.
//
// Ratios refer to the peer measured in the same run. The memory of a server is its resident memory
// after filling; the memory of the data is the growth since the start (for nbdkit, which reserves
// memory at the start, all of it).
import { type ChildProcess, execFile, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { MIB } from "../../src/base/units.ts";
import { has } from "../programs.ts";
import { readFilePages } from "../store/data.ts";

const CLI = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const PAGE = 4096;
const START_MS = 20_000;
const CLIENT_MS = 300_000;
const SYSFS = "/sys/block/zram0";
const ZRAM = "/dev/zram0";

export interface NbdRow {
  readonly server: string;
  /** MiB per second. */
  readonly copyIn: number;
  readonly copyOut: number;
  readonly memoryMiB: number;
  readonly dataMiB: number;
  /** Operations of 4 KiB per second, 32 in flight, on one connection and on four. */
  readonly read: number;
  readonly write: number;
  readonly writeP99Ms: number;
  readonly read4: number;
  readonly write4: number;
}

/** A contender: how it is started and reached. */
interface Peer {
  readonly name: string;
  start(socket: string, sizeBytes: number): ChildProcess | undefined;
  /** The target of fio and the copy if it is not the socket. */
  readonly device?: string;
}

interface Sizes {
  readonly bytes: number;
  readonly seconds: number;
}

function ours(codec: string, ...more: string[]): Peer {
  return {
    name: ["zcache", codec, ...more.slice(1)].join(" "),
    start: (socket, sizeBytes) => {
      const options = ["--size", String(sizeBytes), "--socket", socket, "--codec", codec];
      const args = [CLI, "serve", "nbd", ...options, "--recompress", "none", "--no-control"];
      args.push(...more);
      return spawn(process.execPath, args, { stdio: "ignore" });
    },
  };
}

function nbdkit(allocator: string): Peer {
  return {
    name: `nbdkit ${allocator}`,
    start: (socket, sizeBytes) => {
      const args = ["-f", "-U", socket, "memory", String(sizeBytes), `allocator=${allocator}`];
      return spawn("nbdkit", args, { stdio: "ignore" });
    },
  };
}

const KERNEL: Peer = {
  name: "kernel zram lz4",
  device: ZRAM,
  start: (_socket, sizeBytes) => {
    writeFileSync(`${SYSFS}/comp_algorithm`, "lz4");
    writeFileSync(`${SYSFS}/disksize`, String(sizeBytes));
    return undefined;
  },
};

function hasZram(): boolean {
  if (process.getuid?.() !== 0 || !existsSync(ZRAM)) return false;
  if (readFileSync(`${SYSFS}/initstate`, "utf8").trim() !== "0") return false;
  return /\blz4\b/.test(readFileSync(`${SYSFS}/comp_algorithm`, "utf8"));
}

async function run(program: string, args: readonly string[]): Promise<string> {
  const options = { timeout: CLIENT_MS, maxBuffer: 64 * MIB };
  return (await promisify(execFile)(program, [...args], options)).stdout;
}

function residentMiB(child: ChildProcess | undefined): number {
  if (child === undefined) {
    return Number(readFileSync(`${SYSFS}/mm_stat`, "utf8").trim().split(/\s+/)[2]) / MIB;
  }
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
}

async function copy(from: string, to: string, peer: Peer): Promise<number> {
  const begin = performance.now();
  if (peer.device === undefined) await run("nbdcopy", [from, to]);
  else {
    const direct = to === peer.device ? ["oflag=direct"] : ["iflag=direct"];
    const into = to === "null:" ? "/dev/null" : to;
    await run("dd", [`if=${from}`, `of=${into}`, "bs=1M", "status=none", ...direct]);
  }
  return (performance.now() - begin) / 1000;
}

async function fio(peer: Peer, uri: string, mode: string, jobs: number, sizes: Sizes) {
  const target =
    peer.device === undefined
      ? ["--ioengine=nbd", `--uri=${uri}`]
      : ["--ioengine=libaio", "--direct=1", `--filename=${peer.device}`];
  const text = await run("fio", [
    `--name=${mode}`,
    ...target,
    `--rw=${mode}`,
    "--bs=4k",
    "--iodepth=32",
    `--numjobs=${jobs}`,
    `--size=${sizes.bytes}`,
    `--runtime=${sizes.seconds}`,
    "--time_based",
    "--group_reporting",
    // Random data that compresses about as well as the copied data.
    "--buffer_compress_percentage=55",
    "--buffer_compress_chunk=256",
    "--output-format=json",
  ]);
  const [job] = (JSON.parse(text.slice(text.indexOf("{"))) as { jobs: FioJob[] }).jobs;
  const result = mode === "randread" ? job!.read : job!.write;
  return { iops: result.iops, p99Ms: (result.clat_ns.percentile?.["99.000000"] ?? 0) / 1e6 };
}

interface FioJob {
  readonly read: FioResult;
  readonly write: FioResult;
}
interface FioResult {
  readonly iops: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

async function reached(socket: string, child: ChildProcess): Promise<void> {
  for (let waited = 0; waited < START_MS; waited += 50) {
    if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(" ")}: it has ended`);
    if (existsSync(socket)) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${socket}: nobody listens`);
}

async function measure(peer: Peer, folder: string, data: string, sizes: Sizes): Promise<NbdRow> {
  const socket = join(folder, `${peer.name.replaceAll(" ", "-")}.sock`);
  const child = peer.start(socket, sizes.bytes);
  let emptyMiB = 0;
  const uri = peer.device ?? `nbd+unix:///?socket=${socket}`;
  try {
    if (child !== undefined) {
      await reached(socket, child);
      // The first connection includes one-time costs of the server.
      await run("nbdinfo", [uri]);
      if (peer.name.startsWith("zcache")) emptyMiB = residentMiB(child);
    }
    const mib = sizes.bytes / MIB;
    const copyIn = mib / (await copy(data, uri, peer));
    const memoryMiB = residentMiB(child);
    const copyOut = mib / (await copy(uri, "null:", peer));
    const read = await fio(peer, uri, "randread", 1, sizes);
    const read4 = await fio(peer, uri, "randread", 4, sizes);
    const write = await fio(peer, uri, "randwrite", 1, sizes);
    const write4 = await fio(peer, uri, "randwrite", 4, sizes);
    return {
      server: peer.name,
      ...{
        copyIn,
        copyOut,
        memoryMiB,
        dataMiB: memoryMiB - emptyMiB,
        read: read.iops,
        write: write.iops,
      },
      ...{ writeP99Ms: write.p99Ms, read4: read4.iops, write4: write4.iops },
    };
  } finally {
    await ended(child);
    if (child === undefined) writeFileSync(`${SYSFS}/reset`, "1");
  }
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null) return;
  const exited = new Promise((done) => child.once("exit", done));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
  await exited;
  clearTimeout(timer);
}

function writeData(path: string, bytes: number): void {
  const file = openSync(path, "w");
  // Repeated pages would be easier than real data: all pages differ as long as there are enough.
  const pages = readFilePages(bytes / PAGE, PAGE, 0, 1);
  for (let nth = 0; nth < bytes / PAGE; nth++) writeSync(file, pages[nth % pages.length]!);
  closeSync(file);
}

const COLUMNS = [
  "copyIn",
  "copyOut",
  "memoryMiB",
  "dataMiB",
  "read",
  "write",
  "writeP99Ms",
] as const;
const COLUMNS4 = ["read4", "write4"] as const;

function report(rows: readonly NbdRow[], print: (line: string) => void): void {
  const columns = [...COLUMNS, ...COLUMNS4];
  print(`${"".padEnd(18)}${columns.map((name) => name.padStart(12)).join("")}`);
  const line = (name: string, of: (column: (typeof columns)[number]) => string) =>
    print(`${name.padEnd(18)}${columns.map((column) => of(column).padStart(12)).join("")}`);
  for (const row of rows) {
    line(row.server, (column) => row[column].toFixed(column === "writeP99Ms" ? 2 : 0));
  }
  const mine = rows.filter((row) => row.server.startsWith("zcache"));
  for (const row of mine) {
    for (const peer of rows.filter((one) => !mine.includes(one))) {
      print(`${row.server} ÷ ${peer.server}`);
      line("", (column) => (row[column] / peer[column]).toFixed(2));
    }
  }
}

/** Measures every available server. @param tiny 16 MiB and short times instead of 1 GiB */
export async function benchNbd({ tiny = false, print = console.log } = {}): Promise<NbdRow[]> {
  const missing = ["nbdcopy", "nbdinfo", "fio"].filter((program) => !has(program));
  if (missing.length > 0) {
    print(`nbd: skipped: ${missing.join(", ")} not installed (scripts/install-peers.sh)`);
    return [];
  }
  const sizes = tiny ? { bytes: 16 * MIB, seconds: 1 } : { bytes: 1024 * MIB, seconds: 5 };
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-nbd-"));
  const rows: NbdRow[] = [];
  try {
    const data = join(folder, "data");
    writeData(data, sizes.bytes);
    // nbdkit compresses 32 KiB at a time, so zcache is measured with pages of that size too.
    const peers = [ours("lz4"), ours("zstd"), ours("zstd", "--page-size", "32K")];
    if (has("nbdkit")) peers.push(nbdkit("malloc"), nbdkit("zstd"));
    if (hasZram()) peers.push(KERNEL);
    for (const peer of tiny ? peers.slice(0, 1) : peers) {
      rows.push(await measure(peer, folder, data, sizes));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  report(rows, print);
  return rows;
}
