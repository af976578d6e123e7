// What the tests of the remote tier share: records, and calls that end whatever runs below.
import assert from "node:assert/strict";
import type {
  Remote,
  RemoteGetResult,
  RemoteKey,
  RemoteRecord,
} from "../../src/backing/remote_contract.ts";

export const PREFIX = "zcache-test";

export const keyOf = (nth: number, epoch: number): RemoteKey => ({
  epoch,
  run: `p0.${nth >> 2}.0`,
  name: `${nth}.1`,
});

export function recordOf(nth: number, epoch: number, isPersistent = true): RemoteRecord {
  const data = Uint8Array.from({ length: 40 + nth }, (_, at) => (nth * 7 + at) & 255);
  const content = { prefixBytes: nth % 5, codec: "lz4", dictionary: nth % 3, plainBytes: 4096 };
  return { key: keyOf(nth, epoch), ...content, data, isPersistent };
}

export const upTo = (count: number): number[] => Array.from({ length: count }, (_, nth) => nth);

/** Fails unless a get has found the record `nth`, byte for byte. */
export function assertFound(found: RemoteGetResult | undefined, nth: number): void {
  const wanted = recordOf(nth, 1);
  assert.ok(typeof found === "object" && "data" in found, `record ${nth}: ${String(found)}`);
  const { prefixBytes, codec, dictionary, plainBytes } = found;
  const content = { prefixBytes, codec, dictionary, plainBytes };
  assert.deepEqual(content, {
    ...{ prefixBytes: wanted.prefixBytes, codec: wanted.codec },
    ...{ dictionary: wanted.dictionary, plainBytes: wanted.plainBytes },
  });
  assert.deepEqual(Buffer.from(found.data), Buffer.from(wanted.data));
}

/** Names of all records under the prefix. */
export async function listAll(
  remote: Remote,
  until: <T>(promise: Promise<T>) => Promise<T> = (promise) => promise,
): Promise<RemoteKey[]> {
  const all = new Map<string, RemoteKey>();
  for (let cursor: string | undefined, isMore = true; isMore; isMore = cursor !== undefined) {
    const page = await until(remote.list(cursor));
    if (page instanceof Error) throw page;
    for (const key of page.keys) all.set(`${key.epoch} ${key.run} ${key.name}`, key);
    cursor = page.cursor;
  }
  return [...all.values()];
}

/** Removes all records, as a store sweeps orphans. */
export async function removeAll(remote: Remote): Promise<number> {
  const keys = await listAll(remote);
  for (let at = 0; at < keys.length; at += remote.batchMax) {
    const results = await remote.remove(keys.slice(at, at + remote.batchMax));
    for (const result of results) assert.equal(result, "done");
  }
  return keys.length;
}
