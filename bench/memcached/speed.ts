// How fast this server and memcached answer. Both run all the time, and windows of the two
// alternate, because the speed of the machine may change by half within a minute. Ratios are of
// neighbouring windows; the result is their median and range.
import { fill, type Kind, type Load, type LoadResult, runLoad } from "./load.ts";
import { hasMemcached, type ServerUnderTest, startMemcached, startZcache } from "./servers.ts";

const VALUE_BYTES = 1024;
const MEMORY_MIB = 512;

interface Shape {
  readonly name: string;
  readonly kind: Kind;
  readonly connections: number;
  readonly depth: number;
  /** Whether the values are compressible. */
  readonly compressible?: boolean;
}

const META: Shape = { name: "meta get, 16 × 16", kind: "meta", connections: 16, depth: 16 };
const SHAPES: readonly Shape[] = [
  { name: "get, 32 connections, one at a time", kind: "get", connections: 32, depth: 1 },
  { name: "get, 16 × 16", kind: "get", connections: 16, depth: 16 },
  META,
  { name: "set, 16 × 16", kind: "set", connections: 16, depth: 16 },
  { ...META, name: "meta get of documents, 16 × 16", compressible: true },
  { ...META, name: "set of documents, 16 × 16", kind: "set", compressible: true },
];

/** One window of load. */
interface Window {
  readonly perSecond: number;
  /** Operations per second of the server's processor time. */
  readonly perCpuSecond: number;
  readonly p99Ms: number;
}

export interface SpeedRow {
  readonly server: string;
  readonly shape: string;
  readonly windows: readonly Window[];
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

async function measure(server: ServerUnderTest, load: Load): Promise<Window> {
  const before = server.cpuSeconds();
  const result: LoadResult = await runLoad(load);
  const perCpuSecond = result.operations / (server.cpuSeconds() - before);
  return { perSecond: result.perSecond, perCpuSecond, p99Ms: result.p99Ms };
}

/** Measures the servers in turn. @returns a row for each server */
async function inTurn(servers: readonly ServerUnderTest[], shape: Shape, tiny: boolean) {
  const rows = servers.map(({ name }) => ({
    server: name,
    shape: shape.name,
    windows: [] as Window[],
  }));
  const rounds = tiny ? 1 : 7;
  for (let round = 0; round < rounds; round++) {
    for (const [nth, server] of servers.entries()) {
      const load = { ...loadOf(server, shape, tiny), seconds: tiny ? 0.1 : 2 };
      // A first window to warm up the JavaScript engine.
      if (round === 0 && !tiny) await runLoad(load);
      rows[nth]!.windows.push(await measure(server, load));
    }
  }
  return rows;
}

function loadOf({ port }: ServerUnderTest, shape: Shape, tiny: boolean): Load {
  const { kind, connections, depth, compressible = false } = shape;
  const keys = tiny ? 100 : 50_000;
  return {
    port,
    kind,
    connections,
    depth,
    compressible,
    keys,
    valueBytes: VALUE_BYTES,
    seconds: 1,
  };
}

/** @param tiny very short windows: only checks that the benchmark works */
export async function benchSpeed(
  tiny: boolean,
  print: (line: string) => void,
): Promise<SpeedRow[]> {
  const ours = await startZcache({ memoryMiB: MEMORY_MIB });
  const two = await startZcache({ memoryMiB: MEMORY_MIB, threads: 2 });
  const theirs = hasMemcached() ? [await startMemcached({ memoryMiB: MEMORY_MIB })] : [];
  const all = [ours, two, ...theirs];
  const rows: SpeedRow[] = [];
  print(`values of ${VALUE_BYTES} bytes; thousand operations per second`);
  try {
    let filled: boolean | undefined;
    for (const shape of SHAPES) {
      const { compressible = false } = shape;
      if (filled !== compressible)
        for (const server of all) await fill(loadOf(server, shape, tiny));
      filled = compressible;
      const found = await inTurn(shape === META ? all : [ours, ...theirs], shape, tiny);
      rows.push(...found);
      report(shape.name, found[0]!, theirs.length > 0 ? found.at(-1) : undefined, print);
      if (shape === META) report("of two threads to one", found[1]!, found[0], print);
    }
  } finally {
    for (const server of all) await server.stop();
  }
  return rows;
}

function report(
  name: string,
  row: SpeedRow,
  peer: SpeedRow | undefined,
  print: (line: string) => void,
): void {
  const own = `${name}: ${figures(row)}`;
  if (peer === undefined) {
    print(own);
    return;
  }
  const ratios = (what: keyof Window) =>
    row.windows.map((window, nth) => window[what] / peer.windows[nth]![what]);
  const speed = ratios("perSecond");
  const between = `${Math.min(...speed).toFixed(2)} to ${Math.max(...speed).toFixed(2)}`;
  const work = median(ratios("perCpuSecond")).toFixed(2);
  print(
    `${own}; ${peer.server} ${figures(peer)}: ${median(speed).toFixed(2)}× (${between}), ` +
      `for each second of processor time ${work}×`,
  );
}

function figures({ windows }: SpeedRow): string {
  const thousands = median(windows.map(({ perSecond }) => perSecond)) / 1000;
  const p99 = median(windows.map(({ p99Ms }) => p99Ms));
  return `${thousands.toFixed(1)} (p99 ${p99.toFixed(2)} ms)`;
}
