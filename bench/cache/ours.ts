// zcache's own Cache, by the package's entry point, as a service would use it.
import * as zcache from "../../src/index.ts";
import { type Contender, Missing, type Session, type Settings } from "./contender.ts";

/** What is used of it. */
interface OurCache {
  set(key: string, value: unknown): unknown;
  get(key: string): unknown;
  share(): unknown;
  stats(): unknown;
  close(): void;
}
interface OurCacheClass {
  create(options: object): OurCache;
  attach(share: unknown): OurCache;
}

/** A store that is to hold everything: what compression leaves at the worst, and the index. */
function memoryOf({ memoryBytes, rawBytes, count }: Settings): number {
  return memoryBytes ?? Math.ceil(rawBytes + count * 64 + 16 * zcache.MIB);
}

function ours(name: string, options: object): Contender {
  return {
    name,
    threads: "shared",
    evicts: true,
    open: async (settings, share): Promise<Session> => {
      // By name, so that the comparison also builds where there is none.
      const { Cache } = zcache as unknown as { readonly Cache?: OurCacheClass };
      if (Cache === undefined) throw new Missing("zcache's Cache is not built yet");
      const cache =
        share === undefined
          ? Cache.create({ memoryMax: memoryOf(settings), ...options })
          : Cache.attach(share);
      return {
        set: (key, value) => void cache.set(key, value),
        get: (key) => cache.get(key),
        share: () => cache.share(),
        close: () => cache.close(),
      };
    },
  };
}

export const OURS: readonly Contender[] = [
  ours("zcache", {}),
  ours("zcache-lz4", { codec: "lz4", dictionary: true }),
  ours("zcache-zstd", { codec: "zstd", dictionary: true }),
];
