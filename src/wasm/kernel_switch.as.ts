// Kernels of several memories behind one instance: each function calls, through the table of
// functions, that of the memory whose functions begin at `at` there, in the order of AT in
// kernel_switch.ts. Why so, kernel_switch.ts says.

export function copyAt(at: u32, target: usize, source: usize, size: usize): void {
  call_indirect<void>(at, target, source, size);
}

export function compareExchangeAt(at: u32, address: usize, expected: i32, value: i32): i32 {
  return call_indirect<i32>(at + 1, address, expected, value);
}

export function exchangeAt(at: u32, address: usize, value: i32): i32 {
  return call_indirect<i32>(at + 2, address, value);
}

export function enterReaderAt(at: u32, reader: usize, writing: usize): i32 {
  return call_indirect<i32>(at + 3, reader, writing);
}

export function leaveReaderAt(at: u32, reader: usize): void {
  call_indirect<void>(at + 4, reader);
}

export function firstSetAt(at: u32, words: usize, nth: i32, count: i32, stride: usize): i32 {
  return call_indirect<i32>(at + 5, words, nth, count, stride);
}

export function sameFilledAt(at: u32, page: usize, size: usize): i32 {
  return call_indirect<i32>(at + 6, page, size);
}

export function lz4CompressAt(
  at: u32, source: usize, sourceBytes: usize, target: usize, limit: usize, table: usize,
): i32 {
  return call_indirect<i32>(at + 7, source, sourceBytes, target, limit, table);
}

export function lz4DecompressAt(
  at: u32, source: usize, sourceBytes: usize, target: usize, targetBytes: usize,
): i32 {
  return call_indirect<i32>(at + 8, source, sourceBytes, target, targetBytes);
}

export function findPageAt(at: u32, find: usize, low: u32, high: u32): u32 {
  return call_indirect<u32>(at + 9, find, low, high);
}

export function incrementAt(at: u32, address: usize): void {
  call_indirect<void>(at + 10, address);
}
