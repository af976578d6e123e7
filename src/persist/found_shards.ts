// Which numbers of shards there are files of, at the path of a store (shards.ts).
import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { attemptIo } from "../node/file_io.ts";
import { findFiles, isOurs, namesOf } from "./found_files.ts";
import type { FileIdentity } from "./header.ts";
import { removeMark } from "./shard_mark.ts";

export function pathOfShard(path: string, nth: number, shards: number): string {
  return shards === 1 ? path : `${path}.${nth + 1}-of-${shards}`;
}

/** The numbers of shards that there are files of, ascending. @throws ZcacheError ERR_IO */
export function shardsFound(path: string): number[] {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  const numbers = new Set<number>([1]);
  for (const name of attemptIo(folder, 0, () => readdirSync(folder))) {
    const match = /^([1-9]\d?)-of-([1-9]\d?)\.(log|snapshot)\./.exec(
      name.startsWith(start) ? name.slice(start.length) : "",
    );
    if (match !== null && Number(match[1]) <= Number(match[2])) numbers.add(Number(match[2]));
  }
  const isThere = (shards: number) =>
    Array.from({ length: shards }, (_, nth) => pathOfShard(path, nth, shards)).some((one) =>
      namesOf(one).some((name) => isOurs(name.path)),
    );
  return [...numbers].filter(isThere).sort((a, b) => a - b);
}

/**
 * Removes the files of all numbers of shards but one, and then the mark.
 * @param kept 0: none is kept
 * @returns the number that is left, if there are files of it
 */
export function keepOnly(path: string, kept: number, identity: FileIdentity): number[] {
  for (const shards of shardsFound(path)) {
    if (shards === kept) continue;
    for (let nth = 0; nth < shards; nth++) {
      findFiles(pathOfShard(path, nth, shards), identity, "discard");
    }
  }
  const left = shardsFound(path);
  // If a file could not be removed, the mark is still needed.
  if (left.every((shards) => shards === kept)) removeMark(path);
  return left.filter((shards) => shards === kept);
}
