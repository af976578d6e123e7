// The files of `persist` for a store of several shards. Each shard has files of its own, at a path
// that names the shard and their number; the only shard of a store has them at PATH itself.
//
//   PATH.1-of-3.log.G, PATH.1-of-3.snapshot.G, PATH.2-of-3.log.G …
//   PATH.log.lock       the process that owns the files of all shards
//
//   PATH.shards         the mark, while values are taken over from another number of shards
//
// The files hold keys by their hash, and a key belongs to a shard by its hash. So all files of a
// store have the same seeds of the hash. A store of another number of shards takes the values over
// when it starts (takeover.ts).
import { ZcacheError } from "../base/errors.ts";
import { lockFile } from "../node/file_lock.ts";
import { keepOnly, pathOfShard, shardsFound } from "./found_shards.ts";
import type { FileIdentity } from "./header.ts";
import { MAX_BYTES_MIN, type ResolvedPersist } from "./options.ts";
import { Persistence } from "./persistence.ts";
import { readMark } from "./shard_mark.ts";
import { SnapshotTurns } from "./snapshot_turns.ts";
import { Takeover } from "./takeover.ts";

/** How many shards a store is to have, by what its options and its files say. */
export interface ShardChoice {
  /** The number without files. */
  readonly wanted: number;
  /** Whether a store may have another number of shards instead. */
  mayBe(shards: number): boolean;
}

/** The files of all shards of a store. */
export interface OpenedFiles {
  /** Of each shard; close the first one last, which has the lock. */
  readonly shards: readonly Persistence[];
  /** Undefined: the files, if there are any, are of this number of shards. */
  readonly takeover: Takeover | undefined;
}

/**
 * Locks the files of all shards at a path, and opens them.
 * @throws ZcacheError ERR_FILE_LOCKED; ERR_OPTION if there are files of several numbers of shards,
 *   of a store of another kind, or with other settings; ERR_IO
 */
export function openShards(
  options: ResolvedPersist,
  identity: FileIdentity,
  choice: ShardChoice,
): OpenedFiles {
  const { path } = options;
  const unlock = lockFile(`${path}.log`);
  try {
    const found = shardsOfFiles(options, identity);
    const { wanted } = choice;
    const shards = found !== undefined && choice.mayBe(found) ? found : wanted;
    const isTakeover = found !== undefined && found !== shards;
    const old = isTakeover ? openFiles(options, identity, found, () => {}) : [];
    const opened = openFiles(options, identity, shards, unlock);
    agreeOnSeeds(isTakeover ? old : opened);
    if (!isTakeover) return { shards: opened, takeover: undefined };
    for (const one of opened) one.useSeeds(old[0]!.keySeeds, false);
    return { shards: opened, takeover: new Takeover(path, old, opened, identity) };
  } catch (error) {
    unlock();
    throw error;
  }
}

/** The number of shards whose files are valid; undefined: there are none. */
function shardsOfFiles(
  { path, existing }: ResolvedPersist,
  identity: FileIdentity,
): number | undefined {
  if (existing === "discard") return keepOnly(path, 0, identity)[0];
  const mark = readMark(path);
  const [one, ...others] = mark === undefined ? shardsFound(path) : keepOnly(path, mark, identity);
  if (others.length > 0) throw severalError(path, [one!, ...others]);
  return one;
}

function openFiles(
  options: ResolvedPersist,
  identity: FileIdentity,
  shards: number,
  unlock: () => void,
): Persistence[] {
  const turns = new SnapshotTurns(shards);
  return Array.from({ length: shards }, (_, nth) => {
    const own = optionsOfShard(options, nth, shards);
    const one = Persistence.open(own, identity, nth === 0 ? unlock : () => {});
    one.turns = turns;
    turns.add(one);
    return one;
  });
}

function optionsOfShard(options: ResolvedPersist, nth: number, shards: number): ResolvedPersist {
  if (shards === 1) return options;
  const maxBytes = Math.max(MAX_BYTES_MIN, Math.floor(options.maxBytes / shards));
  return { ...options, path: pathOfShard(options.path, nth, shards), maxBytes };
}

function severalError(path: string, found: readonly number[]): ZcacheError {
  const what = `has files of ${found.join(" and ")} shards, and nothing says which are valid`;
  return new ZcacheError(
    "ERR_OPTION",
    `persist: ${path} ${what}: remove those of one number, or start without: existing: "discard"`,
    { context: { path, found: [...found] } },
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
