// Four processes that share documents: how often a document is loaded, how many copies there are,
// and how soon a change is known. A read after the answer to a PING, which was sent after the
// acknowledgement of a write, must find what was written.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { MIB } from "../../src/base/units.ts";
import { DOCUMENT_COUNT } from "../documents.ts";
import type { FleetFetched, FleetOrder, FleetRead } from "./fleet_child.ts";
import { benchCluster } from "./tier.ts";

const EXTENSION = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD = fileURLToPath(new URL(`./fleet_child.${EXTENSION}`, import.meta.url));
const PROCESSES = 4;
const KEY = "changed";

export interface RemoteFleetResult {
  readonly documents: number;
  /** Of all processes, while all fetch all documents. */
  readonly loads: number;
  /** The same once more: none. */
  readonly loadsAgain: number;
  /** Of all processes; less than four times the documents if some do not fit. */
  readonly copies: number;
  readonly usedMib: number;
  /** Reads after a PING that found an old value: none. */
  readonly stale: number;
  readonly reads: number;
  /** Reads before whose PING the old copy was still there. */
  readonly oldBefore: number;
  readonly pingMs: { readonly p50: number; readonly p99: number; readonly max: number };
}

export interface RemoteFleetOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

async function ask<T>(child: ChildProcess, order: FleetOrder): Promise<T> {
  child.send(order);
  const [answer] = (await once(child, "message")) as [{ result?: T; error?: string }];
  if (answer.error !== undefined) throw new Error(answer.error);
  return answer.result as T;
}

export async function benchRemoteFleet(
  options: RemoteFleetOptions = {},
): Promise<RemoteFleetResult> {
  const { tiny = false, print = console.log } = options;
  const documents = tiny ? 400 : DOCUMENT_COUNT;
  const rounds = tiny ? 20 : 2000;
  const cluster = await benchCluster();
  const children = Array.from({ length: PROCESSES }, () => fork(CHILD));
  const all = <T>(make: (nth: number) => FleetOrder) =>
    Promise.all(children.map((child, nth) => ask<T>(child, make(nth))));
  try {
    await all(() => ({ open: cluster.nodes, memoryMib: tiny ? 32 : 512 }));
    // Two begin at the same document, two elsewhere: they meet.
    const from = [0, 0, documents >> 1, documents >> 2];
    const first = await all<FleetFetched>((nth) => ({ fetch: documents, from: from[nth]! }));
    const again = await all<FleetFetched>(() => ({ fetch: documents, from: 0 }));
    const copies = await all<number>(() => ({ count: documents }));
    let usedBytes = 0;
    for (const server of cluster.servers) {
      const text = String(await server.command("INFO", "memory"));
      usedBytes += Number(/^used_memory:(\d+)/m.exec(text)![1]);
    }
    const reads = await changes(children, rounds);
    const pings = reads.map(({ pingMs }) => pingMs).sort((a, b) => a - b);
    const at = (share: number) => pings[Math.floor((pings.length - 1) * share)]!;
    const result: RemoteFleetResult = {
      documents,
      loads: sum(first, ({ loads }) => loads),
      loadsAgain: sum(again, ({ loads }) => loads),
      copies: sum(copies, (count) => count),
      usedMib: usedBytes / MIB,
      stale: sum(reads, ({ isStale }) => Number(isStale)),
      reads: reads.length,
      oldBefore: sum(reads, ({ wasOld }) => Number(wasOld)),
      pingMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
    };
    report(result, first, print);
    return result;
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await cluster.end();
  }
}

interface Read extends FleetRead {
  readonly isStale: boolean;
}

/** One process changes a key, the next one in turn; the others read it. */
async function changes(children: readonly ChildProcess[], rounds: number): Promise<Read[]> {
  const reads: Read[] = [];
  let old = "";
  for (let round = 0; round < rounds; round++) {
    const value = `round ${round}`;
    const writer = children[round % PROCESSES]!;
    await ask(writer, { set: KEY, value });
    const others = children.filter((child) => child !== writer);
    const found = await Promise.all(
      others.map((child) => ask<FleetRead>(child, { read: KEY, old })),
    );
    for (const read of found) reads.push({ ...read, isStale: read.value !== value });
    old = value;
  }
  return reads;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

function report(
  result: RemoteFleetResult,
  first: readonly FleetFetched[],
  print: (line: string) => void,
): void {
  const { documents, loads, loadsAgain, copies, usedMib, stale, reads, oldBefore } = result;
  const { p50, p99, max } = result.pingMs;
  const ms = Math.max(...first.map((one) => one.ms));
  const cpuUs = (sum(first, ({ cpuMs }) => cpuMs) * 1000) / (documents * PROCESSES);
  const rate = (documents * PROCESSES) / ms;
  print(`${PROCESSES} processes fetch ${documents} documents each: ${loads} loads in all, then`);
  print(`${loadsAgain}; ${copies} copies; the servers use ${usedMib.toFixed(0)} MiB`);
  print(`${rate.toFixed(1)} thousand fetches a second in all, ${cpuUs.toFixed(0)} µs each`);
  print(`${reads} reads after a PING: ${stale} stale; the old copy was there before`);
  print(`the PING in ${oldBefore}; a PING takes ${p50.toFixed(2)} ms (p50), ${p99.toFixed(2)} ms`);
  print(`(p99), ${max.toFixed(2)} ms (max)`);
}
