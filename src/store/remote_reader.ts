// How a thread of a store reads from the remote tier: directly, if it owns the tier
// (remote_tier.ts), or through the thread that does (remote_fetches.ts).
import type { RecordName } from "../backing/record_name.ts";
import type { ZcacheError } from "../base/errors.ts";

/**
 * The bytes of a page as they are stored, of the size that its META says. "missing": the remote
 * tier has answered that it has no such record. "corrupt": what it has is not the page.
 */
export type RemoteRead = Uint8Array | "missing" | "corrupt" | ZcacheError;

/** Reads records of one shard; never rejects. */
export type RemoteReader = (name: RecordName) => Promise<RemoteRead>;

/** How a thread waits until pages in transit have arrived (node/remote_fetches.ts). */
export interface RoomSigns {
  /** A number that changes whenever a page has arrived. */
  readonly count: number;
  /** Waits until `count` is no longer that number, or for some milliseconds. */
  changed(count: number): Promise<void>;
}

/** How often a page may be replaced and sent out again while it is read. */
export const READS_MAX = 64;

/** What a thread has read for requests that wait, of all shards (remote_arrivals.ts). */
export interface ArrivedRecords {
  /** What was read of a record; undefined: it has not been read, or nobody waits for it. */
  of(shard: object, name: RecordName): RemoteRead | undefined;
  /** Notes that the request that is being executed needs a record. */
  want(shard: object, name: RecordName): void;
}
