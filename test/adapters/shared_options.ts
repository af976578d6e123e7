// Options with which the contract suites of the adapters run over a cache that several machines
// share (shared.long.test.ts).
import type { CacheOptions } from "../../src/index.ts";

/** Names the server that values are shared through: host:port. */
export const SHARED = "ZCACHE_TEST_SHARED";

/** Nothing, unless the environment names a server. @param prefix of the keys there */
export function sharedOptions(prefix: string): Pick<CacheOptions, "remote"> {
  const node = process.env[SHARED];
  if (node === undefined) return {};
  return { remote: { nodes: [node], prefix, mode: "shared", timeoutMs: 20_000 } };
}
