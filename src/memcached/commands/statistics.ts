// The statistics of `stats`, by memcached's names where it has them, so that its tools understand
// them. Those without a meaning here (slabs, segments of the LRU) are 0. zcache's own statistics
// are those of `stats zcache`.
import { C, type Counters, LISTED } from "../items/counters.ts";
import type { Items } from "../items/items.ts";
import { memoryStats } from "../items/memory.ts";
import { printableKey } from "../protocol/key_text.ts";
import type { MemcachedSettings } from "../settings.ts";

/** The version of memcached whose commands and answers these are. */
export const VERSION = "1.6.18-zcache";

/** Statistics of the whole store take as long as so many bytes of a reply. */
export const STATS_UNITS = 32_768;

/** Prefixes that are counted apart; keys of others are not counted. */
const PREFIXES_MAX = 10_000;

export type AddStat = (name: string, value: string | number) => void;

/** The lines of `stats conns` for one connection. */
export interface ConnectionRow {
  readonly id: number;
  readonly facts: Readonly<Record<string, string | number>>;
}

export interface StatisticsParts {
  readonly items: Items;
  readonly counters: Counters;
  readonly settings: MemcachedSettings;
  /** What `stats settings` says of where the server listens. */
  readonly listening: Readonly<Record<string, string | number>>;
  /** When the TLS certificate was read, in milliseconds since 1970; undefined: there is none. */
  readonly certificatesReadAt: () => number | undefined;
  /** Connections of this thread. */
  readonly connections: () => readonly ConnectionRow[];
}

interface PrefixCounts {
  get: number;
  hit: number;
  set: number;
  del: number;
}

/** Statistics of parts that only memcached has. */
const ABSENT: readonly string[] = [
  "hash_power_level",
  "hash_bytes",
  "hash_is_expanding",
  "slab_reassign_rescues",
  "slab_reassign_chunk_rescues",
  "slab_reassign_evictions_nomem",
  "slab_reassign_inline_reclaim",
  "slab_reassign_busy_items",
  "slab_reassign_busy_deletes",
  "slab_reassign_running",
  "slabs_moved",
  "malloc_fails",
  "unexpected_napi_ids",
];

/** Log lines of `watch`, and watchers. */
const LOGGED = [
  "log_worker_dropped",
  "log_worker_written",
  "log_watcher_skipped",
  "log_watcher_sent",
  "log_watchers",
] as const;

/**
 * Statistics of memcached's LRU, which exporters and monitors read. memcached leaves out all but
 * the first if it runs without crawler and maintainer, and so does this server without sweeps.
 */
const ABSENT_LRU: readonly string[] = [
  "lrutail_reflocked",
  "evicted_active",
  "moves_to_cold",
  "moves_to_warm",
  "moves_within_lru",
  "direct_reclaims",
  "lru_bumps_dropped",
  "lru_crawler_running",
  "lru_maintainer_juggles",
];
const ABSENT_OF_ITEMS: readonly string[] = [
  ...["number_hot", "number_warm", "number_cold", "age_hot", "age_warm", "age"],
  ...["evicted_nonzero", "evicted_time", "tailrepairs", "evicted_unfetched", "evicted_active"],
  ...["lrutail_reflocked", "moves_to_cold", "moves_to_warm", "moves_within_lru"],
  ...["direct_reclaims", "hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp"],
];
/** Settings of parts that only memcached has. */
const ABSENT_SETTINGS: Readonly<Record<string, string | number>> = {
  ...{ growth_factor: 1, chunk_size: 1, reqs_per_event: 0, maxconns_fast: "yes" },
  ...{ lru_crawler_sleep: 0, lru_crawler_tocrawl: 0, tail_repair_time: 0, track_sizes: "no" },
  ...{ lru_maintainer_thread: "no", lru_segmented: "no", temp_lru: "no", temporary_ttl: 0 },
  ...{ hot_lru_pct: 0, warm_lru_pct: 0, hot_max_factor: 0, warm_max_factor: 0 },
  ...{ slab_reassign: "no", slab_automove: 0, slab_chunk_max: 0, hash_algorithm: "none" },
};

export class Statistics {
  readonly #parts: StatisticsParts;
  readonly #startedAt = Date.now();
  readonly #prefixes = new Map<string, PrefixCounts>();
  /** Prefixes of keys are counted, by this thread. */
  detailed = false;
  /** Expired items are searched for. */
  sweeps: boolean;

  constructor(parts: StatisticsParts) {
    this.#parts = parts;
    this.sweeps = parts.settings.sweeps;
  }

  /** Adds all statistics of one kind. @returns whether there is such a kind */
  add(kind: string, add: AddStat): boolean {
    switch (kind) {
      case "":
        this.#general(add);
        return true;
      case "settings":
        this.#settings(add);
        return true;
      case "items":
        this.#items(add);
        return true;
      case "slabs":
        this.#slabs(add);
        return true;
      case "sizes":
        add("sizes_status", "disabled");
        return true;
      case "conns":
        this.#connections(add);
        return true;
      case "zcache":
        this.#zcache(add);
        return true;
      default:
        return false;
    }
  }

  reset(): void {
    const { counters, items } = this.#parts;
    counters.reset();
    counters.own[C.evictions_before] = memoryStats(items.shards).evictions;
    this.#prefixes.clear();
  }

  countMeta(): void {
    this.#parts.counters.own[C.cmd_meta]!++;
  }

  countAuth(succeeded: boolean): void {
    const { own } = this.#parts.counters;
    own[C.auth_cmds]!++;
    if (!succeeded) own[C.auth_errors]!++;
  }

  countTooLong(): void {
    this.#parts.counters.own[C.read_buf_oom]!++;
  }

  prefixGet(key: Uint8Array, from: number, to: number, hit: boolean): void {
    const counts = this.#prefixOf(key, from, to);
    if (counts === undefined) return;
    counts.get++;
    if (hit) counts.hit++;
  }

  prefixSet(key: Uint8Array, from: number, to: number): void {
    const counts = this.#prefixOf(key, from, to);
    if (counts !== undefined) counts.set++;
  }

  prefixDelete(key: Uint8Array, from: number, to: number): void {
    const counts = this.#prefixOf(key, from, to);
    if (counts !== undefined) counts.del++;
  }

  /** The lines of `stats detail dump`, without the last. */
  *prefixLines(): Generator<string> {
    for (const [prefix, { get, hit, set, del }] of this.#prefixes) {
      yield `PREFIX ${prefix} get ${get} hit ${hit} set ${set} del ${del}\r\n`;
    }
  }

  #prefixOf(key: Uint8Array, from: number, to: number): PrefixCounts | undefined {
    const delimiter = this.#parts.settings.prefixDelimiter.charCodeAt(0);
    let end = from;
    while (end < to && key[end] !== delimiter) end++;
    if (end === to) return undefined;
    const prefix = printableKey(key.subarray(from, end));
    let counts = this.#prefixes.get(prefix);
    if (counts === undefined && this.#prefixes.size < PREFIXES_MAX) {
      counts = { get: 0, hit: 0, set: 0, del: 0 };
      this.#prefixes.set(prefix, counts);
    }
    return counts;
  }

  #general(add: AddStat): void {
    const { counters, settings, items } = this.#parts;
    const used = process.resourceUsage();
    const stored = memoryStats(items.shards);
    const shards = items.shards.values.length;
    const connections = counters.sum("total_connections") - counters.sum("closed_connections");
    add("pid", process.pid);
    add("uptime", Math.floor((Date.now() - this.#startedAt) / 1000));
    add("time", items.now);
    add("version", VERSION);
    add("libevent", "none");
    add("pointer_size", 64);
    add("rusage_user", (used.userCPUTime / 1e6).toFixed(6));
    add("rusage_system", (used.systemCPUTime / 1e6).toFixed(6));
    add("max_connections", settings.connectionsMax);
    add("curr_connections", connections);
    add("total_connections", counters.sum("total_connections"));
    add("rejected_connections", counters.sum("rejected_connections"));
    add("connection_structures", connections);
    add("response_obj_oom", counters.sum("response_obj_oom"));
    add("response_obj_count", 0);
    add("response_obj_bytes", counters.sum("response_obj_bytes"));
    add("read_buf_count", settings.threads);
    add("read_buf_bytes", counters.sum("read_buf_bytes"));
    add("read_buf_bytes_free", 0);
    add("read_buf_oom", counters.sum("read_buf_oom"));
    add("reserved_fds", 0);
    for (const name of LISTED) {
      add(name, counters.sum(name));
      // As memcached: listed only if idle connections are closed.
      if (name === "store_no_memory" && settings.idleTimeoutS > 0) {
        add("idle_kicks", counters.sum("idle_kicks"));
      }
    }
    add("limit_maxbytes", stored.limitBytes);
    add("accepting_conns", 1);
    add("listen_disabled_num", 0);
    add("time_in_listen_disabled_us", 0);
    add("threads", settings.threads);
    // memcached has none: a store of one has memcached's statistics.
    if (shards > 1) add("shards", shards);
    add("conn_yields", counters.sum("conn_yields"));
    for (const name of LOGGED) add(name, counters.sum(name));
    add("internal_errors", counters.sum("internal_errors"));
    for (const name of ABSENT) add(name, 0);
    add("bytes", stored.logicalBytes);
    add("curr_items", stored.items);
    add("total_items", counters.sum("total_items"));
    add("slab_global_page_pool", 0);
    add("expired_unfetched", counters.sum("expired_unfetched"));
    add("evicted_unfetched", 0);
    add("evictions", stored.evictions - counters.sum("evictions_before"));
    add("reclaimed", counters.sum("reclaimed"));
    add("crawler_reclaimed", counters.sum("crawler_reclaimed"));
    add("crawler_items_checked", counters.sum("crawler_items_checked"));
    for (const name of settings.sweeps ? ABSENT_LRU : ABSENT_LRU.slice(0, 1)) add(name, 0);
    if (settings.sweeps) add("lru_crawler_starts", counters.sum("crawler_starts"));
    const refreshed = this.#parts.certificatesReadAt();
    if (refreshed !== undefined) {
      add("time_since_server_cert_refresh", Math.floor((Date.now() - refreshed) / 1000));
    }
  }

  #settings(add: AddStat): void {
    const { settings, listening } = this.#parts;
    add("maxbytes", settings.memoryMax);
    add("maxconns", settings.connectionsMax);
    for (const [name, value] of Object.entries(listening)) add(name, value);
    add("verbosity", settings.verbosity);
    add("oldest", 0);
    add("evictions", settings.evicts ? "on" : "off");
    add("shutdown_command", yesNo(settings.shutdownEnabled));
    add("num_threads", settings.threads);
    add("shards", settings.shards);
    add("stat_key_prefix", settings.prefixDelimiter);
    add("detail_enabled", yesNo(this.detailed));
    add("cas_enabled", yesNo(settings.casEnabled));
    add("tcp_backlog", settings.listenBacklog);
    add("binding_protocol", settings.protocol === "auto" ? "auto-negotiate" : settings.protocol);
    add("auth_enabled_sasl", "no");
    add("auth_enabled_ascii", settings.authFile ?? "no");
    add("item_size_max", settings.itemBytesMax);
    add("flush_enabled", yesNo(settings.flushEnabled));
    add("dump_enabled", yesNo(settings.dumpEnabled));
    add("watch_enabled", yesNo(settings.watchEnabled));
    add("watcher_logbuf_size", settings.watchBytesMax);
    add("lru_crawler", yesNo(this.sweeps));
    add("idle_timeout", settings.idleTimeoutS);
    for (const [name, value] of Object.entries(ABSENT_SETTINGS)) add(name, value);
    add("tls_handshake_timeout", settings.tlsHandshakeS);
    add("backlog_bytes_max", settings.backlogBytesMax);
    add("unsent_bytes_max", settings.unsentBytesMax);
    add("pending_bytes_max", settings.pendingBytesMax);
  }

  /** All items are in one class: size classes are the pool's, and clients do not see them. */
  #items(add: AddStat): void {
    const { counters, items } = this.#parts;
    const stored = memoryStats(items.shards);
    if (stored.items === 0) return;
    add("items:1:number", stored.items);
    for (const name of ABSENT_OF_ITEMS) add(`items:1:${name}`, 0);
    add("items:1:mem_requested", stored.logicalBytes);
    add("items:1:evicted", stored.evictions - counters.sum("evictions_before"));
    add("items:1:outofmemory", counters.sum("store_no_memory"));
    add("items:1:reclaimed", counters.sum("reclaimed"));
    add("items:1:expired_unfetched", counters.sum("expired_unfetched"));
    add("items:1:crawler_reclaimed", counters.sum("crawler_reclaimed"));
    add("items:1:crawler_items_checked", counters.sum("crawler_items_checked"));
  }

  #slabs(add: AddStat): void {
    const { counters, items } = this.#parts;
    const stored = memoryStats(items.shards);
    if (counters.sum("total_items") > 0) {
      // There are no chunks: this is the average of what an item takes.
      add("1:chunk_size", Math.max(1, Math.ceil(stored.logicalBytes / Math.max(1, stored.items))));
      for (const name of ["chunks_per_page", "total_pages"]) add(`1:${name}`, 1);
      for (const name of ["total_chunks", "used_chunks"]) add(`1:${name}`, stored.items);
      for (const name of ["free_chunks", "free_chunks_end"]) add(`1:${name}`, 0);
      add("1:mem_requested", stored.logicalBytes);
      add("1:get_hits", counters.sum("get_hits"));
      add("1:cmd_set", counters.sum("cmd_set"));
      add("1:delete_hits", counters.sum("delete_hits"));
      add("1:incr_hits", counters.sum("incr_hits"));
      add("1:decr_hits", counters.sum("decr_hits"));
      add("1:cas_hits", counters.sum("cas_hits"));
      add("1:cas_badval", counters.sum("cas_badval"));
      add("1:touch_hits", counters.sum("touch_hits"));
    }
    add("active_slabs", stored.items > 0 ? 1 : 0);
    add("total_malloced", stored.usedBytes);
  }

  #connections(add: AddStat): void {
    for (const { id, facts } of this.#parts.connections()) {
      for (const [name, value] of Object.entries(facts)) add(`${id}:${name}`, value);
    }
  }

  #zcache(add: AddStat): void {
    const { counters, items } = this.#parts;
    const { more, ...stored } = memoryStats(items.shards);
    for (const [name, value] of Object.entries({ ...stored, ...more })) add(name, value);
    add("idle_kicks", counters.sum("idle_kicks"));
    add("protocol_errors", counters.sum("protocol_errors"));
  }
}

function yesNo(fact: boolean): string {
  return fact ? "yes" : "no";
}
