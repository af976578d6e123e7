// Memory of free frames, against a plain model: whatever is allocated, freed, populated and
// returned, also while memory is being returned, each frame belongs to one owner, frames in use
// keep their content, and nothing is lost. What the system does to returned memory is played: it
// is overwritten with zeros.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { NIL, type PageFrame } from "../../src/base/brand.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import * as Super from "../../src/memory/arena.layout.ts";
import { Arena, PAGE_SIZES } from "../../src/memory/arena.ts";
import { MAX_ORDER } from "../../src/memory/frame.layout.ts";
import {
  populateAhead,
  type ReleaseMemory,
  returnBlocks,
  returnFramesIn,
} from "../../src/memory/residency.ts";
import { nodeThreads } from "../../src/node/threads.ts";
import type { ReturnInput } from "./residency_worker.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const WORKER = new URL(`./residency_worker.${EXTENSION}`, import.meta.url);
const OWNER = 77;
const BLOCK = 1 << MAX_ORDER;

/** An arena with a journal, and what its owner has allocated. */
class Model {
  readonly arena: Arena;
  readonly held: { frame: PageFrame; order: number }[] = [];
  /** Bytes that `release` was told of. */
  released = 0;

  constructor(sizeBytes: number, pageSize: number) {
    this.arena = Arena.create({ sizeBytes, pageSize }, nodeThreads());
    this.arena.keepJournal();
  }

  transaction(work: () => void): void {
    const { lock } = this.arena;
    lock.lock();
    try {
      work();
      lock.commit();
    } finally {
      lock.unlock();
    }
  }

  alloc(order: number): void {
    const { frames, bytes, pageSize } = this.arena;
    let frame = NIL as PageFrame | typeof NIL;
    this.transaction(() => {
      frame = frames.alloc(order, OWNER);
    });
    if (frame === NIL) return;
    this.held.push({ frame, order });
    const at = frames.frameToAddress(frame);
    bytes.fill((frame % 251) + 1, at, at + (pageSize << order));
  }

  free(index: number): void {
    const [block] = this.held.splice(index % Math.max(1, this.held.length), 1);
    if (block !== undefined) this.transaction(() => this.arena.frames.free(block.frame));
  }

  /** Allocates, and undoes it, as a put does that finds no room. */
  allocInVain(order: number): void {
    const { lock, frames } = this.arena;
    lock.lock();
    frames.alloc(order, OWNER);
    lock.unlock();
  }

  readonly release: ReleaseMemory = (at, sizeBytes) => {
    const { bytes, pageSize } = this.arena;
    assert.ok(at % pageSize === 0 && sizeBytes % pageSize === 0 && sizeBytes > 0);
    bytes.fill(0, at, at + sizeBytes);
    this.released += sizeBytes;
    return true;
  };

  verify(): void {
    const { frames, bytes, pageSize } = this.arena;
    this.transaction(() => frames.verify());
    const used = this.held.reduce((sum, { order }) => sum + (1 << order), 0);
    assert.ok(frames.framesUsed >= used);
    assert.ok(frames.framesUnpopulated <= frames.framesFree);
    for (const { frame, order } of this.held) {
      const at: number = frames.frameToAddress(frame);
      const end = at + (pageSize << order);
      for (let byte: number = at; byte < end; byte += 512) {
        assert.equal(bytes[byte], (frame % 251) + 1, "frames in use keep their content");
      }
    }
  }
}

const work = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant("alloc"), n: fc.nat(MAX_ORDER) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("free"), n: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("allocInVain"), n: fc.nat(MAX_ORDER) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("populate"), n: fc.nat(100) }) },
) as fc.Arbitrary<{ op: "alloc" | "free" | "allocInVain" | "populate"; n: number }>;
const step = fc.record({
  ops: fc.array(work, { maxLength: 12 }),
  how: fc.constantFrom("blocks", "frames", "nothing"),
  n: fc.nat(1000),
  /** What other threads do while memory is being returned. */
  meanwhile: fc.array(work, { maxLength: 6 }),
  fails: fc.boolean(),
});
const shape = fc.record({
  pageSize: fc.constantFrom(...PAGE_SIZES.slice(0, 3)),
  sizeBytes: fc.integer({ min: 12, max: 45 }).map((count) => count * 64 * KIB),
});

/** Whether there is a block besides those whose memory is being returned. */
function hasOther({ words }: Arena, order: number): boolean {
  const larger = words.subarray(Super.FREE_BLOCKS + order, Super.FREE_BLOCKS + MAX_ORDER + 1);
  return words[Super.UNPOPULATED_BLOCKS]! > 0 || larger.some((blocks) => blocks > 0);
}

function run(model: Model, { op, n }: { op: string; n: number }, isReturning: boolean): void {
  const { arena } = model;
  // The last blocks would be waited for, and this thread can't end what it waits for.
  const isLast = isReturning && !hasOther(arena, n);
  if (op === "free") model.free(n);
  else if (op === "populate") populateAhead(arena, n + 1);
  else if (isLast) return;
  else if (op === "alloc") model.alloc(n);
  else model.allocInVain(n);
}

test("whatever is allocated, freed, populated and returned, no frame is lost or changed", () => {
  fc.assert(
    fc.property(shape, fc.array(step, { maxLength: 12 }), ({ sizeBytes, pageSize }, steps) => {
      const model = new Model(sizeBytes, pageSize);
      const { arena } = model;
      for (const { ops, how, n, meanwhile, fails } of steps) {
        for (const one of ops) run(model, one, false);
        model.verify();
        const release: ReleaseMemory = (at, size) => {
          for (const one of meanwhile) run(model, one, true);
          model.verify();
          return !fails && model.release(at, size);
        };
        const before = model.released;
        let returned = 0;
        const block = n % Math.ceil(arena.frames.framesTotal / BLOCK);
        if (how === "blocks") returned = returnBlocks(arena, n, release);
        else if (how === "frames") returned = returnFramesIn(arena, block, release);
        assert.equal(returned * pageSize, model.released - before);
        model.verify();
      }
      for (const _ of [...model.held]) model.free(0);
      model.verify();
      arena.close();
    }),
    { numRuns: 150 },
  );
});

test("what was returned is not returned again, and is allocated after all other memory", () => {
  const model = new Model(4 * MIB, 4 * KIB);
  const { frames } = model.arena;
  const unused = frames.framesUnpopulated;
  assert.ok(unused > 900, "a new arena has hardly any memory");
  assert.equal(returnBlocks(model.arena, 1000, model.release), 0, "so there is none to return");
  for (let nth = 0; nth < 47; nth++) model.alloc(MAX_ORDER);
  assert.equal(frames.framesUnpopulated, unused - 47 * BLOCK);
  while (model.held.length > 0) model.free(model.held.length - 1);
  assert.equal(frames.framesUnpopulated, unused - 47 * BLOCK);
  assert.equal(returnBlocks(model.arena, 10 * BLOCK, model.release), 10 * BLOCK);
  model.verify();
  assert.equal(frames.framesFreePopulated, frames.framesFree - (unused - 37 * BLOCK));
  // The populated blocks are the lowest, and are allocated first.
  for (let nth = 0; nth < 37; nth++) model.alloc(MAX_ORDER);
  assert.equal(frames.framesUnpopulated, unused - 37 * BLOCK, "no other block was needed");
  model.alloc(MAX_ORDER);
  assert.equal(frames.framesUnpopulated, unused - 38 * BLOCK);
});

test("single frames between others are returned once, and join to unpopulated blocks", () => {
  const model = new Model(2 * MIB, 4 * KIB);
  const { arena, held } = model;
  const { frames } = arena;
  for (let nth = 0; nth < 64; nth++) model.alloc(0);
  const block = Math.floor(held[40]!.frame / BLOCK);
  const inBlock = () => held.findIndex(({ frame }) => Math.floor(frame / BLOCK) === block);
  for (let nth = 0; nth < 16; nth += 2) {
    const index = held.findIndex(({ frame }) => frame === block * BLOCK + nth);
    model.free(index);
  }
  const before = frames.framesUnpopulated;
  assert.equal(returnFramesIn(arena, block, model.release), 8);
  assert.equal(returnFramesIn(arena, block, model.release), 0, "no frame is returned twice");
  assert.equal(frames.framesUnpopulated, before + 8);
  model.verify();
  for (let index = inBlock(); index >= 0; index = inBlock()) model.free(index);
  assert.equal(frames.framesUnpopulated, before, "a block with some memory counts as populated");
  assert.equal(returnBlocks(arena, BLOCK, model.release), BLOCK);
  assert.equal(frames.framesUnpopulated, before + BLOCK);
  model.verify();
});

test("frames that were populated ahead are those that are allocated next", () => {
  const model = new Model(2 * MIB, 4 * KIB);
  const { frames } = model.arena;
  const before = frames.framesUnpopulated;
  assert.equal(populateAhead(model.arena, 33), 3 * BLOCK);
  assert.equal(frames.framesUnpopulated, before - 3 * BLOCK);
  for (let nth = 0; nth < 3; nth++) model.alloc(MAX_ORDER);
  assert.equal(frames.framesUnpopulated, before - 3 * BLOCK);
  // The arena ends with a part of a block.
  const all = before - 3 * BLOCK - (before % BLOCK);
  assert.equal(populateAhead(model.arena, 1_000_000), all);
  assert.equal(populateAhead(model.arena, 1), 0);
  model.verify();
});

/** An arena of which all frames but one are free and populated; the one has the worker's word. */
function freeArena() {
  const model = new Model(4 * MIB, 4 * KIB);
  populateAhead(model.arena, 1_000_000);
  model.alloc(0);
  const at = model.arena.frames.frameToWord(model.held[0]!.frame);
  model.arena.words[at] = 0;
  return { ...model, model, at };
}

async function startReturning({ model, at }: ReturnType<typeof freeArena>): Promise<Worker> {
  const input: ReturnInput = { share: model.arena.share(), at };
  const worker = new Worker(WORKER, { workerData: input });
  await new Promise((resolve) => worker.once("message", resolve));
  return worker;
}

/** Allocates all frames. @returns how many there were */
function allocAll(model: Model): number {
  const before = model.arena.frames.framesUsed;
  let isMore = true;
  while (isMore) {
    model.transaction(() => {
      isMore = model.arena.frames.alloc(0, OWNER) !== NIL;
    });
  }
  return model.arena.frames.framesUsed - before;
}

const skip = process.platform === "linux" ? false : "only Linux tells which threads are dead";

test("a thread that is terminated while it returns memory loses none", { skip }, async () => {
  const prepared = freeArena();
  const { arena } = prepared.model;
  const free = arena.frames.framesFree;
  const worker = await startReturning(prepared);
  assert.equal(arena.frames.framesFree, free, "frames in the call count as free");
  arena.lock.lock();
  arena.frames.verify();
  arena.lock.unlock();
  await worker.terminate();
  assert.equal(allocAll(prepared.model), free, "all frames are found");
  assert.equal(arena.words[Super.RETURN_BLOCKS], 0);
  arena.lock.lock();
  arena.frames.verify();
  arena.lock.unlock();
  arena.close();
});

test("the next thread that attaches puts back what a dead one was returning", {
  skip,
}, async () => {
  const prepared = freeArena();
  const { arena } = prepared.model;
  const worker = await startReturning(prepared);
  assert.notEqual(arena.words[Super.RETURN_BLOCKS], 0);
  assert.equal(
    returnBlocks(arena, BLOCK, () => assert.fail("one run at a time")),
    0,
  );
  await worker.terminate();
  Arena.attach(arena.share(), nodeThreads()).detach();
  assert.equal(arena.words[Super.RETURN_BLOCKS], 0);
  arena.close();
});

test("an allocation waits for the last free frames until the call has ended", {
  skip,
}, async () => {
  const prepared = freeArena();
  const { model, at } = prepared;
  const { arena } = model;
  const free = arena.frames.framesFree;
  const worker = await startReturning(prepared);
  const ended = new Promise((resolve) => worker.once("message", resolve));
  // Ends the call from another thread, while this one waits in an allocation.
  const helper = new Worker(
    `const { words, at } = require("node:worker_threads").workerData;
       setTimeout(() => { Atomics.store(words, at, 2); Atomics.notify(words, at); }, 50);`,
    { eval: true, workerData: { words: arena.words, at } },
  );
  assert.equal(allocAll(model), free);
  assert.equal(arena.words[at], 2, "the call had ended before the last frame was allocated");
  assert.ok(((await ended) as number) > 0);
  await helper.terminate();
  assert.equal(arena.words[Super.RETURN_BLOCKS], 0);
  arena.close();
});
