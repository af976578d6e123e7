// What several shards cost a memcached server: servers of this program that differ in their number
// of shards answer the same load in alternating windows.
import { fill, type Kind, type Load, runLoad } from "./load.ts";
import { type ServerUnderTest, startZcache } from "./servers.ts";
import { median } from "./speed.ts";

const VALUE_BYTES = 1024;
const MEMORY_MIB = 512;

interface Shape {
  readonly kind: Kind;
  readonly connections: number;
  readonly depth: number;
  readonly setShare?: number;
}

const pipelined = (kind: Kind): Shape => ({ kind, connections: 16, depth: 16 });
const SHAPES: readonly Shape[] = [
  pipelined("get"),
  pipelined("meta"),
  { kind: "get", connections: 32, depth: 1 },
  ...(["miss", "set", "touch", "gat", "delete", "arithmetic"] as const).map(pipelined),
];
const MIXES = [0.05, 0.5].map((setShare) => ({ ...pipelined("get"), setShare }));

export interface ShardsRow {
  readonly shape: Shape;
  readonly threads: number;
  readonly shards: readonly number[];
  /** Medians for each number of shards, to the first: processor time of a request, throughput. */
  readonly work: readonly number[];
  readonly speed: readonly number[];
}

export interface ShardsOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

export async function benchShards(options: ShardsOptions = {}): Promise<ShardsRow[]> {
  const rows = await compare([1, 3, 8], 1, SHAPES, options);
  return [...rows, ...(await compare([1, 4], 2, MIXES, options))];
}

async function compare(
  shards: readonly number[],
  threads: number,
  shapes: readonly Shape[],
  { tiny = false, print = console.log }: ShardsOptions,
): Promise<ShardsRow[]> {
  const servers: ServerUnderTest[] = [];
  const rows: ShardsRow[] = [];
  try {
    for (const one of shards) {
      const more = ["--no-tiers", "--shards", String(one)];
      servers.push(await startZcache({ memoryMiB: MEMORY_MIB, threads, more }));
    }
    const [first] = shapes;
    for (const server of servers) await fill(loadOf(server, first!, tiny));
    for (const shape of shapes) {
      const row = { shape, threads, shards, ...(await inTurn(servers, shape, tiny)) };
      rows.push(row);
      print(line(row));
    }
  } finally {
    for (const server of servers) await server.stop();
  }
  return rows;
}

function loadOf({ port }: ServerUnderTest, shape: Shape, tiny: boolean): Load {
  const keys = tiny ? 100 : 20_000;
  return { ...shape, port, keys, valueBytes: VALUE_BYTES, seconds: tiny ? 0.1 : 0.5 };
}

/** Measures the servers in turn. @returns medians of the ratios to the first */
async function inTurn(servers: readonly ServerUnderTest[], shape: Shape, tiny: boolean) {
  const ratios = servers.map(() => ({ work: [] as number[], speed: [] as number[] }));
  const rounds = tiny ? 1 : 5;
  for (let round = tiny ? 0 : -1; round < rounds; round++) {
    let base: { readonly work: number; readonly speed: number } | undefined;
    for (const [nth, server] of servers.entries()) {
      const before = server.cpuSeconds();
      const { operations, perSecond } = await runLoad(loadOf(server, shape, tiny));
      const found = { work: (server.cpuSeconds() - before) / operations, speed: perSecond };
      base ??= found;
      // The first round warms up the JavaScript engine.
      if (round < 0) continue;
      ratios[nth]!.work.push(found.work / base.work);
      ratios[nth]!.speed.push(found.speed / base.speed);
    }
  }
  return {
    work: ratios.map(({ work }) => median(work)),
    speed: ratios.map(({ speed }) => median(speed)),
  };
}

function line({ shape, threads, shards, work, speed }: ShardsRow): string {
  const { kind, connections, depth, setShare = 0 } = shape;
  const name = setShare === 0 ? kind : `${kind}, ${setShare * 100} % set`;
  const figures = shards.map(
    (one, nth) => `${one}: ${work[nth]!.toFixed(2)} (${speed[nth]!.toFixed(2)})`,
  );
  return (
    `${threads} thread(s), ${name}, ${connections} × ${depth}: ` +
    `processor time (throughput) with shards ${figures.join(", ")}`
  );
}
