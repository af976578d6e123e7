// Keys of the cluster. All of them begin with the prefix of their service.
//
//   PREFIX:r:EPOCH:{RUN}:NAME    a record of a store; the braces make a run one hash slot
//   PREFIX:{lease}:owner         the owner's lease, which ends by itself
//   PREFIX:{lease}:epoch         the highest fencing epoch so far
//   PREFIX:m:{TAG}               a marker of one slot: as long as it exists, its node has not been
//                                emptied
//   PREFIX:v:KEY                 a value of a cache that several machines share
//   PREFIX:l:KEY                 the lease of a machine that loads that value
//   PREFIX:d:ID                  a dictionary, which never changes
import type { RemoteKey } from "../backing/remote_contract.ts";

/** Characters of a prefix; no wildcard of SCAN and no brace among them. */
export const PREFIX = /^[A-Za-z0-9_.:-]{1,64}$/;

const RECORD = /^([1-9]\d{0,9}):\{([0-9a-z.-]{1,100})\}:([0-9a-z.-]{1,40})$/;

export interface LeaseKeys {
  readonly owner: string;
  readonly epoch: string;
}

export function leaseKeys(prefix: string): LeaseKeys {
  return { owner: `${prefix}:{lease}:owner`, epoch: `${prefix}:{lease}:epoch` };
}

export function markerKey(prefix: string, tag: string): string {
  return `${prefix}:m:{${tag}}`;
}

export function recordKey(prefix: string, { epoch, run, name }: RemoteKey): string {
  return `${prefix}:r:${epoch}:{${run}}:${name}`;
}

/** The pattern of SCAN for all records of a prefix. */
export function recordPattern(prefix: string): string {
  return `${prefix}:r:*`;
}

/** @returns undefined for a key that is none of a record */
export function parseRecordKey(prefix: string, key: string): RemoteKey | undefined {
  const start = `${prefix}:r:`;
  if (!key.startsWith(start)) return undefined;
  const match = RECORD.exec(key.slice(start.length));
  const epoch = Number(match?.[1]);
  if (match === null || epoch >= 2 ** 32) return undefined;
  return { epoch, run: match[2]!, name: match[3]! };
}
