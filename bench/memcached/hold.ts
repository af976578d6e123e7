// How many documents fit, and how often one is missed. Requests are drawn by Zipf's law, and a
// missed document is stored. Each document is stored once before, because a first request misses
// with any memory.
//
// The memory of a process beside its items (code, heap, buffers) is that of an equal run with a
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
  /** Of the whole process, and of that what the process itself takes. */
  readonly residentBytes: number;
  readonly baseBytes: number;
}

const ZIPF = 0.99;
const END = "END\r\n";
const BASE_MIB = 4;
/** Requests that are under way at once. */
const BATCH = 32;

/** Sends, and waits for so many lines, or for one that ends the answer. */
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

/** Numbers below `count`, the small ones often: by a table of sums. */
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

/** Asks for documents, and stores those that are not there. @returns how many that were */
async function getOrStore(socket: Socket, numbers: readonly number[]): Promise<number> {
  // Met or not is known by meta get without the value.
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
  // Spread over the numbers, so that neighbours are not all popular.
  const numberOf = (nth: number) => (nth * 7919) % documents;
  const batches = (count: number, nth: (i: number) => number): number[][] =>
    Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) =>
      Array.from({ length: Math.min(BATCH, count - batch * BATCH) }, (_, i) =>
        nth(batch * BATCH + i),
      ),
    );
  // The popular ones last: as if they had been asked for until now.
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
