// The anonymous memory of processes as pieces of input. /proc/N/maps lists its regions, /proc/N/mem
// has the bytes, and /proc/N/pagemap tells which pages are present or swapped out.
//
// Only private, writable regions without a file are read: memory that would be swapped. A page that
// was never touched is neither read nor counted, because it takes no memory, and reading it would
// map it. This process itself is skipped: its arena would be read into itself.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { ZcacheError } from "../base/errors.ts";
import { GIB } from "../base/units.ts";
import type { Piece, PieceReader, SkipList } from "../lab/feed.ts";
import { asInput, reasonOf } from "./inputs.ts";

/** Bytes of a pagemap entry; its upper bits say present (63) and swapped out (62). */
const ENTRY_BYTES = 8;
const PRESENT_OR_SWAPPED = 0xc0;
/** Pagemap entries read at a time: 64 KiB of them, for 32 MiB of memory. */
const PAGEMAP_CHUNK = 8192;
/** Larger regions are reservations, such as a sanitizer's shadow: their pagemap takes minutes. */
const REGION_BYTES_MAX = 256 * GIB;
/** auxv: the key of the system's page size. */
const AT_PAGESZ = 6n;

interface Region {
  readonly start: number;
  readonly end: number;
  readonly label: string;
}

/** The numbers of all processes except this one. */
export function listProcesses(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

/** The system's page size, from the auxiliary vector; 4 KiB if that can't be read. */
function systemPageSize(): number {
  try {
    const auxv = readFileSync("/proc/self/auxv");
    for (let at = 0; at + 16 <= auxv.length; at += 16) {
      if (auxv.readBigUInt64LE(at) === AT_PAGESZ) return Number(auxv.readBigUInt64LE(at + 8));
    }
  } catch {
    // No /proc/self/auxv: the default below is right nearly everywhere.
  }
  return 4096;
}

/** The private, writable, anonymous regions in the text of a maps file. */
export function parseMaps(text: string): Region[] {
  const regions: Region[] = [];
  for (const line of text.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)$/.exec(line);
    if (match === null) continue;
    const [, start, end, perms, inode, label] = match as unknown as string[];
    if (perms![0] !== "r" || perms![1] !== "w" || perms![3] !== "p" || inode !== "0") continue;
    if (label !== "" && !/^\[(heap|stack|anon)/.test(label!)) continue;
    // Addresses of user space have at most 56 bits; all that occur today fit into 53.
    regions.push({
      start: Number.parseInt(start!, 16),
      end: Number.parseInt(end!, 16),
      label: label!,
    });
  }
  return regions;
}

/** The used units of a region; unit u is the `unitBytes` from start + u × unitBytes on. */
class Residence {
  /** Units with at least one page, in ascending order; undefined if unknown. */
  readonly units: Uint32Array | undefined;
  readonly count: number;

  constructor(pid: number, region: Region, unitBytes: number, systemPage: number) {
    const unitsTotal = Math.ceil((region.end - region.start) / unitBytes);
    this.units = findUnits(pid, region, unitBytes, systemPage);
    this.count = this.units?.length ?? unitsTotal;
  }
}

function findUnits(
  pid: number,
  region: Region,
  unitBytes: number,
  systemPage: number,
): Uint32Array | undefined {
  let fd: number;
  try {
    fd = openSync(`/proc/${pid}/pagemap`, "r");
  } catch {
    return undefined;
  }
  try {
    const chunk = new Uint8Array(PAGEMAP_CHUNK * ENTRY_BYTES);
    let found = new Uint32Array(1024);
    let count = 0;
    const pages = (region.end - region.start) / systemPage;
    for (let page = 0; page < pages; ) {
      const wanted = Math.min(PAGEMAP_CHUNK, pages - page) * ENTRY_BYTES;
      const got = readSync(fd, chunk, 0, wanted, (region.start / systemPage + page) * ENTRY_BYTES);
      if (got < ENTRY_BYTES) break;
      for (let at = 0; at + ENTRY_BYTES <= got; at += ENTRY_BYTES, page++) {
        if ((chunk[at + 7]! & PRESENT_OR_SWAPPED) === 0) continue;
        const unit = Math.floor((page * systemPage) / unitBytes);
        if (count > 0 && found[count - 1] === unit) continue;
        if (count === found.length) found = grow(found);
        found[count++] = unit;
      }
    }
    return found.subarray(0, count);
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

function grow(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(array.length * 2);
  larger.set(array);
  return larger;
}

class RegionReader implements PieceReader {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #region: Region;
  readonly #units: Uint32Array | undefined;
  readonly #unitBytes: number;
  readonly #name: string;

  constructor(name: string, pid: number, region: Region, residence: Residence, unitBytes: number) {
    this.#name = name;
    this.#region = region;
    this.#units = residence.units;
    this.#unitBytes = unitBytes;
    this.sizeBytes = residence.count * unitBytes;
    this.#fd = asInput(name, () => openSync(`/proc/${pid}/mem`, "r"));
  }

  /** Reads at most to the end of a run of adjacent units; beyond the region it reads zeros. */
  read(target: Uint8Array, at: number, lengthBytes: number, position: number): number {
    const index = Math.floor(position / this.#unitBytes);
    const within = position % this.#unitBytes;
    let run = 1;
    const runMax = Math.ceil((within + lengthBytes) / this.#unitBytes);
    while (run < runMax && this.#unit(index + run) === this.#unit(index) + run) run++;
    const length = Math.min(lengthBytes, run * this.#unitBytes - within);
    const from = this.#region.start + this.#unit(index) * this.#unitBytes + within;
    const there = Math.min(length, this.#region.end - from);
    if (there <= 0) {
      target.fill(0, at, at + length);
      return length;
    }
    const got = asInput(this.#name, () => readSync(this.#fd, target, at, there, from));
    if (got === 0) throw new ZcacheError("ERR_INPUT", "the process has ended");
    return got;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #unit(index: number): number {
    return this.#units === undefined ? index : this.#units[index]!;
  }
}

/** The anonymous regions of processes. @param pageSize of the pages to cut them into, in bytes */
export function* walkProcesses(
  pids: readonly number[],
  pageSize: number,
  skips: SkipList,
): Generator<Piece> {
  const systemPage = systemPageSize();
  // A unit is used if any of the system's pages in it is; it may hold several pages of `pageSize`.
  const unitBytes = Math.max(pageSize, systemPage);
  for (const pid of pids) {
    let maps: string;
    try {
      maps = readFileSync(`/proc/${pid}/maps`, "latin1");
    } catch (error) {
      skips.add(`process ${pid}`, gone(error));
      continue;
    }
    for (const region of parseMaps(maps)) {
      const where = `${region.start.toString(16)}-${region.end.toString(16)}`;
      const name = `process ${pid} ${where}${region.label === "" ? "" : ` ${region.label}`}`;
      if (region.end - region.start > REGION_BYTES_MAX) {
        skips.add(name, "larger than 256 GiB: a reservation");
        continue;
      }
      const residence = new Residence(pid, region, unitBytes, systemPage);
      if (residence.units === undefined) {
        skips.notes.add(
          "pages that were never touched count as zero pages: /proc/N/pagemap can't be read",
        );
      }
      if (residence.count === 0) continue;
      yield {
        name,
        sizeBytes: residence.count * unitBytes,
        open: () => new RegionReader(name, pid, region, residence, unitBytes),
      };
    }
  }
}

function gone(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ESRCH" ? "no such process (any more)" : reasonOf(error);
}
