// Contenders that run within the process: caches on the heap, and stores of native packages.
import { join } from "node:path";
import {
  type Contender,
  importPeer,
  type Session,
  type Settings,
  type Value,
} from "./contender.ts";

/** Stores nothing: measures the loops. */
export const NOTHING: Contender = {
  name: "nothing",
  threads: "copies",
  evicts: true,
  returnsValue: false,
  open: async () => ({ set: () => undefined, get: () => undefined, close: () => undefined }),
};

export const MAP: Contender = {
  name: "map",
  threads: "copies",
  evicts: false,
  open: async () => {
    const map = new Map<string, Value>();
    return {
      set: (key, value) => void map.set(key, value),
      get: (key) => map.get(key),
      close: () => map.clear(),
    };
  },
};

interface LruPackage {
  readonly LRUCache: new (
    options: object,
  ) => { set(key: string, value: unknown): unknown; get(key: string): unknown; clear(): void };
}

/** Bytes that V8 needs for an entry and its strings, besides the characters. */
const LRU_ENTRY_BYTES = 120;

async function openLru(settings: Settings, asObjects: boolean): Promise<Session> {
  const { LRUCache } = await importPeer<LruPackage>("lru-cache");
  const { memoryBytes, count } = settings;
  // A user knows the length of the text, but not the size of an object on the heap.
  const limit = memoryBytes === undefined ? { max: count } : { max: count, maxSize: memoryBytes };
  const lru = new LRUCache(limit);
  const sized = lru as unknown as { set(key: string, value: unknown, options: object): unknown };
  return {
    set: (key, value) => {
      const held = asObjects ? JSON.parse(value as string) : value;
      if (memoryBytes === undefined) lru.set(key, held);
      else sized.set(key, held, { size: value.length + key.length + LRU_ENTRY_BYTES });
    },
    get: (key) => lru.get(key),
    close: () => lru.clear(),
  };
}

export const LRU_CACHE: Contender = {
  name: "lru-cache",
  threads: "copies",
  evicts: true,
  open: (settings) => openLru(settings, false),
};

export const LRU_OBJECTS: Contender = {
  name: "lru-cache-objects",
  threads: "copies",
  evicts: true,
  returnsValue: false,
  textOnly: true,
  open: (settings) => openLru(settings, true),
};

interface KeyvPackage {
  readonly Keyv: new () => {
    set(key: string, value: unknown): Promise<unknown>;
    get(key: string): Promise<unknown>;
  };
}

export const KEYV: Contender = {
  name: "keyv",
  threads: "copies",
  evicts: false,
  textOnly: true,
  open: async () => {
    const { Keyv } = await importPeer<KeyvPackage>("keyv");
    const keyv = new Keyv();
    return {
      set: (key, value) => keyv.set(key, value),
      get: (key) => keyv.get(key),
      close: () => undefined,
    };
  },
};

interface LmdbPackage {
  open(options: object): {
    put(key: string, value: unknown): Promise<unknown>;
    get(key: string): unknown;
    readonly flushed: Promise<unknown>;
    close(): Promise<void>;
  };
}

async function openLmdb(settings: Settings, compression: boolean): Promise<Session> {
  const { open } = await importPeer<LmdbPackage>("lmdb");
  const db = open({
    path: join(settings.folder, "cache.mdb"),
    compression,
    encoding: settings.values === "text" ? "string" : "binary",
    // A cache need not survive a power failure.
    noSync: true,
  });
  return {
    set: (key, value) => db.put(key, value),
    get: (key) => db.get(key),
    share: () => true,
    settle: async () => void (await db.flushed),
    close: () => db.close(),
  };
}

export const LMDB: Contender = {
  name: "lmdb",
  threads: "shared",
  evicts: false,
  open: (settings) => openLmdb(settings, false),
};

export const LMDB_LZ4: Contender = {
  name: "lmdb-lz4",
  threads: "shared",
  evicts: false,
  open: (settings) => openLmdb(settings, true),
};

interface LevelPackage {
  readonly ClassicLevel: new (
    path: string,
    options: object,
  ) => {
    open(): Promise<void>;
    put(key: string, value: unknown): Promise<void>;
    getSync(key: string): unknown;
    close(): Promise<void>;
  };
}

export const CLASSIC_LEVEL: Contender = {
  name: "classic-level",
  threads: "one",
  evicts: false,
  open: async ({ folder, values }) => {
    const { ClassicLevel } = await importPeer<LevelPackage>("classic-level");
    const valueEncoding = values === "text" ? "utf8" : "view";
    const db = new ClassicLevel(join(folder, "level"), { valueEncoding });
    await db.open();
    return {
      set: (key, value) => db.put(key, value),
      get: (key) => db.getSync(key),
      close: () => db.close(),
    };
  },
};
