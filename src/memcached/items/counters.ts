// Counters, by memcached's names. Each thread has a row of its own and writes no other; a reader
// adds the rows up, and may be late by an operation.

/** The counters that `stats` lists one after the other, in memcached's order. */
export const LISTED = [
  "cmd_get",
  "cmd_set",
  "cmd_flush",
  "cmd_touch",
  "cmd_meta",
  "get_hits",
  "get_misses",
  "get_expired",
  "get_flushed",
  "delete_misses",
  "delete_hits",
  "incr_misses",
  "incr_hits",
  "decr_misses",
  "decr_hits",
  "cas_misses",
  "cas_hits",
  "cas_badval",
  "touch_hits",
  "touch_misses",
  "store_too_large",
  "store_no_memory",
  "auth_cmds",
  "auth_errors",
  "bytes_read",
  "bytes_written",
] as const;

const NAMES = [
  ...LISTED,
  "total_items",
  "expired_unfetched",
  "reclaimed",
  "crawler_reclaimed",
  "crawler_items_checked",
  "crawler_starts",
  "total_connections",
  "rejected_connections",
  "closed_connections",
  "idle_kicks",
  "conn_yields",
  "protocol_errors",
  "response_obj_oom",
  "response_obj_bytes",
  "read_buf_oom",
  "read_buf_bytes",
  "evictions_before",
  "log_worker_dropped",
  "log_worker_written",
  "log_watcher_skipped",
  "log_watcher_sent",
  "log_watchers",
  "internal_errors",
] as const;

export type CounterName = (typeof NAMES)[number];

const INDEX = Object.fromEntries(NAMES.map((name, index) => [name, index])) as Readonly<
  Record<CounterName, number>
>;

/** Counters that `stats reset` leaves as they are: they say what is, not what has happened. */
const KEPT: readonly CounterName[] = [
  "total_connections",
  "rejected_connections",
  "closed_connections",
  "total_items",
  "read_buf_bytes",
  "response_obj_bytes",
  "log_watchers",
];

/** The rows of all threads. */
export class Counters {
  readonly #rows: Float64Array;
  /** This thread's row: `own[C.get_hits]++`. */
  readonly own: Float64Array;

  private constructor(rows: Float64Array, thread: number) {
    this.#rows = rows;
    this.own = rows.subarray(thread * NAMES.length, (thread + 1) * NAMES.length);
  }

  static create(threads: number): Counters {
    const bytes = threads * NAMES.length * Float64Array.BYTES_PER_ELEMENT;
    return Counters.attach(new SharedArrayBuffer(bytes), 0);
  }

  static attach(memory: SharedArrayBuffer, thread: number): Counters {
    return new Counters(new Float64Array(memory), thread);
  }

  share(): SharedArrayBuffer {
    return this.#rows.buffer as SharedArrayBuffer;
  }

  /** All threads together. */
  sum(name: CounterName): number {
    let sum = 0;
    for (let at = INDEX[name]; at < this.#rows.length; at += NAMES.length) sum += this.#rows[at]!;
    return sum;
  }

  /** Sets counters to 0. What other threads count at this moment may be lost. */
  reset(): void {
    for (let at = 0; at < this.#rows.length; at++) {
      if (!KEPT.includes(NAMES[at % NAMES.length]!)) this.#rows[at] = 0;
    }
  }
}

/** The place of each counter in a row. */
export const C = INDEX;
