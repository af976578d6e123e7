// The kernel's zram beside zcache: the same pages are written to /dev/zram0 with lz4, and analyzed
// by `zcache analyze` with lz4 in zsmalloc. The ratio orig_data_size ÷ mem_used_total is compared.
// Needs root and an unused zram device, which is reset before and after.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { fileURLToPath } from "node:url";
import { MIB } from "../../src/base/units.ts";
import type { Report } from "../../src/lab/analysis.ts";
import { SkipList } from "../../src/lab/feed.ts";
import { walkPaths } from "../../src/node/inputs.ts";

const SYSFS = "/sys/block/zram0";
const DEVICE = "/dev/zram0";
const PAGE = 4096;
/**
 * Room for more than any limit that is asked for: the device takes memory for what is written only.
 */
const DISK_BYTES = 64 * 1024 * MIB;

/** Why the comparison can't be made on this machine, or undefined if it can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "not root";
  if (!existsSync(DEVICE)) return `no ${DEVICE} (modprobe zram)`;
  if (readFileSync(`${SYSFS}/initstate`, "utf8").trim() !== "0") return `${DEVICE} is in use`;
  if (!/\blz4\b/.test(readFileSync(`${SYSFS}/comp_algorithm`, "utf8"))) return "no lz4 in zram";
  return undefined;
}

/** Writes each piece's pages, the last one of a piece padded with zeros. @returns pages written */
function writePages(path: string, limitBytes: number): number {
  const device = openSync(DEVICE, "r+");
  const buffer = new Uint8Array(MIB);
  let pages = 0;
  // As in `analyze`, the limit is on bytes read, not on the padding of last pages.
  let left = limitBytes;
  try {
    for (const piece of walkPaths([Buffer.from(path)], new SkipList())) {
      if (left <= 0) break;
      let reader: ReturnType<typeof piece.open>;
      try {
        reader = piece.open();
      } catch {
        continue;
      }
      for (let position = 0; left > 0; ) {
        const wanted = Math.min(buffer.length, left);
        const length = fill(reader, buffer, wanted, position);
        if (length === 0) break;
        position += length;
        left -= length;
        const padded = Math.ceil(length / PAGE) * PAGE;
        buffer.fill(0, length, padded);
        writeSync(device, buffer, 0, padded, pages * PAGE);
        pages += padded / PAGE;
        if (length < wanted) break;
      }
      reader.close();
    }
    fsyncSync(device);
  } finally {
    closeSync(device);
  }
  return pages;
}

function fill(
  reader: { read(target: Uint8Array, at: number, length: number, position: number): number },
  buffer: Uint8Array,
  wanted: number,
  position: number,
): number {
  let length = 0;
  while (length < wanted) {
    const got = reader.read(buffer, length, wanted - length, position + length);
    if (got === 0) break;
    length += got;
  }
  return length;
}

/** zram's mm_stat after the pages were written. */
function kernelStat(path: string, limitBytes: number) {
  writeFileSync(`${SYSFS}/comp_algorithm`, "lz4");
  writeFileSync(`${SYSFS}/disksize`, String(DISK_BYTES));
  try {
    const pages = writePages(path, limitBytes);
    const [orig, compr, used, , , same] = readFileSync(`${SYSFS}/mm_stat`, "utf8")
      .trim()
      .split(/\s+/)
      .map(Number);
    return { pages, orig: orig!, compr: compr!, used: used!, same: same! };
  } finally {
    writeFileSync(`${SYSFS}/reset`, "1");
  }
}

/** Prints the comparison for a path. @param tiny 32 MiB instead of 1 GiB */
export function benchZram({ path = "/usr/lib", tiny = false, print = console.log } = {}): void {
  const reason = obstacle();
  if (reason !== undefined) {
    print(`zram: skipped: ${reason}`);
    return;
  }
  const limitBytes = (tiny ? 32 : 1024) * MIB;
  const kernel = kernelStat(path, limitBytes);
  const cli = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
  const args = ["analyze", path, "--limit", String(limitBytes), "--codec", "lz4"];
  const json = execFileSync(process.execPath, [cli, ...args, "--pool", "zsmalloc", "--json"], {
    maxBuffer: 64 * MIB,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const report = JSON.parse(json.toString()) as Report;
  const ours = report.results[0]!;
  const theirs = kernel.orig / kernel.used;
  print(`${path}, ${kernel.pages} pages (ours: ${report.pages})`);
  print(`  zram lz4         same ${kernel.same}  compressed ${kernel.compr}  used ${kernel.used}`);
  print(
    `  zsmalloc + lz4   same ${report.same_filled_pages}  compressed ${ours.payload_bytes}  ` +
      `used ${ours.pool_bytes}`,
  );
  print(`  ratio: zram ${theirs.toFixed(4)}, ours as zram counts ${ours.zram_ratio.toFixed(4)}`);
  print(`  ours ÷ zram ${(ours.zram_ratio / theirs).toFixed(4)}`);
  print(`  ours with all metadata ${ours.effective_ratio.toFixed(4)}`);
}
