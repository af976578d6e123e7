// Real data for the store: files of this machine in pages, as in a page cache.
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Folders with much content of many kinds: programs, text, images. */
const FOLDERS = ["/usr/lib", "/usr/share", "/usr/bin", "/usr", homedir(), "."];
/** Maximum number of bytes of one file, so that no file dominates the data. */
const FILE_BYTES_MAX = 64 * 2 ** 20;

/**
 * Reads every `stride`-th page from page `first` on.
 * @returns up to `count` pages, one after the other; fewer if there are no more
 */
export function readFilePages(
  count: number,
  pageSize: number,
  first: number,
  stride: number,
): Uint8Array[] {
  const pages: Uint8Array[] = [];
  const buffer = Buffer.allocUnsafeSlow(FILE_BYTES_MAX);
  const seen = new Set<string>();
  let nth = 0;
  const walk = (folder: string): void => {
    for (const entry of entriesOf(folder)) {
      const path = join(folder, entry.name);
      if (pages.length === count || seen.has(path)) return;
      seen.add(path);
      if (entry.isDirectory()) walk(path);
      if (!entry.isFile()) continue;
      const bytes = readStart(path, buffer);
      for (let at = 0; at + pageSize <= bytes && pages.length < count; at += pageSize, nth++) {
        if (nth % stride === first) pages.push(new Uint8Array(buffer.subarray(at, at + pageSize)));
      }
    }
  };
  for (const folder of FOLDERS) walk(folder);
  return pages;
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // not there, or not for us
  }
}

function readStart(path: string, buffer: Buffer): number {
  try {
    const fd = openSync(path, "r");
    try {
      return readSync(fd, buffer, 0, buffer.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return 0;
  }
}
