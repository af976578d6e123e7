// The write-back file as a log, against a model: whatever happens to the device or to a thread,
// each object is returned as it was stored, or known to be lost.
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
import { LogFixture, POOL } from "../doubles/log_fixture.ts";
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

function anyKey(fixture: LogFixture, choice: number): number | undefined {
  return [...fixture.stored.keys()][choice % Math.max(1, fixture.stored.size)];
}

/** Stops a thread in the middle of an operation on the log. */
function stopInside(fixture: LogFixture, choice: number): void {
  const number = anyKey(fixture, choice);
  const writes = 1 + (choice % 40);
  const before = fixture.snapshot();
  stopAfter(fixture.arena, writes, () => {
    if (choice % 2 === 0) fixture.appendLocked(1e6 + choice, 1 + (choice % 4096));
    else if (number !== undefined) {
      const { place, sizeBytes } = fixture.stored.get(number)!;
      fixture.log.releaseLocked(place, sizeBytes);
    }
    fixture.log.sealLocked();
    fixture.log.beginFlushLocked();
    fixture.log.pickVictimLocked();
    // Wherever the write stopped, it did not complete.
    fixture.arena.lock.rollBack();
  });
  assert.deepEqual(fixture.snapshot(), before, "what was not committed is undone");
}

function step(fixture: LogFixture, [operation, choice]: Step, mayFail: boolean): void {
  const number = anyKey(fixture, choice);
  if (operation === "append") fixture.append(1 + (choice % fixture.arena.pageSize));
  else if (operation === "release" && number !== undefined) fixture.release(number);
  else if (operation === "read" && number !== undefined) {
    const result = fixture.read(number);
    if (!mayFail) assert.equal(result, "ok");
  } else if (operation === "flush") fixture.flush();
  else if (operation === "clean") fixture.clean();
  else if (operation === "seal") fixture.seal();
  else if (operation === "stop") stopInside(fixture, choice);
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
          const fixture = new LogFixture({
            pageSize,
            segments: 7,
            memoryKib: pageSize === 4 * KIB ? 2048 : 6144,
          });
          fixture.device.faults = faults;
          for (const one of sequence) {
            step(fixture, one, mayFail);
            fixture.verify();
          }
          fixture.device.faults = NO_FAULTS;
          // What was written while the device failed is right all the same.
          for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
          fixture.empty();
        };
        fc.assert(fc.property(steps, run), { numRuns: 30 });
      });
    }
  }
});

test("a long run with churn: the file stays full and writable", () => {
  const fixture = new LogFixture({ segments: 20 });
  const random = new Xorshift32(5);
  for (let n = 0; n < 6000; n++) {
    while (fixture.append(200 + random.below(3800)) < 0) {
      if (fixture.flush() || fixture.clean()) continue;
      fixture.release(anyKey(fixture, random.next())!);
    }
    if (n % 500 === 0) fixture.verify();
  }
  const { liveBytes, segmentsCleaned, bytesWritten } = fixture.log.stats();
  assert.ok(liveBytes > 0.75 * 17 * fixture.segmentBytes, `${liveBytes} bytes are in use`);
  assert.ok(segmentsCleaned > 100);
  // 12 MB are stored; at this load, cleaning writes some of it several times.
  assert.ok(bytesWritten < 8 * 12e6, `${bytesWritten} bytes were written`);
  for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
  fixture.empty();
});

test("the largest object of every page size fits in memory and in the file", () => {
  for (const pageSize of PAGE_SIZES) {
    const fixture = new LogFixture({ pageSize, memoryKib: 8192 });
    const perSegment = Math.floor(segmentBytesOf(pageSize) / pageSize) - 1;
    const numbers = Array.from({ length: 3 * perSegment }, () => fixture.append(pageSize));
    assert.ok(numbers.every((number) => number > 0));
    for (const number of numbers) assert.equal(fixture.read(number), "ok");
    fixture.flushAll();
    for (const number of numbers) assert.equal(fixture.read(number), "ok");
    fixture.verify();
    assert.throws(() => fixture.append(pageSize + 1), AssertionError);
    fixture.empty();
  }
});

test("a file full of live records refuses more, and is not cleaned in vain", () => {
  for (const pageSize of [4 * KIB, 32 * KIB]) {
    const fixture = new LogFixture({ pageSize, memoryKib: 8192 });
    while (fixture.append(pageSize) > 0 || fixture.flush());
    assert.equal(fixture.append(pageSize), ENOSPC);
    fixture.flushAll();
    const before = fixture.log.stats();
    for (let n = 0; n < 500; n++) assert.equal(fixture.clean(), false);
    assert.deepEqual(fixture.log.stats(), before, "nothing is read or written in vain");
    // A quarter of each segment is freed, so there is room again for nearly as much.
    const numbers = [...fixture.stored.keys()];
    for (const number of numbers) if (number % 4 === 0) fixture.release(number);
    let back = 0;
    for (let n = 0; n < 100; n++) {
      while (fixture.append(pageSize) > 0) back++;
      fixture.clean();
      fixture.flush();
    }
    assert.ok(back > numbers.length / 8, `${back} of ${numbers.length / 4}`);
    fixture.verify();
    for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
    fixture.empty();
  }
});

test("an append during cleaning can't take the space that cleaning needs", () => {
  const fixture = new LogFixture();
  while (fixture.append(1500) > 0 || fixture.flush());
  fixture.flushAll();
  for (let round = 0; round < 60; round++) {
    const numbers = [...fixture.stored.keys()];
    for (const number of numbers) if (number % 5 === round % 5) fixture.release(number);
    const appendAll = () => {
      while (fixture.append(1500) > 0);
      fixture.flush();
    };
    appendAll();
    while (fixture.clean(appendAll));
    const { freeSegments } = fixture.log.stats();
    assert.ok(freeSegments >= 2, `round ${round}: ${freeSegments} segments are free`);
    fixture.verify();
  }
  fixture.empty();
});

test("a full file offers droppable objects, the oldest segments first", () => {
  const fixture = new LogFixture();
  while (fixture.append(4000) > 0 || fixture.flush());
  fixture.flushAll();
  assert.equal(
    fixture.locked(() => fixture.log.pickVictimLocked(false)),
    NIL,
  );
  const seen = new Set<number>();
  for (let n = 0; n < 5; n++) {
    const segment = fixture.locked(() => fixture.log.pickVictimLocked(true));
    assert.notEqual(segment, NIL);
    seen.add(segment);
    fixture.log.clean(segment, { run: (work) => fixture.locked(work), keep: () => {} });
  }
  assert.equal(seen.size, 5, "one after the other");
  fixture.empty();
});

test("after a failed write all objects stay readable, and the write is tried again", () => {
  const fixture = new LogFixture();
  while (fixture.append(3000) > 0);
  const { bufferedSegments } = fixture.log.stats();
  assert.equal(bufferedSegments, 8);
  fixture.device.faults = { ...NO_FAULTS, writeErrorEvery: 1 };
  for (let n = 0; n < 200; n++) assert.equal(fixture.flush(), false);
  assert.ok(fixture.log.stats().writeErrors < 10, "a device that failed is let rest");
  assert.ok(fixture.log.stats().noSpaceErrors <= fixture.log.stats().writeErrors);
  for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
  fixture.verify();
  fixture.device.faults = NO_FAULTS;
  fixture.flushAll();
  assert.ok(fixture.append(3000) > 0);
  for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
  fixture.empty();
});

test("a lost write is detected, although the old content is intact", () => {
  const fixture = new LogFixture();
  const first = fixture.append(1000);
  fixture.flushAll();
  const before = fixture.device.bytes.slice();
  const { place } = fixture.stored.get(first)!;
  fixture.release(first);
  // The same object at the same place once more, but the device still has the old bytes.
  const again = fixture.locked(() => fixture.appendLocked(first, 1000));
  assert.equal(again, place, "the segment is used again");
  fixture.stored.set(first, { place: again, sizeBytes: 1000, number: first });
  fixture.flushAll();
  assert.equal(fixture.read(first), "ok");
  fixture.device.bytes.set(before);
  assert.equal(fixture.read(first), "mismatch");
  assert.equal(fixture.log.stats().mismatches, 1);
});

test("a segment reused while it is read is not taken for the old one", () => {
  const fixture = new LogFixture();
  const first = fixture.append(1000);
  fixture.flushAll();
  const { place } = fixture.stored.get(first)!;
  assert.equal(fixture.read(first), "ok");
  assert.equal(
    fixture.locked(() => fixture.log.hasStayedLocked(place)),
    true,
  );
  fixture.device.meanwhile = () => {
    fixture.device.meanwhile = () => {};
    fixture.release(first);
    const next = fixture.append(1000);
    assert.equal(fixture.stored.get(next)!.place, place);
    fixture.stored.set(first, { place, sizeBytes: 1000, number: first });
  };
  // The file still has the requested record, but the place means another one now.
  assert.equal(fixture.read(first), "ok");
  assert.equal(
    fixture.locked(() => fixture.log.hasStayedLocked(place)),
    false,
  );
});

test("wrong bytes, zeros, and a file of another run are never taken for an object", () => {
  const fixture = new LogFixture();
  while (fixture.append(2000) > 0 || fixture.flush());
  fixture.flushAll();
  const right = fixture.device.bytes.slice();
  const random = new Xorshift32(3);
  const numbers = [...fixture.stored.keys()];
  for (const number of numbers) {
    const { place } = fixture.stored.get(number)!;
    const at = Math.floor(place / 2048) * fixture.segmentBytes + (place % 2048) * 32;
    const bit = random.below(2048 * 8);
    fixture.device.bytes[at + (bit >>> 3)]! ^= 1 << (bit & 7);
    assert.equal(fixture.read(number), "mismatch", `bit ${bit} of the record is another`);
    fixture.device.bytes.set(right.subarray(at, at + 2048), at);
    assert.equal(fixture.read(number), "ok");
  }
  const other = new LogFixture();
  other.locked(() => undefined);
  other.arena.words.set([99], other.arena.words.indexOf(0x1234_5678));
  while (other.append(2000) > 0 || other.flush());
  other.flushAll();
  for (const bytes of [other.device.bytes, new Uint8Array(right.length)]) {
    fixture.device.bytes.set(bytes);
    for (const number of numbers) assert.equal(fixture.read(number), "mismatch");
  }
  fixture.verify();
});

test("a segment that can't be read does not keep the others from being cleaned", () => {
  const fixture = new LogFixture();
  while (fixture.append(4000) > 0 || fixture.flush());
  fixture.flushAll();
  // The first segment has the fewest live bytes, and is damaged.
  const numbers = [...fixture.stored.keys()];
  const firsts = numbers.slice(0, 15);
  for (const number of firsts.slice(1)) fixture.release(number);
  fixture.device.bytes.fill(0xee, fixture.segmentBytes, 2 * fixture.segmentBytes);
  for (const number of numbers.slice(15)) if (number % 3 === 0) fixture.release(number);
  let freed = 0;
  for (let n = 0; n < 20; n++) if (fixture.clean() || fixture.flush()) freed++;
  assert.ok(freed > 0);
  assert.ok(fixture.append(4000) > 0);
  assert.equal(fixture.read(firsts[0]!), "mismatch");
  fixture.verify();
  fixture.empty();
});

test("the writing and cleaning of a dead thread is taken over", () => {
  const fixture = new LogFixture();
  while (fixture.append(4000) > 0 || fixture.flush());
  for (const number of [...fixture.stored.keys()]) if (number % 2 === 0) fixture.release(number);
  const other = fixture.attach();
  fixture.seal();
  const written = fixture.locked(() => other.log.beginFlushLocked(), other.arena);
  const cleaned = fixture.locked(() => other.log.pickVictimLocked(false), other.arena);
  fixture.verify();
  for (let n = 0; n < 2 * CALLS; n++) {
    assert.equal(fixture.flush(), false, "somebody lives who writes it");
    assert.equal(fixture.clean(), false);
  }
  assert.notEqual(written, NIL);
  assert.notEqual(cleaned, NIL);
  fixture.threads.dead.add(other.name);
  let flushed = 0;
  let freed = 0;
  for (let n = 0; n < 4 * CALLS; n++) {
    if (fixture.flush()) flushed++;
    if (fixture.clean()) freed++;
  }
  assert.ok(flushed > 0 && freed > 0);
  for (const number of fixture.stored.keys()) assert.equal(fixture.read(number), "ok");
  fixture.empty();
});

test("a thread with the number of a dead thread takes over its work at once", () => {
  const fixture = new LogFixture();
  while (fixture.append(4000) > 0 || fixture.flush());
  fixture.append(1);
  for (const number of [...fixture.stored.keys()]) if (number % 2 === 0) fixture.release(number);
  fixture.seal();
  const begun = fixture.locked(() => fixture.log.beginFlushLocked());
  assert.notEqual(begun, NIL);
  const cleaned = fixture.locked(() => fixture.log.pickVictimLocked(false));
  assert.notEqual(cleaned, NIL);
  assert.equal(
    fixture.locked(() => fixture.log.beginFlushLocked()),
    begun,
  );
  assert.notEqual(
    fixture.locked(() => fixture.log.pickVictimLocked(false)),
    NIL,
  );
  fixture.verify();
});

test("a place that holds another page's record is a mismatch, whatever part differs", () => {
  const fixture = new LogFixture();
  const number = fixture.append(100);
  fixture.flushAll();
  const { place } = fixture.stored.get(number)!;
  const key = fixture.keyOf(number);
  const scratch = fixture.arena.reserve(4096);
  const read = (pool: number, other: typeof key, sizeBytes = 100) =>
    fixture.log.read(place, pool, other, sizeBytes, scratch);
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

test("an error that does not come from the device is thrown", () => {
  const fixture = new LogFixture();
  const number = fixture.append(100);
  fixture.flushAll();
  fixture.device.read = () => {
    throw new TypeError("a bug");
  };
  assert.throws(() => fixture.read(number), TypeError);
  fixture.device.read = () => {
    throw new ZcacheError("ERR_IO", "a cable");
  };
  assert.ok(fixture.read(number) instanceof ZcacheError);
  assert.equal(fixture.log.stats().readErrors, 1);
});

test("verify finds every wrong count", () => {
  const fixture = new LogFixture();
  while (fixture.append(3000) > 0);
  while (fixture.flush());
  for (const number of [...fixture.stored.keys()].slice(0, 40)) fixture.release(number);
  fixture.verify();
  const { words } = fixture.arena;
  const at = words.indexOf(0x1234_5678);
  // SEGMENTS and DIRECTORY are fixed; an error of one in any other word is found.
  for (const word of [4, 6, 7, 8, 16, 25, 26]) {
    words[at + word]! += 1;
    assert.throws(() => fixture.verify(), AssertionError, `word ${word}`);
    words[at + word]! -= 1;
    fixture.verify();
  }
  const table = words[words[at + 3]!]!;
  for (const word of [4 * 4, 4 * 4 + 1, 4 * 4 + 2]) {
    words[table + word]! += 1;
    assert.throws(() => fixture.verify(), AssertionError, `word ${word} of the table`);
    words[table + word]! -= 1;
  }
  fixture.verify();
});
