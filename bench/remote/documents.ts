// The documents of a fleet in a cluster: a cache that shares its values, beside ioredis with JSON
// and valkey-glide with JSON and its compression (zstd). Each contender writes all documents to an
// empty cluster, then reads random ones that it has no copy of. Measured are the bytes of all
// values, the memory that the servers use for them, and operations for each second of time and of
// this process' processor time.
//
// valkey-glide is not installed with the project: npm install --no-save @valkey/valkey-glide. Its
// compression runs in threads of its own, which count as this process' processor time.
import { createRequire } from "node:module";
import { Cluster } from "ioredis";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { Cache } from "../../src/index.ts";
import type { EngineCluster } from "../../test/doubles/engine_servers.ts";
import { DOCUMENT_COUNT, documentAt } from "../documents.ts";
import { benchCluster, measured } from "./tier.ts";

const IN_FLIGHT = 128;
const SCAN_COUNT = 1000;
const PREFIX = "documents";

export interface RemoteDocumentsOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
  readonly documents?: number;
  /** How the names of the contenders begin; default: all. */
  readonly only?: string;
}

export interface RemoteDocumentsRow {
  readonly contender: string;
  readonly valueMib: number;
  /** What the servers use in addition to what they used when they were empty. */
  readonly serverMib: number;
  readonly writesPerSecond: number;
  readonly writeCpuUs: number;
  readonly readsPerSecond: number;
  readonly readCpuUs: number;
}

interface Client {
  set(key: string, document: unknown): Promise<unknown>;
  get(key: string): Promise<unknown>;
  close(): void;
}

interface Contender {
  readonly name: string;
  /** A client without copies. */
  open(cluster: EngineCluster): Promise<Client>;
}

const zcache = (codec: string): Contender => ({
  name: `zcache, ${codec}`,
  async open({ nodes }) {
    const remote = { nodes, prefix: PREFIX, mode: "shared", timeoutMs: 60_000 } as const;
    const cache = Cache.create<string, unknown>({ memoryMax: 512 * MIB, codec, remote });
    return {
      set: (key, document) => cache.setAsync(key, document),
      get: (key) => cache.getAsync(key),
      close: () => cache.close(),
    };
  },
});

const ioredis: Contender = {
  name: "ioredis, JSON",
  async open({ servers }) {
    const nodes = servers.map(({ port }) => ({ host: "127.0.0.1", port }));
    const client = new Cluster(nodes, { enableAutoPipelining: true });
    return {
      set: (key, document) => client.set(`${PREFIX}:${key}`, JSON.stringify(document)),
      async get(key) {
        const text = await client.get(`${PREFIX}:${key}`);
        return text === null ? undefined : JSON.parse(text);
      },
      close: () => client.disconnect(),
    };
  },
};

/** The part of valkey-glide that is used. */
interface Glide {
  readonly GlideClusterClient: {
    createClient(options: unknown): Promise<{
      set(key: string, value: string): Promise<unknown>;
      get(key: string): Promise<string | null>;
      close(): void;
    }>;
  };
}

function glideContender(): Contender | undefined {
  let glide: Glide;
  try {
    glide = createRequire(import.meta.url)("@valkey/valkey-glide") as Glide;
  } catch {
    return undefined;
  }
  return {
    name: "valkey-glide, JSON, its compression",
    async open({ servers }) {
      const addresses = servers.map(({ port }) => ({ host: "127.0.0.1", port }));
      const compression = { enabled: true };
      const options = { addresses, compression, requestTimeout: 60_000 };
      const client = await glide.GlideClusterClient.createClient(options);
      return {
        set: (key, document) => client.set(`${PREFIX}:${key}`, JSON.stringify(document)),
        async get(key) {
          const text = await client.get(`${PREFIX}:${key}`);
          return text === null ? undefined : JSON.parse(text);
        },
        close: () => client.close(),
      };
    },
  };
}

export async function benchRemoteDocuments(
  options: RemoteDocumentsOptions = {},
): Promise<RemoteDocumentsRow[]> {
  const { tiny = false, print = console.log } = options;
  const count = options.documents ?? (tiny ? 300 : DOCUMENT_COUNT);
  const glide = glideContender();
  const rows: RemoteDocumentsRow[] = [];
  const ours = ["lz4", "zstd"].map(zcache);
  const all = [...ours, ioredis, ...(glide === undefined ? [] : [glide])];
  const contenders = all.filter(({ name }) => name.startsWith(options.only ?? ""));
  if (glide === undefined) print("valkey-glide: skipped, not installed");
  let jsonBytes = 0;
  for (let nth = 0; nth < count; nth++) jsonBytes += documentAt(nth).length;
  print(`${count} documents, ${mib(jsonBytes)} MiB of JSON`);
  print("| contender | MiB of values | MiB of the servers | writes/s | µs | reads/s | µs |");
  print("|---|--:|--:|--:|--:|--:|--:|");
  for (const contender of contenders) {
    const row = await measure(contender, count);
    rows.push(row);
    const { valueMib, serverMib, writesPerSecond, writeCpuUs, readsPerSecond, readCpuUs } = row;
    const speeds = [writesPerSecond, writeCpuUs, readsPerSecond, readCpuUs].map(Math.round);
    const sizes = [valueMib.toFixed(1), serverMib.toFixed(1)];
    print(`| ${[contender.name, ...sizes, ...speeds].join(" | ")} |`);
  }
  return rows;
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}

const keyOf = (nth: number) => `doc:${nth}`;

async function measure(contender: Contender, count: number): Promise<RemoteDocumentsRow> {
  const cluster = await benchCluster();
  try {
    const empty = await usedBytes(cluster);
    const writer = await contender.open(cluster);
    const documents = (nth: number) => JSON.parse(documentAt(nth)) as unknown;
    // The time to make documents is not the contender's.
    const making = await measured(async () => {
      for (let nth = 0; nth < count; nth++) documents(nth);
      return count;
    });
    const writing = await measured(() =>
      lanes(count, (nth) => writer.set(keyOf(nth), documents(nth))),
    );
    writer.close();
    const valueMib = (await valueBytes(cluster)) / MIB;
    const serverMib = ((await usedBytes(cluster)) - empty) / MIB;
    const reader = await contender.open(cluster);
    const random = new Xorshift32(1);
    const order = Uint32Array.from({ length: count }, (_, nth) => nth);
    for (let nth = count - 1; nth > 0; nth--) {
      const other = random.below(nth + 1);
      [order[nth], order[other]] = [order[other]!, order[nth]!];
    }
    const reading = await measured(() =>
      lanes(count, async (nth) => {
        const found = await reader.get(keyOf(order[nth]!));
        if (typeof found !== "object") throw new Error(`${contender.name}: no document ${nth}`);
      }),
    );
    reader.close();
    return {
      contender: contender.name,
      ...{ valueMib, serverMib },
      writesPerSecond: 1 / (1 / writing.perSecond - 1 / making.perSecond),
      writeCpuUs: writing.cpuUs - making.cpuUs,
      readsPerSecond: reading.perSecond,
      readCpuUs: reading.cpuUs,
    };
  } finally {
    await cluster.end();
  }
}

/** Does `count` things, some of them at a time. */
async function lanes(count: number, work: (nth: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return count;
}

async function usedBytes(cluster: EngineCluster): Promise<number> {
  let sum = 0;
  for (const server of cluster.servers) {
    const text = String(await server.command("INFO", "memory"));
    sum += Number(/^used_memory_dataset:(\d+)/m.exec(text)![1]);
  }
  return sum;
}

/** The bytes of all values of documents: dictionaries too. */
async function valueBytes({ servers }: EngineCluster): Promise<number> {
  const nodes = servers.map(({ port }) => ({ host: "127.0.0.1", port }));
  const client = new Cluster(nodes, {});
  await client.ping();
  let sum = 0;
  for (const node of client.nodes("master")) {
    let cursor = "0";
    do {
      const [next, keys] = await node.scanBuffer(cursor, "COUNT", SCAN_COUNT);
      const pipeline = node.pipeline();
      for (const key of keys) pipeline.strlen(key);
      for (const [, length] of (await pipeline.exec()) ?? []) sum += Number(length);
      cursor = String(next);
    } while (cursor !== "0");
  }
  client.disconnect();
  return sum;
}
