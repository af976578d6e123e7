// Creates a store in an arena and opens it in other threads: where each part is.

import type { BackingDevice, BackingShare } from "../backing/contract.ts";
import { OUTBOX_WORDS } from "../backing/outbox.layout.ts";
import { Outbox } from "../backing/outbox.ts";
import { BACKING_WORDS } from "../backing/segment_log.layout.ts";
import { SegmentLog } from "../backing/segment_log.ts";
import { NIL, type PageFrame, type WordIndex } from "../base/brand.ts";
import { ZcacheError } from "../base/errors.ts";
import { MIB } from "../base/units.ts";
import { ONE_VERSION } from "../base/version.ts";
import { ARENA_BYTES_MAX, ARENA_OWNER, Arena, type ArenaShare } from "../memory/arena.ts";
import { put } from "../memory/journal.ts";
import type { ReleaseArena } from "../memory/thread_table.ts";
import type { EvictionPolicy } from "../policy/contract.ts";
import { POLICY_WORDS } from "../policy/contract.ts";
import { createPolicy } from "../policy/registry.ts";
import { createPool, openPool } from "../pool/registry.ts";
import * as Entry from "../tmem/entry.layout.ts";
import { INDEX_WORDS } from "../tmem/index.layout.ts";
import { INDEX_OWNERS, TmemIndex } from "../tmem/tmem.ts";
import { StoreCodecs } from "./codecs.ts";
import { GROWTH_MAX, type ResolvedOptions } from "./options.ts";
import * as Page from "./page.layout.ts";
import type { StoreParts } from "./parts.ts";
import type { StorePlatform } from "./platform.ts";
import { policySpaceOf } from "./policy_space.ts";
import { StoreState } from "./state.ts";
import * as Root from "./store.layout.ts";

// Word offsets in the root, after the words of store.layout.ts.
/** Offset of the index's words. */
export const INDEX_AT = Math.ceil(Root.PARTS / 2) * 2;
export const POLICIES_AT = INDEX_AT + INDEX_WORDS;
const BACKING_AT = Math.ceil((POLICIES_AT + Root.KINDS * POLICY_WORDS) / 2) * 2;
const OUTBOX_AT = BACKING_AT + BACKING_WORDS;
const ROOT_WORDS = OUTBOX_AT + OUTBOX_WORDS;

/**
 * Scratch is reserved for one thread per so many bytes, four threads at most, so that they can
 * attach to a full store.
 */
const SCRATCH_PER = 16 * MIB;

/** Bytes of a typical value in a store of values. */
const VALUE_BYTES = 1024;

// Owner numbers of frames, besides those of pools: the n-th is a number that no frame has.
export const INDEX_OWNER = 1;
const POLICY_OWNER = INDEX_OWNER + INDEX_OWNERS;
export const BACKING_OWNER = POLICY_OWNER + Root.KINDS;

/** @returns the bytes to which an arena of this size can grow */
export function arenaBytesMaxOf(sizeBytes: number): number {
  return Math.min(ARENA_BYTES_MAX, sizeBytes * GROWTH_MAX);
}

/**
 * Creates the arena of a store.
 * @throws ZcacheError ERR_ARENA_MEMORY
 */
export function createArena(options: ResolvedOptions, platform: StorePlatform): Arena {
  const { memoryMax: sizeBytes, pageSize } = options;
  const most = arenaBytesMaxOf(sizeBytes);
  const sizeBytesMax = platform.reservesFreely ? Math.max(sizeBytes, most) : sizeBytes;
  const { threads, kernelSwitch } = platform;
  const release = releaseOf(options, platform);
  return Arena.create({ sizeBytes, sizeBytesMax, pageSize }, threads, kernelSwitch, release);
}

/**
 * Attaches to the arena of a store.
 * @throws ZcacheError as `Arena.attach`
 */
export function attachArena({ arena, options }: SharedArena, platform: StorePlatform): Arena {
  const { threads, kernelSwitch } = platform;
  return Arena.attach(arena, threads, kernelSwitch, releaseOf(options, platform));
}

/** What another thread has shared. */
interface SharedArena {
  readonly arena: ArenaShare;
  readonly options: ResolvedOptions;
}

/** @param options of a share, which may be anything */
function releaseOf(
  options: ResolvedOptions | undefined,
  platform: StorePlatform,
): ReleaseArena | undefined {
  return options?.giveBack === "auto" ? platform.releaseArena : undefined;
}

/** Creates an empty store in an arena that nobody else uses yet. */
export function formatStore(
  arena: Arena,
  options: ResolvedOptions,
  platform: StorePlatform,
): StoreState {
  const order = Math.ceil(Math.log2((ROOT_WORDS * 4) / arena.pageSize));
  const frame = arena.frames.alloc(Math.max(0, order), ARENA_OWNER);
  if (frame === NIL) throw new ZcacheError("ERR_ARENA_FULL", "no room in the arena for a store");
  const root = arena.frames.frameToWord(frame);
  arena.words.fill(0, root, root + ROOT_WORDS);
  const zpools = options.zpools.map((type) => createPool(type, arena));
  for (const [kind, zpool] of zpools.entries()) {
    arena.words[root + Root.ZPOOLS + kind] = zpool.share().zcachePool;
  }
  arena.words[root + Root.LIMIT_FRAMES] = arena.frames.framesUsable;
  arena.words[root + Root.EXPIRES_FROM] = Root.NEVER;
  arena.words[root + Root.EXPIRES_SINCE] = Root.NEVER;
  arena.words[root + Root.VERSION] = Root.STORE_VERSION;
  const { writeBack } = options;
  const device = writeBack && platform.openDevice({ ...writeBack, sizeBytesMax: writeBack.max });
  try {
    const state = openParts({ arena, root, options, platform, zpools }, device);
    state.index.format(platform.random());
    for (const policy of state.policies) policy.format();
    state.backing?.format(platform.random(), platform.random());
    const enabled = (1 << Root.PERSISTENT) | (options.remote?.ephemeral ? 1 << Root.EPHEMERAL : 0);
    const allocate = (sizeBytes: number) => state.allocateLocked(sizeBytes);
    state.outbox?.format(options.memoryMax, enabled, allocate);
    arena.keepScratch(Math.max(1, Math.min(4, Math.floor(options.memoryMax / SCRATCH_PER))));
    // The last step: from here on, the arena's lock guards everything.
    arena.keepJournal();
    arena.words[root + Root.MAGIC] = Root.STORE_MAGIC;
    return state;
  } catch (error) {
    device?.close();
    throw error;
  }
}

/** Opens, in another thread, the store whose root is at that word of the arena. */
export function attachStore(
  arena: Arena,
  root: number,
  options: ResolvedOptions,
  platform: StorePlatform,
  device: BackingShare | undefined,
): StoreState {
  if (arena.words[root + Root.MAGIC] !== Root.STORE_MAGIC) {
    throw new ZcacheError("ERR_STORE_SHARE", "there is no store in this arena");
  }
  const version = arena.words[root + Root.VERSION];
  if (version !== Root.STORE_VERSION) {
    const known = `this thread knows version ${Root.STORE_VERSION}`;
    const message = `the store is of version ${version}, and ${known}: ${ONE_VERSION}`;
    throw new ZcacheError("ERR_STORE_SHARE", message, {
      context: { found: version, wanted: Root.STORE_VERSION },
    });
  }
  if (Atomics.load(arena.words, root + Root.CLOSED) !== 0) {
    throw new ZcacheError("ERR_STORE_CLOSED", "the store has been closed");
  }
  const zpools = [Root.EPHEMERAL, Root.PERSISTENT].map((kind) =>
    openPool(arena, arena.words[root + Root.ZPOOLS + kind]!),
  );
  const attached = device && platform.attachDevice(device);
  return openParts({ arena, root: root as WordIndex, options, platform, zpools }, attached);
}

function openParts(
  given: Pick<StoreParts, "arena" | "root" | "options" | "platform" | "zpools">,
  device: BackingDevice | undefined,
): StoreState {
  const { arena, root, options, platform } = given;
  const { framesMax, wordsPerPage } = arena.frames;
  const owner = (nth: number) => (root / wordsPerPage + nth * framesMax) as PageFrame;
  const frames = Math.floor(options.memoryMax / arena.pageSize);
  // As many as pages may be stored at once before the arena grows: far more if they are values,
  // which are smaller.
  const ghosts =
    options.content === "values" ? Math.ceil((frames * arena.pageSize) / VALUE_BYTES) : frames;
  const mayLeave = device !== undefined || options.remote !== undefined;
  const policies = [Root.EPHEMERAL, Root.PERSISTENT].map((kind) => {
    const space = policySpaceOf({
      ...{ arena, root, options, kind },
      index: () => index,
      owner: owner(POLICY_OWNER + kind),
      ghosts: kind === Root.EPHEMERAL || mayLeave ? ghosts : 0,
    });
    const at = (root + POLICIES_AT + kind * POLICY_WORDS) as WordIndex;
    return createPolicy(options.policy, arena, at, space);
  });
  const moved = entryMoved(arena, root, policies, options);
  const index = new TmemIndex(arena, root + INDEX_AT, (n) => owner(INDEX_OWNER + n), moved);
  const backing = device && new SegmentLog(arena, root + BACKING_AT, owner(BACKING_OWNER), device);
  const outbox = options.remote && new Outbox(arena, root + OUTBOX_AT);
  const codecs = new StoreCodecs(platform.codecs(), arena, options);
  return new StoreState({
    ...given,
    policies,
    index,
    codecs,
    backing,
    outbox,
  });
}

/**
 * Returns what to do when the index moves an entry: everything that refers to it by its place is
 * updated.
 */
function entryMoved(
  arena: Arena,
  root: WordIndex,
  policies: readonly EvictionPolicy[],
  options: ResolvedOptions,
): (from: WordIndex, to: WordIndex) => void {
  const { words } = arena;
  return (from, to) => {
    const meta = words[to + Entry.META]!;
    if (Page.isListed(meta)) policies[Page.kindOf(meta)]!.relocate(from, to);
    const isNamed = options.reclaim === "frames" && Page.whereOf(meta) === Page.MEMORY;
    if (isNamed) put(words, root + Root.PENDING_RELABEL, to);
  };
}

/**
 * Repairs the store after a thread has died inside it, under the lock, with all its uncommitted
 * changes rolled back.
 */
export function recoverLocked(state: StoreState): void {
  for (const zpool of state.zpools) zpool.recover();
  state.backing?.recoverLocked();
  // Completes a pending free, if the thread left one.
  state.commitLocked();
}
