// Pages of 4 KiB through the remote tier, beside the package ioredis with values of 2,000 bytes on
// the same nodes: by its cluster client with automatic pipelining, and by a pipeline for each node.
// The contenders take turns, so that each window has a window of the others beside it. A put is
// compressed, evicted and sent; a get is read, checked and decompressed.
import { randomBytes } from "node:crypto";
import { Cluster, type Redis } from "ioredis";
import { slotOf } from "../../src/remote/slots.ts";
import type { EngineCluster } from "../../test/doubles/engine_servers.ts";
import { median } from "../codec/timing.ts";
import { BenchedTier, benchCluster, measured } from "./tier.ts";

const VALUE_BYTES = 2000;
/** Keys of which the part in braces is the same: those of a run of pages. */
const RUN_SHIFT = 5;
const IN_FLIGHT = 128;
const BATCH = 64;
const BATCHES_IN_FLIGHT = 2;

export interface RemotePagesOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export interface RemotePagesRow {
  readonly call: "put" | "get";
  readonly contender: string;
  readonly perSecond: number;
  /** Of this process, for one page or value. */
  readonly cpuUs: number;
  /** The tier's rate to this one's, and its rate for each second of processor time. */
  readonly ratio: number;
  readonly cpuRatio: number;
}

interface Contender {
  readonly name: string;
  readonly put: () => Promise<number>;
  readonly get: () => Promise<number>;
}

const SIZES = {
  full: { memoryMib: 64, pages: 16_384, rounds: 5 },
  tiny: { memoryMib: 8, pages: 512, rounds: 1 },
};

export async function benchRemotePages(
  options: RemotePagesOptions = {},
): Promise<RemotePagesRow[]> {
  const { tiny = false, print = console.log } = options;
  const { memoryMib, pages, rounds } = tiny ? SIZES.tiny : SIZES.full;
  const cluster = await benchCluster();
  const tier = await BenchedTier.open(cluster, { memoryMib });
  const client = new Cluster(nodesOf(cluster), { enableAutoPipelining: true });
  const plain = new Cluster(nodesOf(cluster), {});
  try {
    await tier.put(Math.ceil((memoryMib * 2 ** 20) / VALUE_BYTES) + pages);
    await tier.arrived();
    const contenders = [
      tierContender(tier, pages),
      autoContender(client, pages),
      pipelineContender(plain, pages),
    ];
    const rows = await compare(contenders, rounds);
    const { remoted_bytes, pers_pages_remoted } = tier.store.stats().counters;
    print(`records of ${Math.round(remoted_bytes / pers_pages_remoted)} bytes and their headers`);
    print("| call | contender | thousand/s | µs of processor | tier to it | by processor time |");
    print("|---|---|--:|--:|--:|--:|");
    for (const { call, contender, perSecond, cpuUs, ratio, cpuRatio } of rows) {
      const figures = [(perSecond / 1000).toFixed(1), cpuUs.toFixed(1), ratio.toFixed(2)];
      print(`| ${[call, contender, ...figures, cpuRatio.toFixed(2)].join(" | ")} |`);
    }
    return rows;
  } finally {
    client.disconnect();
    plain.disconnect();
    tier.close();
    await cluster.end();
  }
}

function nodesOf({ servers }: EngineCluster) {
  return servers.map(({ port }) => ({ host: "127.0.0.1", port }));
}

async function compare(
  contenders: readonly Contender[],
  rounds: number,
): Promise<RemotePagesRow[]> {
  const rows: RemotePagesRow[] = [];
  for (const call of ["put", "get"] as const) {
    // A first window of each warms up.
    for (const contender of contenders) await contender[call]();
    const windows = contenders.map(() => [] as { perSecond: number; cpuUs: number }[]);
    for (let round = 0; round < rounds; round++) {
      for (const [nth, contender] of contenders.entries()) {
        windows[nth]!.push(await measured(contender[call]));
      }
    }
    for (const [nth, { name }] of contenders.entries()) {
      const own = windows[nth]!;
      const tier = windows[0]!;
      rows.push({
        ...{ call, contender: name },
        perSecond: median(own.map(({ perSecond }) => perSecond)),
        cpuUs: median(own.map(({ cpuUs }) => cpuUs)),
        // Of windows beside each other.
        ratio: median(own.map((window, at) => tier[at]!.perSecond / window.perSecond)),
        cpuRatio: median(own.map((window, at) => window.cpuUs / tier[at]!.cpuUs)),
      });
    }
  }
  return rows;
}

function tierContender(tier: BenchedTier, pages: number): Contender {
  let away: readonly number[] = [];
  const targets = Array.from({ length: IN_FLIGHT }, () => new Uint8Array(tier.store.pageSize));
  return {
    name: "tier",
    async put() {
      const before = tier.sent;
      await tier.put(pages);
      await tier.arrived();
      return tier.sent - before;
    },
    async get() {
      if (away.length === 0) away = tier.away(pages);
      let next = 0;
      const lane = async (target: Uint8Array) => {
        while (next < away.length) await tier.get(away[next++]!, target);
      };
      await Promise.all(targets.map(lane));
      return away.length;
    },
  };
}

const value = randomBytes(VALUE_BYTES);
const keyOf = (nth: number) => Buffer.from(`v:{${nth >> RUN_SHIFT}}:${nth}`, "latin1");

function autoContender(client: Cluster, pages: number): Contender {
  const keys = Array.from({ length: pages }, (_, nth) => keyOf(nth));
  const all = async (work: (key: Buffer) => Promise<unknown>) => {
    let next = 0;
    const lane = async () => {
      while (next < pages) await work(keys[next++]!);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    return pages;
  };
  return {
    name: "ioredis, automatic pipelining",
    put: () => all((key) => client.set(key, value)),
    get: () => all(async (key) => checkValue(await client.getBuffer(key))),
  };
}

function pipelineContender(client: Cluster, pages: number): Contender {
  const keys = Array.from({ length: pages }, (_, nth) => keyOf(nth));
  const owners = keys.map((key) => slotOf(key));
  const all = async (call: "set" | "getBuffer") => {
    let next = 0;
    const lane = async () => {
      while (next < pages) {
        const first = next;
        next = Math.min(pages, first + BATCH);
        const pipelines = new Map<string, ReturnType<Redis["pipeline"]>>();
        for (let nth = first; nth < next; nth++) {
          const node = client.slots[owners[nth]!]![0]!;
          const pipeline = pipelines.get(node) ?? client.pipeline();
          pipelines.set(node, pipeline);
          if (call === "set") pipeline.set(keys[nth]!, value);
          else pipeline.getBuffer(keys[nth]!);
        }
        const answers = await Promise.all([...pipelines.values()].map((one) => one.exec()));
        if (call === "getBuffer") {
          for (const [, found] of answers.flatMap((one) => one!)) checkValue(found as Buffer);
        }
      }
    };
    await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, lane));
    return pages;
  };
  return {
    name: "ioredis, a pipeline for each node",
    put: () => all("set"),
    get: () => all("getBuffer"),
  };
}

function checkValue(found: Buffer | null): void {
  if (found?.length !== VALUE_BYTES) throw new Error("a value is missing or wrong");
}
