// Pages of real data that every machine with Node.js has: the heap of this process, source text,
// and machine code. Same-filled pages are left out, because the store does not compress them.
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { getHeapSnapshot } from "node:v8";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";

/** Bytes read at a time; of a larger region of memory only the start is read. */
const CHUNK_BYTES = MIB;
const REGION_BYTES_MAX = 16 * MIB;

/** Objects, strings and arrays as programs have them, so that the heap has content. */
function makeObjects(count: number): unknown[] {
  const random = new Xorshift32(1);
  return Array.from({ length: count }, (_, id) => ({
    id,
    name: `user${random.below(count)}`,
    tags: [`group${random.below(20)}`, "member"],
    position: [random.next() / 7, random.next() / 3],
    seen: random.below(1e9),
  }));
}

/** The private, writable regions of this process, from /proc (Linux). */
function readOwnMemory(sizeBytes: number): Buffer[] {
  const chunks: Buffer[] = [];
  const fd = openSync("/proc/self/mem", "r");
  let room = sizeBytes;
  for (const line of readFileSync("/proc/self/maps", "utf8").split("\n")) {
    const region = /^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 /.exec(line);
    if (region === null) continue;
    const start = Number.parseInt(region[1]!, 16);
    const end = Math.min(Number.parseInt(region[2]!, 16), start + REGION_BYTES_MAX);
    for (let at = start; at < end && room > 0; at += CHUNK_BYTES) {
      const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, end - at));
      try {
        const bytes = readSync(fd, chunk, 0, chunk.length, at);
        chunks.push(chunk.subarray(0, bytes));
        room -= bytes;
      } catch {
        break; // the region is gone, or its pages can't be read
      }
    }
  }
  closeSync(fd);
  return chunks;
}

async function readHeap(sizeBytes: number): Promise<Buffer[]> {
  const objects = makeObjects(Math.ceil(sizeBytes / 256));
  const chunks: Buffer[] = [];
  if (existsSync("/proc/self/mem")) chunks.push(...readOwnMemory(sizeBytes));
  else for await (const chunk of getHeapSnapshot()) chunks.push(Buffer.from(chunk as Uint8Array));
  // Used after the reading, so that the objects are alive during it.
  if (objects.length === 0) chunks.length = 0;
  return chunks;
}

/** Declarations and documentation of the installed packages. */
function readText(sizeBytes: number): Buffer[] {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "node_modules"))) {
    if (folder === dirname(folder)) return [];
    folder = dirname(folder);
  }
  const chunks: Buffer[] = [];
  let room = sizeBytes;
  const stack = [join(folder, "node_modules")];
  for (let path = stack.pop(); path !== undefined && room > 0; path = stack.pop()) {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) stack.push(join(path, entry.name));
      if (!entry.isFile() || !/\.(ts|md)$/.test(entry.name)) continue;
      const text = readFileSync(join(path, entry.name));
      chunks.push(text);
      room -= text.length;
    }
  }
  return chunks;
}

/** The middle of Node's own executable: code and tables, not its embedded scripts. */
function readBinary(sizeBytes: number): Buffer[] {
  const binary = readFileSync(process.execPath);
  const start = Math.floor(binary.length / 2);
  return [binary.subarray(start, start + sizeBytes)];
}

function isSameFilled(page: Uint8Array): boolean {
  return page.every((byte, at) => byte === page[at % 8]);
}

export type DataKind = "heap" | "text" | "binary";
export const DATA_KINDS: readonly DataKind[] = ["heap", "text", "binary"];

/** @returns up to `count` pages, one after the other */
export async function readPages(
  kind: DataKind,
  count: number,
  pageSize: number,
): Promise<Uint8Array> {
  // Twice as much, because of the pages that are left out.
  const sizeBytes = 2 * count * pageSize;
  const read = { heap: readHeap, text: readText, binary: readBinary }[kind];
  const bytes = Buffer.concat(await read(sizeBytes));
  const kept: Buffer[] = [];
  for (let at = 0; at + pageSize <= bytes.length && kept.length < count; at += pageSize) {
    const page = bytes.subarray(at, at + pageSize);
    if (!isSameFilled(page)) kept.push(page);
  }
  return Buffer.concat(kept);
}
