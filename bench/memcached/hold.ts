// How many documents fit, and how often one is missed: those that are asked for are drawn by Zipf's
// law, and what is missed is stored.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";
import { documentAt } from "../documents.ts";
import { keyOf } from "./load.ts";
import type { ServerUnderTest, StartOptions } from "./servers.ts";

export interface HoldRow {
  readonly server: string;
  readonly memoryMiB: number;
  readonly items: number;
  readonly gets: number;
  readonly misses: number;
  readonly residentBytes: number;
}

const ZIPF = 0.99;
const END = "END\r\n";

/** Lines of a server, and how many bytes of each it takes to know that they are all there. */
async function ask(socket: Socket, request: string | Buffer, end: string): Promise<string> {
  socket.write(request);
  let text = "";
  while (!text.endsWith(end)) {
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

export async function benchHold(
  start: (options: StartOptions) => Promise<ServerUnderTest>,
  tiny: boolean,
): Promise<HoldRow> {
  const memoryMiB = 64;
  const documents = tiny ? 300 : 100_000;
  const gets = tiny ? 500 : 300_000;
  const warm = Math.floor(gets / 2);
  const server = await start({ memoryMiB });
  const socket = connect(server.port, "127.0.0.1");
  await once(socket, "connect");
  try {
    const random = new Xorshift32(11);
    const draw = zipf(documents);
    let misses = 0;
    for (let i = 0; i < gets; i++) {
      // Spread over the numbers, so that neighbours are not all popular.
      const number = (draw(random.next() / 2 ** 32) * 7919) % documents;
      const key = keyOf(number);
      // Met or not is known by meta get without the value.
      const found = (await ask(socket, `mg ${key}\r\n`, "\r\n")).startsWith("HD");
      if (found) continue;
      if (i >= warm) misses++;
      const value = Buffer.from(documentAt(number));
      const head = Buffer.from(`set ${key} 0 0 ${value.length}\r\n`);
      await ask(socket, Buffer.concat([head, value, Buffer.from("\r\n")]), "\r\n");
    }
    const stats = await ask(socket, "stats\r\n", END);
    const items = Number(/curr_items (\d+)/.exec(stats)![1]);
    const residentBytes = server.resident();
    return { server: server.name, memoryMiB, items, gets: gets - warm, misses, residentBytes };
  } finally {
    socket.destroy();
    await server.stop();
  }
}
