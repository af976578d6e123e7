// The server against memcached 1.6 in the same run, by one load generator: speed, what is held in
// the same memory, idle connections, and clients that misbehave.
//
// The generator runs in this process and takes a processor of its own. What the system's network
// takes is taken from both.
import { spawn } from "node:child_process";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatBytes } from "../../src/base/units.ts";
import { benchHold, type HoldRow } from "./hold.ts";
import { fill, type Kind, type Load, type LoadResult, runLoad } from "./load.ts";
import { hasMemcached, type ServerUnderTest, startMemcached, startZcache } from "./servers.ts";

export interface MemcachedBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
}

interface Shape {
  readonly name: string;
  readonly kind: Kind;
  readonly connections: number;
  readonly depth: number;
}

const SHAPES: readonly Shape[] = [
  { name: "get, 32 connections, one at a time", kind: "get", connections: 32, depth: 1 },
  { name: "get, 16 × 16", kind: "get", connections: 16, depth: 16 },
  { name: "meta get, 16 × 16", kind: "meta", connections: 16, depth: 16 },
  { name: "set, 16 × 16", kind: "set", connections: 16, depth: 16 },
];
const COMPRESSIBLE: Shape = {
  name: "meta get of documents, 16 × 16",
  kind: "meta",
  connections: 16,
  depth: 16,
};
const ALL_SHAPES = [...SHAPES, COMPRESSIBLE];

export interface SpeedRow {
  readonly server: string;
  readonly shape: string;
  readonly perSecond: number;
  /** Operations for each second of processor time that the server took. */
  readonly perCpuSecond: number;
  readonly p99Ms: number;
}

export interface MemcachedBenchResult {
  readonly speed: readonly SpeedRow[];
  readonly held: readonly HoldRow[];
  readonly idleBytes: number;
  readonly disturbed: number;
}

const VALUE_BYTES = 1024;
const MISBEHAVE = new URL(
  `./misbehave_child.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`,
  import.meta.url,
);

export async function benchMemcached(
  options: MemcachedBenchOptions = {},
): Promise<MemcachedBenchResult> {
  const { tiny = false, print = console.log } = options;
  const starts = [startZcache, ...(hasMemcached() ? [startMemcached] : [])];
  if (starts.length === 1) print("memcached is not installed: nothing to compare with");
  const speed: SpeedRow[] = [];
  for (const start of starts) {
    const server = await start({ memoryMiB: 1024 });
    try {
      speed.push(...(await speedOf(server, tiny)));
    } finally {
      await server.stop();
    }
  }
  reportSpeed(speed, print);
  await reportThreads(tiny, print);
  const held: HoldRow[] = [];
  for (const start of starts) held.push(await benchHold(start, tiny));
  for (const row of held) {
    const share = ((100 * row.misses) / row.gets).toFixed(1);
    print(
      `${row.server}: ${row.items} documents in ${row.memoryMiB} MiB, ${share} % misses, ` +
        `${formatBytes(row.residentBytes)} resident, ` +
        `${formatBytes(row.residentBytes - row.baseBytes)} of it for items`,
    );
  }
  const idleBytes = await idle(tiny ? 50 : 10_000, print);
  const disturbed = await disturbance(tiny, print);
  return { speed, held, idleBytes, disturbed };
}

async function speedOf(server: ServerUnderTest, tiny: boolean): Promise<SpeedRow[]> {
  const base = {
    port: server.port,
    seconds: tiny ? 0.1 : 4,
    keys: tiny ? 100 : 50_000,
    valueBytes: VALUE_BYTES,
  };
  const rows: SpeedRow[] = [];
  const measure = async ({ name, kind, connections, depth }: Shape, compressible: boolean) => {
    const load: Load = { ...base, kind, connections, depth, compressible };
    // Once for the engine to warm up.
    if (!tiny) await runLoad({ ...load, seconds: 1 });
    const before = server.cpuSeconds();
    const { operations, perSecond, p99Ms } = await runLoad(load);
    const perCpuSecond = operations / (server.cpuSeconds() - before);
    rows.push({ server: server.name, shape: name, perSecond, perCpuSecond, p99Ms });
  };
  const one: Load = { ...base, kind: "set", connections: 1, depth: 1 };
  await fill(one);
  for (const shape of SHAPES) await measure(shape, false);
  await fill({ ...one, compressible: true });
  await measure(COMPRESSIBLE, true);
  return rows;
}

function reportSpeed(rows: readonly SpeedRow[], print: (line: string) => void): void {
  print(`values of ${VALUE_BYTES} bytes; thousand operations per second`);
  for (const { name } of ALL_SHAPES) {
    const [ours, theirs] = rows.filter((row) => row.shape === name);
    const own = `${(ours!.perSecond / 1000).toFixed(1)} (p99 ${ours!.p99Ms.toFixed(2)} ms)`;
    if (theirs === undefined) print(`${name.padEnd(36)} ${own}`);
    else {
      const peer = `memcached ${(theirs.perSecond / 1000).toFixed(1)}`;
      const ratio = (ours!.perSecond / theirs.perSecond).toFixed(2);
      const work = (ours!.perCpuSecond / theirs.perCpuSecond).toFixed(2);
      print(
        `${name.padEnd(36)} ${own}, ${peer} (p99 ${theirs.p99Ms.toFixed(2)} ms): ${ratio}×; ` +
          `for each second of processor time ${work}×`,
      );
    }
  }
}

/** Two threads against one, in turn: wall clock, which needs a machine that has time for them. */
async function reportThreads(tiny: boolean, print: (line: string) => void): Promise<void> {
  const rows: string[] = [];
  for (const threads of [1, 2]) {
    const server = await startZcache({ memoryMiB: 256, threads });
    const load: Load = {
      ...{ port: server.port, kind: "meta", connections: 16, depth: 16 },
      ...{ seconds: tiny ? 0.1 : 4, keys: tiny ? 100 : 50_000, valueBytes: VALUE_BYTES },
    };
    try {
      await fill(load);
      if (!tiny) await runLoad({ ...load, seconds: 1 });
      rows.push(`${((await runLoad(load)).perSecond / 1000).toFixed(1)} with ${threads}`);
    } finally {
      await server.stop();
    }
  }
  print(`meta get, 16 × 16, threads: ${rows.join(", ")}`);
}

async function openMany(port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    sockets.push(socket);
  }
  return sockets;
}

/** What connections that say nothing take. @returns bytes of all of them */
async function idle(connections: number, print: (line: string) => void): Promise<number> {
  const server = await startZcache({ memoryMiB: 64, connectionsMax: connections + 10 });
  try {
    await sleep(300);
    const before = server.resident();
    const sockets = await openMany(server.port, connections);
    await sleep(500);
    const taken = server.resident() - before;
    for (const socket of sockets) socket.destroy();
    const all = formatBytes(before + taken);
    print(`${connections} idle connections: ${formatBytes(taken)}, the whole server ${all}`);
    return taken;
  } finally {
    await server.stop();
  }
}

/** @returns what ends them */
function misbehave(port: number): () => void {
  const child = spawn(process.execPath, [fileURLToPath(MISBEHAVE), String(port)], {
    stdio: "ignore",
  });
  return () => child.kill("SIGKILL");
}

/** @returns how many times longer the others' p99 is */
async function disturbance(tiny: boolean, print: (line: string) => void): Promise<number> {
  const server = await startZcache({ memoryMiB: 64 });
  const load: Load = {
    port: server.port,
    kind: "get",
    connections: 8,
    depth: 4,
    seconds: tiny ? 0.1 : 4,
    keys: 1000,
    valueBytes: VALUE_BYTES,
  };
  try {
    await fill(load);
    if (!tiny) await runLoad(load);
    const alone: LoadResult = await runLoad(load);
    const stop = misbehave(server.port);
    await sleep(500);
    const among: LoadResult = await runLoad(load);
    stop();
    const ratio = among.p99Ms / alone.p99Ms;
    print(
      `p99 ${alone.p99Ms.toFixed(2)} ms; beside a client that does not read, one that sends a ` +
        `byte a second and one that sends garbage ${among.p99Ms.toFixed(2)} ms: ` +
        `${ratio.toFixed(2)}×`,
    );
    return ratio;
  } finally {
    await server.stop();
  }
}
