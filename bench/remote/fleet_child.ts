// One machine of the benchmark of a fleet, as a process: does what the parent asks for.
import { MIB } from "../../src/base/units.ts";
import { Cache } from "../../src/index.ts";
import { documentAt } from "../documents.ts";

export type FleetOrder =
  | { readonly open: readonly string[]; readonly memoryMib: number }
  /** Fetches all documents, beginning at one of them. */
  | { readonly fetch: number; readonly from: number }
  /** Counts copies. */
  | { readonly count: number }
  | { readonly set: string; readonly value: string }
  /** Reads a key after a PING. */
  | { readonly read: string; readonly old: string };

export interface FleetFetched {
  readonly loads: number;
  readonly ms: number;
  readonly cpuMs: number;
}

export interface FleetRead {
  readonly value: unknown;
  /** From the PING to its answer. */
  readonly pingMs: number;
  /** Whether the old copy was still here when the PING was sent. */
  readonly wasOld: boolean;
}

/** Fetches at a time. */
const IN_FLIGHT = 64;

const keyOf = (nth: number) => `doc:${nth}`;

let cache: Cache<string, unknown>;
let loads = 0;

const loader = async (key: string): Promise<unknown> => {
  loads++;
  return JSON.parse(documentAt(Number(key.slice(4))));
};

async function fetchAll(count: number, from: number): Promise<FleetFetched> {
  loads = 0;
  const cpu = process.cpuUsage();
  const begin = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const found = await cache.fetch(keyOf((from + next++) % count), loader);
      if (typeof found !== "object") throw new Error("a document is missing");
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  const { user, system } = process.cpuUsage(cpu);
  return { loads, ms: performance.now() - begin, cpuMs: (user + system) / 1000 };
}

async function read(key: string, old: string): Promise<FleetRead> {
  const wasOld = cache.get(key) === old;
  const begin = performance.now();
  await cache.fleet!.shared.sync();
  const pingMs = performance.now() - begin;
  return { value: cache.get(key) ?? (await cache.getAsync(key)), pingMs, wasOld };
}

async function answer(order: FleetOrder): Promise<unknown> {
  if ("open" in order) {
    const { open: nodes, memoryMib } = order;
    const remote = { nodes, prefix: "fleet", mode: "shared", timeoutMs: 120_000 } as const;
    cache = Cache.create<string, unknown>({ memoryMax: memoryMib * MIB, remote });
    return true;
  }
  if ("fetch" in order) return fetchAll(order.fetch, order.from);
  if ("set" in order) return cache.setAsync(order.set, order.value);
  if ("read" in order) return read(order.read, order.old);
  let copies = 0;
  for (let nth = 0; nth < order.count; nth++) if (cache.has(keyOf(nth))) copies++;
  return copies;
}

process.on("message", (order: FleetOrder) => {
  answer(order).then(
    (result) => process.send!({ result }),
    (error: unknown) => process.send!({ error: String(error) }),
  );
});
