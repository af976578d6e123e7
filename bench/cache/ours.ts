// zcache's Cache, imported from the package's entry point, as in a service.
import { Cache, type CacheOptions, type CacheShare, MIB } from "../../src/index.ts";
import type { Contender, Session, Settings } from "./contender.ts";

/** Memory for a store that must hold all values, in the worst case of compression. */
function memoryOf({ memoryBytes, rawBytes, count }: Settings): number {
  return memoryBytes ?? Math.ceil(rawBytes + count * 64 + 16 * MIB);
}

function ours(name: string, options: CacheOptions): Contender {
  return {
    name,
    threads: "shared",
    evicts: true,
    open: async (settings, share): Promise<Session> => {
      const cache =
        share === undefined
          ? Cache.create({ memoryMax: memoryOf(settings), ...options })
          : Cache.attach(share as CacheShare);
      return {
        set: (key, value) => void cache.set(key, value),
        get: (key) => cache.get(key),
        share: () => cache.share(),
        close: () => (share === undefined ? cache.close() : cache.detach()),
      };
    },
  };
}

/** The defaults; each codec alone, without tiers; decoded values kept in each thread. */
export const OURS: readonly Contender[] = [
  ours("zcache", {}),
  ours("zcache-lz4", { codec: "lz4", tiers: false }),
  ours("zcache-zstd", { codec: "zstd", tiers: false }),
  ours("zcache-near", { near: true }),
];
