// The steps of locks that run in WebAssembly, where an atomic operation is an instruction and not a
// call into the engine: mutex.ts and arena_lock.ts have the protocol. Addresses are bytes.
import * as Reader from "./reader.layout";

/** Atomically: if the word at `address` is `expected`, sets it to `value`. @returns what it was */
export function compareExchange(address: usize, expected: i32, value: i32): i32 {
  return atomic.cmpxchg<i32>(address, expected, value);
}

/** Atomically sets the word at `address` to `value`. @returns what it was */
export function exchange(address: usize, value: i32): i32 {
  return atomic.xchg<i32>(address, value);
}

/**
 * Keeps the processor waiting for about twenty nanoseconds. WebAssembly has no instruction to
 * pause; divisions that wait for each other take few of the processor's units, and leave the cache
 * line of the lock alone.
 * @param last what the last pause returned @returns a number below 2³¹
 */
// @ts-ignore: decorator
@inline
function pause(last: u32): u32 {
  const one = 0xffff_fff1 / (last | 3);
  const two = 0xffff_fff3 / (one | 5);
  const three = 0xffff_fff5 / (two | 3);
  return 0xffff_fff7 / (three | 5);
}

/** What `pause` never returns. */
const NEVER: u32 = 0xffff_ffff;

/**
 * Takes a lock as soon as it is free, within so many turns.
 * @returns the turns that it took, from 1 on; 0: it was not free
 */
export function spinForLock(lock: usize, owner: i32, turns: i32): i32 {
  let last: u32 = 0;
  for (let turn = 1; turn <= turns && last != NEVER; turn++) {
    if (atomic.load<i32>(lock) == 0 && atomic.cmpxchg<i32>(lock, 0, owner) == 0) return turn;
    last = pause(last);
  }
  return 0;
}

/**
 * Enters as a reader as soon as no thread writes, within so many turns.
 * @returns as `spinForLock`
 */
export function spinAsReader(reader: usize, writing: usize, turns: i32): i32 {
  let last: u32 = 0;
  for (let turn = 1; turn <= turns && last != NEVER; turn++) {
    if (atomic.load<i32>(writing) == 0 && enterReader(reader, writing) != 0) return turn;
    last = pause(last);
  }
  return 0;
}

/**
 * Reads the word at `address` until a bit of it is not set any more, within so many turns.
 * @returns as `spinForLock`
 */
export function spinWhileSet(address: usize, bit: i32, turns: i32): i32 {
  let last: u32 = 0;
  for (let turn = 1; turn <= turns && last != NEVER; turn++) {
    if ((atomic.load<i32>(address) & bit) == 0) return turn;
    last = pause(last);
  }
  return 0;
}

/**
 * Announces in the word at `reader` that the caller reads. The store and the load keep their order:
 * either a writer sees the one, or the writer is seen by the other.
 * @returns 1; 0 if the word at `writing` says that a thread writes: then it is taken back
 */
export function enterReader(reader: usize, writing: usize): i32 {
  atomic.store<i32>(reader, Reader.READING);
  if (atomic.load<i32>(writing) == 0) return 1;
  leaveReader(reader);
  return 0;
}

/** Takes back what `enterReader` announced, and wakes a writer that sleeps until then. */
export function leaveReader(reader: usize): void {
  if (atomic.xchg<i32>(reader, 0) != Reader.READING) atomic.notify(reader, 1);
}

/** Adds one to the word at `address`. */
export function increment(address: usize): void {
  atomic.add<i32>(address, 1);
}

/** @returns the first of the words nth … count − 1 that is not 0, `stride` bytes apart; or count */
export function firstSet(words: usize, nth: i32, count: i32, stride: usize): i32 {
  while (nth < count && atomic.load<i32>(words + <usize>nth * stride) == 0) nth++;
  return nth;
}

/** Adds a whole number to the 64-bit counter at `address`. */
export function addLong(address: usize, value: f64): void {
  atomic.add<i64>(address, <i64>value);
}

/** The 64-bit counter at `address`, exact up to 2⁵³. */
export function readLong(address: usize): f64 {
  return <f64>atomic.load<i64>(address);
}
