// The write-back file as a log, beside a model: whatever happens to the device or to a thread, each
// object comes back as it was stored or is known not to.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { segmentBytesOf } from "../../src/backing/record.layout.ts";
import { NIL } from "../../src/base/brand.ts";
import { ENOSPC } from "../../src/base/errno.ts";
import { AssertionError, ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { KIB } from "../../src/base/units.ts";
import { PAGE_SIZES } from "../../src/memory/arena.ts";
import { NO_FAULTS } from "../doubles/faulty_device.ts";
import { LogRig, POOL } from "../doubles/log_fixture.ts";
import { stopAfter } from "../doubles/stopped.ts";

const FAULTS = { writeErrorEvery: 3, readErrorEvery: 5, wrongByteEvery: 4 };
/** Calls after which a device that failed is tried again, and a dead thread is found. */
const CALLS = 70;

const OPERATIONS = [
  "append",
  "append",
  "release",
  "read",
  "flush",
  "clean",
  "seal",
  "stop",
] as const;
type Step = readonly [operation: (typeof OPERATIONS)[number], choice: number];

function anyKey(rig: LogRig, choice: number): number | undefined {
  return [...rig.stored.keys()][choice % Math.max(1, rig.stored.size)];
}

/** Stops a thread in the middle of an operation on the log. */
function stopInside(rig: LogRig, choice: number): void {
  const number = anyKey(rig, choice);
  const writes = 1 + (choice % 40);
  const before = rig.snapshot();
  stopAfter(rig.arena, writes, () => {
    if (choice % 2 === 0) rig.appendLocked(1e6 + choice, 1 + (choice % 4096));
    else if (number !== undefined) {
      const { place, sizeBytes } = rig.stored.get(number)!;
      rig.log.releaseLocked(place, sizeBytes);
    }
    rig.log.sealLocked();
    rig.log.beginFlushLocked();
    rig.log.pickVictimLocked();
    // However far it came: it does not come to its end.
    rig.arena.lock.rollBack();
  });
  assert.deepEqual(rig.snapshot(), before, "what was not committed is undone");
}

function step(rig: LogRig, [operation, choice]: Step, mayFail: boolean): void {
  const number = anyKey(rig, choice);
  if (operation === "append") rig.append(1 + (choice % rig.arena.pageSize));
  else if (operation === "release" && number !== undefined) rig.release(number);
  else if (operation === "read" && number !== undefined) {
    const result = rig.read(number);
    if (!mayFail) assert.equal(result, "ok");
  } else if (operation === "flush") rig.flush();
  else if (operation === "clean") rig.clean();
  else if (operation === "seal") rig.seal();
  else if (operation === "stop") stopInside(rig, choice);
}

const steps = fc.array(fc.tuple(fc.constantFrom(...OPERATIONS), fc.nat(1 << 20)), {
  minLength: 50,
  maxLength: 400,
  size: "max",
});

describe("any sequence of operations agrees with the model", () => {
  for (const pageSize of [4 * KIB, 64 * KIB]) {
    for (const faults of [NO_FAULTS, FAULTS]) {
      const mayFail = faults !== NO_FAULTS;
      test(`pages of ${pageSize}, ${mayFail ? "a device that fails" : "no faults"}`, () => {
        const run = (sequence: Step[]) => {
          const rig = new LogRig({
            pageSize,
            segments: 7,
            memoryKib: pageSize === 4 * KIB ? 2048 : 6144,
          });
          rig.device.faults = faults;
          for (const one of sequence) {
            step(rig, one, mayFail);
            rig.verify();
          }
          rig.device.faults = NO_FAULTS;
          // What was written while the device failed is right all the same.
          for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
          rig.empty();
        };
        fc.assert(fc.property(steps, run), { numRuns: 30 });
      });
    }
  }
});

test("a long run with churn: the file stays full, and is written to all the while", () => {
  const rig = new LogRig({ segments: 20 });
  const random = new Xorshift32(5);
  for (let n = 0; n < 6000; n++) {
    while (rig.append(200 + random.below(3800)) < 0) {
      if (rig.flush() || rig.clean()) continue;
      rig.release(anyKey(rig, random.next())!);
    }
    if (n % 500 === 0) rig.verify();
  }
  const { liveBytes, segmentsCleaned, bytesWritten } = rig.log.stats();
  assert.ok(liveBytes > 0.75 * 17 * rig.segmentBytes, `${liveBytes} bytes are in use`);
  assert.ok(segmentsCleaned > 100);
  // What was stored is 12 MB; cleaning at this load writes some of it several times.
  assert.ok(bytesWritten < 8 * 12e6, `${bytesWritten} bytes were written`);
  for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
  rig.empty();
});

test("the largest object of every page size fits, in memory and in the file", () => {
  for (const pageSize of PAGE_SIZES) {
    const rig = new LogRig({ pageSize, memoryKib: 8192 });
    const perSegment = Math.floor(segmentBytesOf(pageSize) / pageSize) - 1;
    const numbers = Array.from({ length: 3 * perSegment }, () => rig.append(pageSize));
    assert.ok(numbers.every((number) => number > 0));
    for (const number of numbers) assert.equal(rig.read(number), "ok");
    rig.flushAll();
    for (const number of numbers) assert.equal(rig.read(number), "ok");
    rig.verify();
    assert.throws(() => rig.append(pageSize + 1), AssertionError);
    rig.empty();
  }
});

test("a file full of what is wanted refuses more, and is not moved about", () => {
  for (const pageSize of [4 * KIB, 32 * KIB]) {
    const rig = new LogRig({ pageSize, memoryKib: 8192 });
    while (rig.append(pageSize) > 0 || rig.flush());
    assert.equal(rig.append(pageSize), ENOSPC);
    rig.flushAll();
    const before = rig.log.stats();
    for (let n = 0; n < 500; n++) assert.equal(rig.clean(), false);
    assert.deepEqual(rig.log.stats(), before, "nothing is read or written in vain");
    // A quarter of each segment goes: there is room again for nearly as much.
    const numbers = [...rig.stored.keys()];
    for (const number of numbers) if (number % 4 === 0) rig.release(number);
    let back = 0;
    for (let n = 0; n < 100; n++) {
      while (rig.append(pageSize) > 0) back++;
      rig.clean();
      rig.flush();
    }
    assert.ok(back > numbers.length / 8, `${back} of ${numbers.length / 4}`);
    rig.verify();
    for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
    rig.empty();
  }
});

test("who appends while a segment is cleaned can't take the room that this needs", () => {
  const rig = new LogRig();
  while (rig.append(1500) > 0 || rig.flush());
  rig.flushAll();
  for (let round = 0; round < 60; round++) {
    const numbers = [...rig.stored.keys()];
    for (const number of numbers) if (number % 5 === round % 5) rig.release(number);
    const appendAll = () => {
      while (rig.append(1500) > 0);
      rig.flush();
    };
    appendAll();
    while (rig.clean(appendAll));
    const { freeSegments } = rig.log.stats();
    assert.ok(freeSegments >= 2, `round ${round}: ${freeSegments} segments are free`);
    rig.verify();
  }
  rig.empty();
});

test("what may be dropped is offered from a full file, the oldest segments first", () => {
  const rig = new LogRig();
  while (rig.append(4000) > 0 || rig.flush());
  rig.flushAll();
  assert.equal(
    rig.locked(() => rig.log.pickVictimLocked(false)),
    NIL,
  );
  const seen = new Set<number>();
  for (let n = 0; n < 5; n++) {
    const segment = rig.locked(() => rig.log.pickVictimLocked(true));
    assert.notEqual(segment, NIL);
    seen.add(segment);
    rig.log.clean(segment, { run: (work) => rig.locked(work), keep: () => {} });
  }
  assert.equal(seen.size, 5, "one after the other");
  rig.empty();
});

test("a write that fails leaves all in memory, readable, and is tried again after a rest", () => {
  const rig = new LogRig();
  while (rig.append(3000) > 0);
  const { bufferedSegments } = rig.log.stats();
  assert.equal(bufferedSegments, 8);
  rig.device.faults = { ...NO_FAULTS, writeErrorEvery: 1 };
  for (let n = 0; n < 200; n++) assert.equal(rig.flush(), false);
  assert.ok(rig.log.stats().writeErrors < 10, "a device that failed is let rest");
  assert.ok(rig.log.stats().noSpaceErrors <= rig.log.stats().writeErrors);
  for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
  rig.verify();
  rig.device.faults = NO_FAULTS;
  rig.flushAll();
  assert.ok(rig.append(3000) > 0);
  for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
  rig.empty();
});

test("a write that the device has lost is found, though what stood there was whole", () => {
  const rig = new LogRig();
  const first = rig.append(1000);
  rig.flushAll();
  const before = rig.device.bytes.slice();
  const { place } = rig.stored.get(first)!;
  rig.release(first);
  // The same object at the same place, once more; but the device keeps what it had.
  const again = rig.locked(() => rig.appendLocked(first, 1000));
  assert.equal(again, place, "the segment is used again");
  rig.stored.set(first, { place: again, sizeBytes: 1000, number: first });
  rig.flushAll();
  assert.equal(rig.read(first), "ok");
  rig.device.bytes.set(before);
  assert.equal(rig.read(first), "mismatch");
  assert.equal(rig.log.stats().mismatches, 1);
});

test("a segment that is used again while it is read is told from the one that was", () => {
  const rig = new LogRig();
  const first = rig.append(1000);
  rig.flushAll();
  const { place } = rig.stored.get(first)!;
  assert.equal(rig.read(first), "ok");
  assert.equal(
    rig.locked(() => rig.log.hasStayedLocked(place)),
    true,
  );
  rig.device.meanwhile = () => {
    rig.device.meanwhile = () => {};
    rig.release(first);
    const next = rig.append(1000);
    assert.equal(rig.stored.get(next)!.place, place);
    rig.stored.set(first, { place, sizeBytes: 1000, number: first });
  };
  // What is in the file still is what was asked for; but it is not what the place stands for now.
  assert.equal(rig.read(first), "ok");
  assert.equal(
    rig.locked(() => rig.log.hasStayedLocked(place)),
    false,
  );
});

test("wrong bytes, zeros, and another run's file: never taken for an object", () => {
  const rig = new LogRig();
  while (rig.append(2000) > 0 || rig.flush());
  rig.flushAll();
  const right = rig.device.bytes.slice();
  const random = new Xorshift32(3);
  const numbers = [...rig.stored.keys()];
  for (const number of numbers) {
    const { place } = rig.stored.get(number)!;
    const at = Math.floor(place / 2048) * rig.segmentBytes + (place % 2048) * 32;
    const bit = random.below(2048 * 8);
    rig.device.bytes[at + (bit >>> 3)]! ^= 1 << (bit & 7);
    assert.equal(rig.read(number), "mismatch", `bit ${bit} of the record is another`);
    rig.device.bytes.set(right.subarray(at, at + 2048), at);
    assert.equal(rig.read(number), "ok");
  }
  const other = new LogRig();
  other.locked(() => undefined);
  other.arena.words.set([99], other.arena.words.indexOf(0x1234_5678));
  while (other.append(2000) > 0 || other.flush());
  other.flushAll();
  for (const bytes of [other.device.bytes, new Uint8Array(right.length)]) {
    rig.device.bytes.set(bytes);
    for (const number of numbers) assert.equal(rig.read(number), "mismatch");
  }
  rig.verify();
});

test("a segment that can't be read does not keep the others from being cleaned", () => {
  const rig = new LogRig();
  while (rig.append(4000) > 0 || rig.flush());
  rig.flushAll();
  // The first segment has least in it, and is damaged.
  const numbers = [...rig.stored.keys()];
  const firsts = numbers.slice(0, 15);
  for (const number of firsts.slice(1)) rig.release(number);
  rig.device.bytes.fill(0xee, rig.segmentBytes, 2 * rig.segmentBytes);
  for (const number of numbers.slice(15)) if (number % 3 === 0) rig.release(number);
  let freed = 0;
  for (let n = 0; n < 20; n++) if (rig.clean() || rig.flush()) freed++;
  assert.ok(freed > 0);
  assert.ok(rig.append(4000) > 0);
  assert.equal(rig.read(firsts[0]!), "mismatch");
  rig.verify();
  rig.empty();
});

test("what a dead thread was writing or cleaning is taken over", () => {
  const rig = new LogRig();
  while (rig.append(4000) > 0 || rig.flush());
  for (const number of [...rig.stored.keys()]) if (number % 2 === 0) rig.release(number);
  const other = rig.attach();
  rig.seal();
  const written = rig.locked(() => other.log.beginFlushLocked(), other.arena);
  const cleaned = rig.locked(() => other.log.pickVictimLocked(false), other.arena);
  rig.verify();
  for (let n = 0; n < 2 * CALLS; n++) {
    assert.equal(rig.flush(), false, "somebody lives who writes it");
    assert.equal(rig.clean(), false);
  }
  assert.notEqual(written, NIL);
  assert.notEqual(cleaned, NIL);
  rig.threads.dead.add(other.name);
  let flushed = 0;
  let freed = 0;
  for (let n = 0; n < 4 * CALLS; n++) {
    if (rig.flush()) flushed++;
    if (rig.clean()) freed++;
  }
  assert.ok(flushed > 0 && freed > 0);
  for (const number of rig.stored.keys()) assert.equal(rig.read(number), "ok");
  rig.empty();
});

test("a thread that gets a dead one's number takes its work up at once", () => {
  const rig = new LogRig();
  while (rig.append(4000) > 0 || rig.flush());
  rig.append(1);
  for (const number of [...rig.stored.keys()]) if (number % 2 === 0) rig.release(number);
  rig.seal();
  const begun = rig.locked(() => rig.log.beginFlushLocked());
  assert.notEqual(begun, NIL);
  const cleaned = rig.locked(() => rig.log.pickVictimLocked(false));
  assert.notEqual(cleaned, NIL);
  assert.equal(
    rig.locked(() => rig.log.beginFlushLocked()),
    begun,
  );
  assert.notEqual(
    rig.locked(() => rig.log.pickVictimLocked(false)),
    NIL,
  );
  rig.verify();
});

test("a place that holds another page's record is a mismatch, whatever part differs", () => {
  const rig = new LogRig();
  const number = rig.append(100);
  rig.flushAll();
  const { place } = rig.stored.get(number)!;
  const key = rig.keyOf(number);
  const scratch = rig.arena.reserve(4096);
  const read = (pool: number, other: typeof key, sizeBytes = 100) =>
    rig.log.read(place, pool, other, sizeBytes, scratch);
  const { id } = key;
  assert.equal(read(POOL, key), "ok");
  assert.equal(read(POOL + 1, key), "mismatch");
  assert.equal(read(POOL, key, 99), "mismatch");
  assert.equal(read(POOL, { ...key, idShape: key.idShape + 1 }), "mismatch");
  assert.equal(read(POOL, { ...key, indexLow: key.indexLow + 1 }), "mismatch");
  assert.equal(read(POOL, { ...key, indexHigh: key.indexHigh + 1 }), "mismatch");
  for (const nth of id.keys()) {
    assert.equal(read(POOL, { ...key, id: id.with(nth, id[nth]! + 1) }), "mismatch");
  }
});

test("an error that is none of a device's is not swallowed", () => {
  const rig = new LogRig();
  const number = rig.append(100);
  rig.flushAll();
  rig.device.read = () => {
    throw new TypeError("a bug");
  };
  assert.throws(() => rig.read(number), TypeError);
  rig.device.read = () => {
    throw new ZcacheError("ERR_IO", "a cable");
  };
  assert.ok(rig.read(number) instanceof ZcacheError);
  assert.equal(rig.log.stats().readErrors, 1);
});

test("verify finds every count that is wrong", () => {
  const rig = new LogRig();
  while (rig.append(3000) > 0);
  while (rig.flush());
  for (const number of [...rig.stored.keys()].slice(0, 40)) rig.release(number);
  rig.verify();
  const { words } = rig.arena;
  const at = words.indexOf(0x1234_5678);
  // SEGMENTS and DIRECTORY are fixed; of the rest each word that is off by one is seen.
  for (const word of [4, 6, 7, 8, 16, 25, 26]) {
    words[at + word]! += 1;
    assert.throws(() => rig.verify(), AssertionError, `word ${word}`);
    words[at + word]! -= 1;
    rig.verify();
  }
  const table = words[words[at + 3]!]!;
  for (const word of [4 * 4, 4 * 4 + 1, 4 * 4 + 2]) {
    words[table + word]! += 1;
    assert.throws(() => rig.verify(), AssertionError, `word ${word} of the table`);
    words[table + word]! -= 1;
  }
  rig.verify();
});
