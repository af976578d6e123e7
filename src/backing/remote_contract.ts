// The contract of the remote tier: records of a store on other machines. A store sends cold pages
// there and reads them back. src/remote implements the contract over a Valkey or Redis cluster, and
// test/doubles/remote.ts in memory, with failures.
//
// A record is immutable: each version of a page has a key of its own, which no other version ever
// has. So a put that arrives late or twice, or a remove that overtakes a put, never changes what
// another key stands for. What a store does not refer to any more is garbage, removed in time.
//
// Every call takes a batch; the implementation sends it as pipelines, one for each node, and
// retries by itself what a cluster asks to retry (MOVED, ASK, TRYAGAIN, a failover). A call
// resolves with one result for each item, in the order of the items; it never rejects. An item
// that failed says nothing about the others. A failed put or remove may still take effect, now or
// later.
//
// Concurrency: one thread owns the implementation and makes all calls; calls may overlap and end in
// any order. The implementation has read `data` of a put when the call returns its promise.
//
// Limits: `batchMax` items in a call, data of at most 64 KiB. The caller bounds the calls in
// flight.
import type { ZcacheError } from "../base/errors.ts";

/** The name of one version of a page. The implementation adds its prefix. */
export interface RemoteKey {
  /** The owner's fencing epoch when the record was written, 1 … 2³² − 1. */
  readonly epoch: number;
  /**
   * What lies in one hash slot together: a pool, an object and a run of its pages. 1 … 100
   * characters of `0-9 a-z . -`.
   */
  readonly run: string;
  /** Tells the records of a run apart: index and version of the page. 1 … 40 such characters. */
  readonly name: string;
}

/** The bytes of a page as they are stored, and what is needed to read them. */
export interface RemoteData {
  /** Bytes in front that are not compressed: header, key and flags of a value; 0 for a page. */
  readonly prefixBytes: number;
  /** Name of the codec of the other bytes (codec/registry.ts); "none": not compressed. */
  readonly codec: string;
  /** Number of the dictionary of the store that the codec used, 0 for none. */
  readonly dictionary: number;
  /** Uncompressed size, without the prefix. */
  readonly plainBytes: number;
  /** The prefix, then the compressed bytes. */
  readonly data: Uint8Array;
}

/** A record to put. */
export interface RemoteRecord extends RemoteData {
  readonly key: RemoteKey;
  /**
   * Whether the record stays until it is removed. Other records get the time to live of the
   * options, and the engine may evict them.
   */
  readonly isPersistent: boolean;
}

/**
 * "stored": as many nodes as the options ask for have acknowledged the record. "full": the cluster
 * has refused it for want of memory. An error: unknown; the same record may be put again.
 */
export type RemotePutResult = "stored" | "full" | ZcacheError;

/**
 * What was found. "missing": the node of the key has answered that it has no such record.
 * "corrupt": its bytes are damaged or the record of another key. An error: no node has answered in
 * time, or the lease has ended.
 */
export type RemoteGetResult = RemoteData | "missing" | "corrupt" | ZcacheError;

/** "done": the record is gone, whether or not there was one. */
export type RemoteRemoveResult = "done" | ZcacheError;

/** Some keys under the prefix, of all epochs. */
export interface RemoteKeys {
  readonly keys: readonly RemoteKey[];
  /** Where the next call goes on; undefined after the last keys. */
  readonly cursor: string | undefined;
}

/** One node as the implementation sees it. */
export interface RemoteNodeFigures {
  /** host:port */
  readonly address: string;
  readonly role: "master" | "replica" | "unknown";
  readonly isUp: boolean;
  readonly requests: number;
  readonly failures: number;
  readonly inFlight: number;
  /** Mean time of a request over the last seconds, in ms; undefined without requests. */
  readonly latencyMs: number | undefined;
  /** Memory that the node uses, and its limit; undefined while unknown; 0: no limit. */
  readonly usedBytes: number | undefined;
  readonly limitBytes: number | undefined;
}

export interface RemoteFigures {
  /** "up": every slot has a master that answers. "partial": not every slot. */
  readonly health: "up" | "partial" | "down";
  /** What is wrong, for people; undefined if nothing is. */
  readonly problem: string | undefined;
  readonly nodes: readonly RemoteNodeFigures[];
  readonly reconnects: number;
  /** Answers that sent a request to another node (MOVED, ASK). */
  readonly redirections: number;
}

export interface Remote {
  /** Items in one call, at most. */
  readonly batchMax: number;
  /** How long a call may take, in ms: the longest wait for a node that is down. */
  readonly timeoutMs: number;
  /** Copies of each persistent record, at least, before a put has succeeded. */
  readonly copies: number;
  /** Whether ephemeral pages are kept remotely too. */
  readonly ephemeral: boolean;

  /**
   * Takes the lease of the prefix; waits up to `timeoutMs` for nodes. The implementation renews
   * the lease until `close`.
   * @returns the fencing epoch: larger than that of any owner before
   * @throws ZcacheError ERR_REMOTE (no cluster, or one that may drop persistent records),
   *   ERR_REMOTE_OWNED (another owner has the lease)
   */
  acquire(): Promise<number>;

  /**
   * The fencing epoch of the lease that this owner has now; 0 without one: before `acquire`, after
   * `close`, and once the lease could not be renewed in time. Without a lease, every call but
   * `acquire` answers with ERR_REMOTE and sends nothing. `acquire` may then be called again.
   */
  readonly epoch: number;

  /**
   * The node that a key is for now, as a small number. A call with keys of one node does not wait
   * for other nodes.
   */
  nodeOf(key: RemoteKey): number;

  /** Stores records. */
  put(records: readonly RemoteRecord[]): Promise<readonly RemotePutResult[]>;

  /**
   * Reads records.
   * @param isPatient waits up to `timeoutMs` for a node that is down; otherwise fails soon
   */
  get(keys: readonly RemoteKey[], isPatient: boolean): Promise<readonly RemoteGetResult[]>;

  /** Removes records. */
  remove(keys: readonly RemoteKey[]): Promise<readonly RemoteRemoveResult[]>;

  /**
   * Lists records under the prefix, for a sweep of orphans: each record that is there during the
   * whole sweep is listed at least once.
   * @param cursor undefined for the beginning
   * @returns an error if a node does not answer: the same cursor may be tried again
   */
  list(cursor: string | undefined): Promise<RemoteKeys | ZcacheError>;

  /** Figures, at once, as last known. */
  figures(): RemoteFigures;

  /** Releases the lease, ends all connections, and makes calls in flight answer ERR_REMOTE. */
  close(): Promise<void>;
}
