// Mixed load for twenty minutes, with expiry and churn; every value that is read is checked. No
// value may be wrong, and memory must not grow. `ZCACHE_SOAK_MINUTES` changes the time.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { documentAt } from "../documents.ts";
import { keyOf } from "./load.ts";
import { startZcache } from "./servers.ts";

export interface SoakResult {
  readonly operations: number;
  readonly hits: number;
  readonly errors: number;
  /** Resident memory after each twentieth of the time. */
  readonly residentBytes: readonly number[];
}

interface Tally {
  operations: number;
  hits: number;
  errors: number;
}

const MINUTES = 20;
const CONNECTIONS = 8;
const DOCUMENTS = 200_000;
/** The statistics that are read from the server at the end. */
const FIGURES = [
  ...["curr_items", "evictions", "get_hits", "get_misses", "get_expired", "cmd_touch"],
  ...["delete_hits", "crawler_reclaimed", "recompressed_pages", "usedBytes", "limit_maxbytes"],
];

async function ask(socket: Socket, request: Buffer, ends: (text: Buffer) => boolean) {
  socket.write(request);
  const chunks: Buffer[] = [];
  for (;;) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    chunks.push(chunk);
    const text = Buffer.concat(chunks);
    if (ends(text)) return text;
  }
}

const line = (text: Buffer) => text.at(-1) === 10;
/** A value may contain line ends, but must not end with one, which would hide END. */
const list = (text: Buffer) => text.subarray(-5).toString("latin1") === "END\r\n";

/** One client: gets and checks, sets, deletes, touches and expires, until the time is over. */
async function client(port: number, seed: number, until: number, tally: Tally): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const random = new Xorshift32(seed);
  while (performance.now() < until) {
    // The square of a random number: some documents are requested much more often than others.
    const number = Math.floor(DOCUMENTS * (random.below(1e6) / 1e6) ** 3);
    const key = keyOf(number);
    const what = random.below(100);
    tally.operations++;
    if (what < 3) await ask(socket, Buffer.from(`delete ${key}\r\n`), line);
    else if (what < 6) await ask(socket, Buffer.from(`touch ${key} ${random.below(5)}\r\n`), line);
    else {
      const got = await ask(socket, Buffer.from(`get ${key}\r\n`), list);
      const value = Buffer.from(documentAt(number));
      if (got.length > 5) {
        const expected = Buffer.concat([
          Buffer.from(`VALUE ${key} 7 ${value.length}\r\n`),
          value,
          Buffer.from("\r\nEND\r\n"),
        ]);
        if (expected.equals(got)) tally.hits++;
        else tally.errors++;
        continue;
      }
      const expiry = what < 30 ? 1 + random.below(20) : 0;
      const head = Buffer.from(`set ${key} 7 ${expiry} ${value.length}\r\n`);
      const stored = await ask(socket, Buffer.concat([head, value, Buffer.from("\r\n")]), line);
      if (stored.toString() !== "STORED\r\n") tally.errors++;
    }
  }
  socket.destroy();
}

export async function benchSoak(
  options: { readonly tiny?: boolean; readonly print?: (line: string) => void } = {},
): Promise<SoakResult> {
  const { tiny = false, print = console.log } = options;
  const minutes = tiny ? 0.02 : Number(process.env["ZCACHE_SOAK_MINUTES"] ?? MINUTES);
  const server = await startZcache({ memoryMiB: 64 });
  const tally: Tally = { operations: 0, hits: 0, errors: 0 };
  const residentBytes: number[] = [];
  const timer = setInterval(() => residentBytes.push(server.resident()), minutes * 3000);
  try {
    const until = performance.now() + minutes * 60_000;
    const clients = Array.from({ length: CONNECTIONS }, (_, i) =>
      client(server.port, i + 1, until, tally),
    );
    await Promise.all(clients);
    residentBytes.push(server.resident());
    const series = residentBytes.map((bytes) => (bytes / MIB).toFixed(0)).join(" ");
    print(
      `${minutes} minutes: ${tally.operations} operations, ${tally.hits} values checked, ` +
        `${tally.errors} errors; MiB resident after each twentieth of the time: ${series}`,
    );
    for (const line of await figures(server.port)) print(line);
    return { ...tally, residentBytes };
  } finally {
    clearInterval(timer);
    await server.stop();
  }
}

/** The times that the server reports. */
async function figures(port: number): Promise<string[]> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const lines: string[] = [];
  for (const what of ["stats\r\n", "stats zcache\r\n"]) {
    const text = (await ask(socket, Buffer.from(what), list)).toString("latin1");
    const rows = text.split("\r\n").map((row) => row.slice("STAT ".length));
    lines.push(...rows.filter((row) => FIGURES.includes(row.split(" ")[0]!)));
  }
  socket.destroy();
  return [lines.join(", ")];
}
