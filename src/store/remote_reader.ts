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
