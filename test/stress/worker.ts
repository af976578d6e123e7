// A worker of the stress tests: attaches to the arena, waits for the others, does its job and
// reports.
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import type { Address, Handle, PageFrame } from "../../src/base/brand.ts";
import { EBUSY, EINVAL, ENOMEM } from "../../src/base/errno.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { Arena } from "../../src/memory/arena.ts";
import { MAX_ORDER } from "../../src/memory/frame.layout.ts";
import { Mutex } from "../../src/memory/mutex.ts";
import { MAP_RO, type Zpool } from "../../src/pool/contract.ts";
import { attachPool } from "../../src/pool/registry.ts";
import { COUNTER, LOCK, READY, type Report, STEPS, type WorkerInput } from "./crew.ts";

const input = workerData as WorkerInput;

/** Adds one to a word that only the lock guards, so that an update lost is a count too few. */
function countUnderLock(arena: Arena): Report {
  const { words, owner, isDead } = arena;
  const mutex = new Mutex(words, arena.kernels, input.sharedAt + LOCK, owner, isDead);
  for (let round = 0; round < input.rounds; round++) {
    mutex.lock();
    words[input.sharedAt + COUNTER]!++;
    mutex.unlock();
  }
  return { counted: input.rounds };
}

/** Most blocks that one worker holds. */
const BLOCKS_HELD = 60;

/**
 * Takes and gives blocks of all orders; marks the first and last word of each while it holds it.
 */
function hammerFrames(arena: Arena): Report {
  const { frames, words, thread } = arena;
  const random = new Xorshift32(input.index + 1);
  const held: { frame: PageFrame; order: number; stamp: number }[] = [];
  let refused = 0;
  for (let round = 0; round < input.rounds; round++) {
    if (random.below(2) === 0 && held.length < BLOCKS_HELD) {
      const order = random.below(MAX_ORDER + 1);
      const frame = frames.alloc(order, thread);
      if (frame < 0) {
        refused++;
        continue;
      }
      const stamp = (thread << 24) | round;
      const at = frames.frameToWord(frame as PageFrame);
      words[at] = stamp;
      words[at + (frames.wordsPerPage << order) - 1] = stamp;
      held.push({ frame: frame as PageFrame, order, stamp });
    } else if (held.length > 0) {
      const [block] = held.splice(random.below(held.length), 1);
      releaseBlock(arena, block!);
    }
    if (input.index === 0 && round % 500 === 0) frames.verify();
  }
  for (const block of held) releaseBlock(arena, block);
  return { refused };
}

function releaseBlock(arena: Arena, block: { frame: PageFrame; order: number; stamp: number }) {
  const { frames, words, thread } = arena;
  const at = frames.frameToWord(block.frame);
  assert.ok(frames.isHeadOf(block.frame, thread), "the block is still this thread's");
  assert.equal(words[at], block.stamp, "nobody else writes into the block");
  assert.equal(words[at + (frames.wordsPerPage << block.order) - 1], block.stamp);
  frames.free(block.frame);
}

/** Most objects that one worker holds. */
const OBJECTS_HELD = 300;

/** The objects of one worker in a pool that others use, shrink and compact at the same time. */
class PoolUser {
  readonly pool: Zpool;
  readonly counts = { stored: 0, freed: 0, lost: 0, refused: 0, evictions: 0 };
  readonly #arena: Arena;
  readonly #random = new Xorshift32(input.index + 100);
  readonly #held: { handle: Handle; sizeBytes: number; seed: number }[] = [];
  readonly #buffer: Address;
  #serial = input.index << 24;

  constructor(arena: Arena, pool: Zpool) {
    this.#arena = arena;
    this.pool = pool;
    this.#buffer = arena.reserve(arena.pageSize);
  }

  step(): void {
    const dice = this.#random.below(10);
    const held = this.#held.length;
    if (held === 0 || (dice < 4 && held < OBJECTS_HELD)) this.#store();
    else if (dice < 7) this.#check(this.#random.below(held));
    else this.#free(this.#random.below(held));
  }

  finish(): void {
    while (this.#held.length > 0) this.#free(0);
  }

  /** Evicts any object; the owner notices at its next use of the handle. */
  reclaim(): void {
    this.pool.shrink(1, () => {
      this.counts.evictions++;
      return 0;
    });
  }

  #store(): void {
    const largest = this.#random.below(4) === 0 ? this.pool.maxSizeBytes : 600;
    const sizeBytes = 1 + this.#random.below(largest);
    const handle = this.pool.malloc(sizeBytes);
    if (handle < 0) {
      assert.equal(handle, ENOMEM);
      this.counts.refused++;
      return;
    }
    this.counts.stored++;
    const seed = ++this.#serial;
    for (let i = 0; i < sizeBytes; i++) this.#arena.bytes[this.#buffer + i] = patternByte(seed, i);
    const object = { handle: handle as Handle, sizeBytes, seed };
    this.#held.push(object);
    const written = this.pool.write(object.handle, this.#buffer, sizeBytes);
    if (written !== 0) this.#lose(this.#held.length - 1, written);
  }

  #check(index: number): void {
    const { handle, sizeBytes, seed } = this.#held[index]!;
    if (seed % 3 !== 0) {
      const result = this.pool.read(handle, this.#buffer, sizeBytes);
      if (result === 0) this.#compare(this.#buffer, sizeBytes, seed);
      else this.#lose(index, result);
      return;
    }
    const at = this.pool.map(handle, MAP_RO, sizeBytes);
    if (at < 0) {
      if (at !== EBUSY) this.#lose(index, at);
      return;
    }
    this.#compare(at, sizeBytes, seed);
    assert.equal(this.pool.free(handle), EBUSY, "a mapped object is not freed");
    assert.equal(this.pool.unmap(handle), 0);
  }

  #free(index: number): void {
    const { handle } = this.#held[index]!;
    let result = this.pool.free(handle);
    // Only for as long as another thread holds it: evicts or moves it.
    while (result === EBUSY) result = this.pool.free(handle);
    if (result === 0) {
      this.counts.freed++;
      this.#held.splice(index, 1);
    } else {
      this.#lose(index, result);
    }
  }

  /** Another thread has evicted the object. */
  #lose(index: number, result: number): void {
    assert.equal(result, EINVAL);
    this.counts.lost++;
    this.#held.splice(index, 1);
  }

  #compare(at: number, sizeBytes: number, seed: number): void {
    const { bytes } = this.#arena;
    for (let i = 0; i < sizeBytes; i++) {
      if (bytes[at + i] !== patternByte(seed, i)) {
        assert.fail(`byte ${i} of ${sizeBytes} of object ${seed} is another's`);
      }
    }
  }
}

function patternByte(seed: number, index: number): number {
  return ((Math.imul(seed, 0x9e3779b1) >>> ((index & 3) * 8)) ^ (index >>> 2)) & 0xff;
}

function hammerPool(arena: Arena): Report {
  const user = new PoolUser(arena, attachPool(arena, input.pool!));
  for (let round = 0; round < input.rounds; round++) {
    user.step();
    if (input.index !== 0) continue;
    if (round % 100 === 0) user.reclaim();
    if (round % 150 === 0) user.pool.compact(4);
    if (round % 400 === 0) user.pool.verify();
  }
  user.finish();
  return user.counts;
}

/** Uses a pool until it is destroyed, which another thread does in the middle of it. */
function useUntilDestroyed(arena: Arena): Report {
  const pool = attachPool(arena, input.pool!);
  const live: Handle[] = [];
  for (let step = 0; step < input.rounds; step++) {
    Atomics.add(arena.words, input.sharedAt + STEPS, 1);
    try {
      const handle = pool.malloc(1 + ((step * 97) % 3000));
      if (handle > 0) live.push(handle as Handle);
      if (live.length > 100) pool.free(live.shift() as Handle);
    } catch (error) {
      assert.equal((error as { code?: string }).code, "ERR_POOL_CLOSED");
      return { refused: 1 };
    }
  }
  return { refused: 0 };
}

function waitForOthers({ words }: Arena): void {
  const at = input.sharedAt + READY;
  const ready = Atomics.add(words, at, 1) + 1;
  if (ready === input.workers) Atomics.notify(words, at);
  for (let seen = ready; seen < input.workers; seen = Atomics.load(words, at)) {
    Atomics.wait(words, at, seen);
  }
}

const JOBS = {
  counter: countUnderLock,
  frames: hammerFrames,
  pool: hammerPool,
  destroyed: useUntilDestroyed,
};

const arena = Arena.attach(input.arena);
waitForOthers(arena);
const report = JOBS[input.kind](arena);
// Detaches before the report, so that the reader of the report finds the scratch freed.
arena.detach();
parentPort!.postMessage(report);
