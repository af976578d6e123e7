// Times one allocator in its own thread, so that the engine's optimisations for one allocator do
// not slow the next. Traces are replayed call by call, then in batches.
//
// Two clocks: a single call is timed with `performance.now()`, whose own cost (the median of empty
// measurements) is subtracted, for the percentiles. The mean comes from whole batches of calls of
// one kind, where the clock's cost is negligible. Each figure is the best of several runs: the
// first runs compile, and others are disturbed by the machine.
import { parentPort, workerData } from "node:worker_threads";
import type { Address, Handle } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Arena } from "../../src/memory/arena.ts";
import type { Zpool } from "../../src/pool/contract.ts";
import { createPool } from "../../src/pool/registry.ts";

/** A trace as numbers: an allocation has a size, a free has 0, a compaction has −1. */
export interface PackedTrace {
  readonly name: string;
  readonly slots: Int32Array;
  readonly sizes: Int32Array;
  /** Operations of the first phase, which only allocates: one for each slot. */
  readonly fillOps: number;
}

export interface BenchInput {
  readonly type: string;
  readonly traces: readonly PackedTrace[];
  readonly runs: number;
}

/** Nanoseconds per call. */
export interface Times {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface PoolTimes {
  readonly trace: string;
  readonly type: string;
  readonly malloc: Times;
  readonly free: Times;
  readonly read: Times;
  /** Mean of `kernels.copy` of the same numbers of bytes as the reads. */
  readonly copyNsMean: number;
  readonly writeNsMean: number;
  /** Mean of `kernels.copy` of the same numbers of bytes as the writes, to as many places. */
  readonly copyBackNsMean: number;
  /** Mean of `kernels.copy` of 4096 bytes. */
  readonly copyPageNsMean: number;
  /** Time of an empty measurement, which is subtracted from single calls. */
  readonly timerNs: number;
}

const ARENA_BYTES_PER_OBJECT = 8192;
const FREE = 0;
const COMPACT = -1;

/** Samples of one run, made once. */
class Samples {
  readonly #ns: Float64Array;
  count = 0;

  constructor(capacity: number) {
    this.#ns = new Float64Array(capacity);
  }

  add(ms: number): void {
    this.#ns[this.count++] = ms * 1e6;
  }

  /** The percentiles of the samples since the last call, less the timer's own time. */
  take(timerNs: number): Omit<Times, "mean"> {
    const sorted = this.#ns.subarray(0, this.count).sort();
    const at = (share: number): number => {
      const index = Math.min(this.count - 1, Math.floor(share * this.count));
      return Math.max(0, sorted[index]! - timerNs);
    };
    const times = { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
    this.count = 0;
    return times;
  }
}

function measureTimer(): number {
  const samples = new Samples(50_000);
  for (let i = 0; i < 50_000; i++) {
    const before = performance.now();
    samples.add(performance.now() - before);
  }
  return samples.take(0).p50;
}

function best(runs: readonly Times[]): Times {
  const least = (key: keyof Times): number => Math.min(...runs.map((run) => run[key]));
  return {
    mean: least("mean"),
    p50: least("p50"),
    p99: least("p99"),
    p999: least("p999"),
    max: least("max"),
  };
}

/** Replays a trace, timing each call. */
function timeCalls(
  pool: Zpool,
  { slots, sizes }: PackedTrace,
  handles: Int32Array,
  mallocs: Samples,
  frees: Samples,
): void {
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i]!;
    const size = sizes[i]!;
    if (size > 0) {
      const before = performance.now();
      const handle = pool.malloc(size);
      mallocs.add(performance.now() - before);
      handles[slot] = handle;
    } else if (size === FREE && handles[slot]! > 0) {
      const before = performance.now();
      pool.free(handles[slot]! as Handle);
      frees.add(performance.now() - before);
    } else if (size === COMPACT) {
      pool.compact(Number.MAX_SAFE_INTEGER);
    }
  }
}

/** Replays a trace, timing runs of calls of one kind. @returns mean ns of malloc and of free */
function timeBatches(pool: Zpool, { slots, sizes }: PackedTrace, handles: Int32Array) {
  const spent = { malloc: 0, free: 0 };
  const calls = { malloc: 0, free: 0 };
  for (let from = 0; from < slots.length; ) {
    const kind = Math.sign(sizes[from]!);
    let to = from;
    const before = performance.now();
    if (kind === COMPACT) {
      pool.compact(Number.MAX_SAFE_INTEGER);
      to++;
    } else if (kind === FREE) {
      // A slot that was refused for its size holds a negative number, which `free` refuses.
      for (; to < slots.length && sizes[to]! === FREE; to++)
        pool.free(handles[slots[to]!]! as Handle);
    } else {
      for (; to < slots.length && sizes[to]! > 0; to++)
        handles[slots[to]!] = pool.malloc(sizes[to]!);
    }
    const name = kind === FREE ? "free" : "malloc";
    if (kind !== COMPACT) {
      spent[name] += performance.now() - before;
      calls[name] += to - from;
    }
    from = to;
  }
  return {
    malloc: (spent.malloc * 1e6) / calls.malloc,
    free: (spent.free * 1e6) / Math.max(1, calls.free),
  };
}

/** The objects of a trace's first phase, in random order, with as many bytes laid back to back. */
class ReadFixture {
  readonly handles: Int32Array;
  readonly sizes: Int32Array;
  /** Where the same numbers of bytes stand outside of the pool. */
  readonly sources: Float64Array;
  readonly #arena: Arena;
  readonly #target: Address;

  constructor(arena: Arena, pool: Zpool, { sizes, fillOps }: PackedTrace) {
    this.#arena = arena;
    this.#target = arena.reserve(arena.pageSize);
    const stored: { handle: number; size: number }[] = [];
    for (let i = 0; i < fillOps; i++) {
      const handle = pool.malloc(sizes[i]!);
      if (handle > 0) stored.push({ handle, size: sizes[i]! });
    }
    const random = new Xorshift32(1);
    const order = stored.map((one) => ({ one, key: random.next() })).sort((a, b) => a.key - b.key);
    this.handles = Int32Array.from(order, ({ one }) => one.handle);
    this.sizes = Int32Array.from(order, ({ one }) => one.size);
    this.sources = new Float64Array(order.length);
    this.#layOut(order.map(({ one }) => one.size));
    for (let i = 0; i < order.length; i++)
      pool.write(this.#handle(i), this.#target, this.sizes[i]!);
  }

  timeReadCalls(pool: Zpool, samples: Samples): void {
    for (let i = 0; i < this.handles.length; i++) {
      const before = performance.now();
      pool.read(this.#handle(i), this.#target, this.sizes[i]!);
      samples.add(performance.now() - before);
    }
  }

  timeReads(pool: Zpool): number {
    const before = performance.now();
    for (let i = 0; i < this.handles.length; i++) {
      pool.read(this.#handle(i), this.#target, this.sizes[i]!);
    }
    return ((performance.now() - before) * 1e6) / this.handles.length;
  }

  timeCopies(): number {
    const { kernels } = this.#arena;
    const before = performance.now();
    for (let i = 0; i < this.handles.length; i++) {
      kernels.copy(this.#target, this.sources[i]!, this.sizes[i]!);
    }
    return ((performance.now() - before) * 1e6) / this.handles.length;
  }

  timeWrites(pool: Zpool): number {
    const before = performance.now();
    for (let i = 0; i < this.handles.length; i++) {
      pool.write(this.#handle(i), this.#target, this.sizes[i]!);
    }
    return ((performance.now() - before) * 1e6) / this.handles.length;
  }

  timeCopiesBack(): number {
    const { kernels } = this.#arena;
    const before = performance.now();
    for (let i = 0; i < this.handles.length; i++) {
      kernels.copy(this.sources[i]!, this.#target, this.sizes[i]!);
    }
    return ((performance.now() - before) * 1e6) / this.handles.length;
  }

  timePageCopies(): number {
    const { kernels, pageSize } = this.#arena;
    const before = performance.now();
    for (let i = 0; i < this.handles.length; i++) {
      // At any offset in the same bytes; a page at the last offset is still within the arena.
      kernels.copy(this.#target, this.sources[i]!, pageSize);
    }
    return ((performance.now() - before) * 1e6) / this.handles.length;
  }

  #handle(index: number): Handle {
    return this.handles[index]! as Handle;
  }

  /**
   * In random order, like the objects: the order of allocation would be too easy for the caches.
   */
  #layOut(sizes: readonly number[]): void {
    const random = new Xorshift32(2);
    const order = sizes.map((_, index) => ({ index, key: random.next() }));
    order.sort((a, b) => a.key - b.key);
    let block = 0;
    let left = 0;
    const blockBytes = 16 * this.#arena.pageSize;
    for (const { index } of order) {
      if (left < sizes[index]!) {
        block = this.#arena.reserve(blockBytes);
        this.#arena.bytes.fill(index, block, block + blockBytes);
        left = blockBytes;
      }
      this.sources[index] = block + blockBytes - left;
      left -= Math.min(left, Math.ceil(sizes[index]! / 16) * 16);
    }
  }
}

function timeReads(pool: Zpool, arena: Arena, trace: PackedTrace, runs: number, timerNs: number) {
  const fixture = new ReadFixture(arena, pool, trace);
  const samples = new Samples(fixture.handles.length);
  const reads: Times[] = [];
  let writeNsMean = Number.POSITIVE_INFINITY;
  let copyBackNsMean = Number.POSITIVE_INFINITY;
  let copyNsMean = Number.POSITIVE_INFINITY;
  let copyPageNsMean = Number.POSITIVE_INFINITY;
  // Three times as many runs: they are short, and their ratio must be exact.
  for (let run = 0; run < 3 * runs; run++) {
    fixture.timeReadCalls(pool, samples);
    reads.push({ ...samples.take(timerNs), mean: fixture.timeReads(pool) });
    copyNsMean = Math.min(copyNsMean, fixture.timeCopies());
    writeNsMean = Math.min(writeNsMean, fixture.timeWrites(pool));
    copyBackNsMean = Math.min(copyBackNsMean, fixture.timeCopiesBack());
    copyPageNsMean = Math.min(copyPageNsMean, fixture.timePageCopies());
  }
  return { read: best(reads), writeNsMean, copyNsMean, copyBackNsMean, copyPageNsMean };
}

function timeTrace(type: string, trace: PackedTrace, runs: number): PoolTimes {
  // Room for the objects in a pool, and for as many bytes beside it to copy from.
  const sizeBytes = Math.max(64 * MIB, trace.fillOps * ARENA_BYTES_PER_OBJECT);
  using arena = Arena.create({ sizeBytes });
  const timerNs = measureTimer();
  const count = trace.slots.length;
  const handles = new Int32Array(trace.slots.reduce((most, slot) => Math.max(most, slot), 0) + 1);
  const mallocCalls = new Samples(count);
  const freeCalls = new Samples(count);
  const mallocs: Times[] = [];
  const frees: Times[] = [];
  for (let run = 0; run < runs; run++) {
    const batched = createPool(type, arena);
    const mean = timeBatches(batched, trace, handles);
    batched.destroy();
    const pool = createPool(type, arena);
    timeCalls(pool, trace, handles, mallocCalls, freeCalls);
    pool.destroy();
    mallocs.push({ ...mallocCalls.take(timerNs), mean: mean.malloc });
    if (freeCalls.count > 0) frees.push({ ...freeCalls.take(timerNs), mean: mean.free });
  }
  const pool = createPool(type, arena);
  const reads = timeReads(pool, arena, trace, runs, timerNs);
  pool.destroy();
  return { trace: trace.name, type, malloc: best(mallocs), free: best(frees), ...reads, timerNs };
}

const { type, traces, runs } = workerData as BenchInput;
parentPort!.postMessage(traces.map((trace) => timeTrace(type, trace, runs)));
