// The files of `persist` for a store of several shards. Each shard has files of its own, at a path
// that names the shard and their number; the only shard of a store has them at PATH itself.
//
//   PATH.1-of-3.log.G, PATH.1-of-3.snapshot.G, PATH.2-of-3.log.G …
//   PATH.log.lock       the process that owns the files of all shards
//
// The files hold keys by their hash, and a key belongs to a shard by its hash. So all files of a
// store have the same seeds of the hash, and a store of another number of shards can't use them.
import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { attemptIo } from "../node/file_io.ts";
import { lockFile } from "../node/file_lock.ts";
import { findFiles, isOurs, namesOf } from "./found_files.ts";
import type { FileIdentity } from "./header.ts";
import { MAX_BYTES_MIN, type ResolvedPersist } from "./options.ts";
import { Persistence, type PersistStats, SnapshotTurns } from "./persistence.ts";
import type { Recovered } from "./recovery.ts";

/** How many shards a store is to have, by what its options and its files say. */
export interface ShardChoice {
  /** The number without files. */
  readonly wanted: number;
  /** Whether a store may have another number of shards instead. */
  mayBe(shards: number): boolean;
}

/**
 * Locks the files of all shards at a path, and opens them.
 * @returns one for each shard; close the first one last, which has the lock
 * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if there are files of another number of shards,
 *   of a store of another kind, or with other settings; ERR_IO
 */
export function openShards(
  options: ResolvedPersist,
  identity: FileIdentity,
  choice: ShardChoice,
): Persistence[] {
  const { path, existing } = options;
  const unlock = lockFile(`${path}.log`);
  try {
    const found = shardsFound(path);
    const shards = existing === "discard" ? choice.wanted : chooseShards(path, found, choice);
    for (const other of found) {
      if (other === shards) continue;
      for (let nth = 0; nth < other; nth++) {
        findFiles(pathOfShard(path, nth, other), identity, "discard");
      }
    }
    const opened: Persistence[] = [];
    for (let nth = 0; nth < shards; nth++) {
      const own = optionsOfShard(options, nth, shards);
      opened.push(Persistence.open(own, identity, nth === 0 ? unlock : () => {}));
    }
    agreeOnSeeds(opened);
    const turns = new SnapshotTurns(shards);
    for (const one of opened) one.turns = turns;
    return opened;
  } catch (error) {
    unlock();
    throw error;
  }
}

function optionsOfShard(options: ResolvedPersist, nth: number, shards: number): ResolvedPersist {
  if (shards === 1) return options;
  const maxBytes = Math.max(MAX_BYTES_MIN, Math.floor(options.maxBytes / shards));
  return { ...options, path: pathOfShard(options.path, nth, shards), maxBytes };
}

function pathOfShard(path: string, nth: number, shards: number): string {
  return shards === 1 ? path : `${path}.${nth + 1}-of-${shards}`;
}

/** The numbers of shards that there are files of, ascending. @throws ZcacheError ERR_IO */
function shardsFound(path: string): number[] {
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

/** @throws ZcacheError ERR_OPTION if the files are of another number of shards */
function chooseShards(path: string, found: readonly number[], choice: ShardChoice): number {
  const [one = choice.wanted, ...others] = found;
  const isUsable = one === choice.wanted || choice.mayBe(one);
  if (others.length === 0 && isUsable) return one;
  const what = `has files of ${found.join(" and ")} shards, and the store has ${choice.wanted}`;
  const use = others.length === 0 ? `shards: ${one} uses them, ` : "";
  throw new ZcacheError(
    "ERR_OPTION",
    `persist: ${path} ${what}: ${use}existing: "discard" begins without them`,
    { context: { path, found: [...found], shards: choice.wanted } },
  );
}

/** Lets all shards have the seeds of the key hash that most of the files have. */
function agreeOnSeeds(opened: readonly Persistence[]): void {
  const counts = new Map<string, number>();
  for (const { hasValues, keySeeds } of opened) {
    if (hasValues) counts.set(String(keySeeds), (counts.get(String(keySeeds)) ?? 0) + 1);
  }
  const most = Math.max(0, ...counts.values());
  const { keySeeds } =
    opened.find((one) => one.hasValues && counts.get(String(one.keySeeds)) === most) ?? opened[0]!;
  for (const one of opened) one.useSeeds(keySeeds, most > 0);
}

/** Statistics of all shards together. @param path of the whole store */
export function sumOfShards(path: string, shards: readonly PersistStats[]): PersistStats {
  const sum = sumOf(shards);
  const recovered = sumOf(shards.map((one) => one.recovered)) as unknown as Recovered;
  return {
    ...(sum as unknown as PersistStats),
    path,
    isSuspended: shards.some((one) => one.isSuspended),
    recovered: { ...recovered, wasClosed: shards.every((one) => one.recovered.wasClosed) },
  };
}

/** The numbers among the properties, added. */
function sumOf(all: readonly object[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, value] of all.flatMap((one) => Object.entries(one))) {
    if (typeof value === "number") sums[name] = (sums[name] ?? 0) + value;
  }
  return sums;
}
