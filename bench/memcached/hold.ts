// Measures how many documents fit, and the miss rate. Requests follow a Zipf distribution, and a
// missed document is stored. Each document is stored once before the measurement, because the first
// request for a document would otherwise miss with any memory.
//
// The memory of a process besides its items (code, heap, buffers) is taken from an equal run with a
// limit of 4 MiB, less these 4 MiB.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { documentAt } from "../documents.ts";
import { keyOf } from "./load.ts";
import type { ServerUnderTest, StartOptions } from "./servers.ts";

export interface HoldRow {
  readonly server: string;
  readonly memoryMiB: number;
  readonly items: number;
  readonly gets: number;
  readonly misses: number;
  /** Resident memory of the whole process, and the part that is not for items. */
  readonly residentBytes: number;
  readonly baseBytes: number;
}

const ZIPF = 0.99;
const END = "END\r\n";
const BASE_MIB = 4;
/** Requests in flight at a time. */
const BATCH = 32;

/** Sends requests and waits for a number of lines, or for the line that ends the answer. */
async function ask(socket: Socket, request: string | Buffer, until: number | string) {
  socket.write(request);
  let text = "";
  const isWhole = () =>
    typeof until === "string" ? text.endsWith(until) : text.split("\r\n").length > until;
  while (!isWhole()) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    text += chunk.toString("latin1");
  }
  return text;
}

/** Numbers below `count` from a Zipf distribution, by a table of cumulative shares. */
function zipf(count: number): (chance: number) => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += 1 / (i + 1) ** ZIPF;
    sums[i] = sum;
  }
  return (chance) => {
    const wanted = chance * sum;
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

async function store(socket: Socket, numbers: readonly number[]): Promise<void> {
  if (numbers.length === 0) return;
  const parts = numbers.flatMap((number) => {
    const value = Buffer.from(documentAt(number));
    const head = Buffer.from(`set ${keyOf(number)} 0 0 ${value.length}\r\n`);
    return [head, value, Buffer.from("\r\n")];
  });
  await ask(socket, Buffer.concat(parts), numbers.length);
}

/** Gets documents, and stores the missing ones. @returns the number of misses */
async function getOrStore(socket: Socket, numbers: readonly number[]): Promise<number> {
  // A meta get without the value tells a hit from a miss.
  const requests = numbers.map((number) => `mg ${keyOf(number)}\r\n`).join("");
  const lines = (await ask(socket, requests, numbers.length)).split("\r\n");
  const missed = numbers.filter((_, i) => !lines[i]!.startsWith("HD"));
  await store(socket, [...new Set(missed)]);
  return missed.length;
}

interface Held {
  readonly items: number;
  readonly misses: number;
  readonly residentBytes: number;
}

async function hold(server: ServerUnderTest, documents: number, gets: number): Promise<Held> {
  const socket = connect(server.port, "127.0.0.1");
  await once(socket, "connect");
  const random = new Xorshift32(11);
  const draw = zipf(documents);
  // Popular documents are spread over all numbers.
  const numberOf = (nth: number) => (nth * 7919) % documents;
  const batches = (count: number, nth: (i: number) => number): number[][] =>
    Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) =>
      Array.from({ length: Math.min(BATCH, count - batch * BATCH) }, (_, i) =>
        nth(batch * BATCH + i),
      ),
    );
  // The popular documents come last, as if they had been requested until now.
  for (const batch of batches(documents, (i) => numberOf(documents - 1 - i))) {
    await store(socket, batch);
  }
  let misses = 0;
  for (const isMeasured of [false, true]) {
    for (const batch of batches(gets, () => numberOf(draw(random.next() / 2 ** 32)))) {
      const missed = await getOrStore(socket, batch);
      if (isMeasured) misses += missed;
    }
  }
  const stats = await ask(socket, "stats\r\n", END);
  socket.destroy();
  const items = Number(/curr_items (\d+)/.exec(stats)![1]);
  return { items, misses, residentBytes: server.resident() };
}

export async function benchHold(
  start: (options: StartOptions) => Promise<ServerUnderTest>,
  tiny: boolean,
): Promise<HoldRow> {
  const memoryMiB = 64;
  const documents = tiny ? 300 : 100_000;
  const gets = tiny ? 300 : 200_000;
  const rows: Held[] = [];
  let name = "";
  for (const mib of [BASE_MIB, memoryMiB]) {
    const server = await start({ memoryMiB: mib });
    name = server.name;
    try {
      rows.push(await hold(server, documents, gets));
    } finally {
      await server.stop();
    }
  }
  const [small, held] = rows;
  const baseBytes = small!.residentBytes - BASE_MIB * MIB;
  return { server: name, memoryMiB, gets, baseBytes, ...held! };
}
