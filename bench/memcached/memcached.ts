// This server and memcached 1.6 in the same run, with one load generator: speed, items held in the
// same memory, idle connections, and clients that misbehave.
//
// The generator runs in this process and uses a processor for itself. The cost of the system's
// network is the same for both servers.
import { spawn } from "node:child_process";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatBytes } from "../../src/base/units.ts";
import { benchHold, type HoldRow } from "./hold.ts";
import { fill, type Load, runLoad } from "./load.ts";
import { hasMemcached, startMemcached, startZcache } from "./servers.ts";
import { benchSpeed, median, type SpeedRow } from "./speed.ts";

export interface MemcachedBenchOptions {
  readonly tiny?: boolean;
  readonly print?: (line: string) => void;
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
  const speed = await benchSpeed(tiny, print);
  const held = await inTurn(starts, (start) => benchHold(start, tiny));
  for (const row of held) {
    const share = ((100 * row.misses) / row.gets).toFixed(1);
    print(
      `${row.server}: ${row.items} documents in ${row.memoryMiB} MiB, ${share} % misses, ` +
        `${formatBytes(row.residentBytes)} resident, ` +
        `${formatBytes(row.residentBytes - row.baseBytes)} of it for items`,
    );
  }
  const idleBytes = await idle(tiny ? 50 : 10_000, print);
  const [disturbed] = await inTurn(starts, (start) => disturbance(start, tiny, print));
  return { speed, held, idleBytes, disturbed: disturbed! };
}

async function inTurn<T, R>(list: readonly T[], work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const one of list) results.push(await work(one));
  return results;
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

/** Opens idle connections. @returns the bytes that all of them take in the server */
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

/** Starts the misbehaving clients. @returns a function that ends them */
function misbehave(port: number): () => void {
  const child = spawn(process.execPath, [fileURLToPath(MISBEHAVE), String(port)], {
    stdio: "ignore",
  });
  return () => child.kill("SIGKILL");
}

/**
 * Measures in short alternating windows, because a stall of the machine decides the p99 of the
 * window in which it happens. @returns p99 beside misbehaving clients ÷ p99 without them
 */
async function disturbance(
  start: typeof startZcache,
  tiny: boolean,
  print: (line: string) => void,
): Promise<number> {
  const server = await start({ memoryMiB: 64 });
  const load: Load = {
    port: server.port,
    kind: "get",
    connections: 8,
    depth: 4,
    seconds: tiny ? 0.1 : 1,
    keys: 1000,
    valueBytes: VALUE_BYTES,
  };
  try {
    await fill(load);
    if (!tiny) await runLoad({ ...load, seconds: 4 });
    const alone: number[] = [];
    const among: number[] = [];
    for (let round = 0; round < (tiny ? 1 : 15); round++) {
      alone.push((await runLoad(load)).p99Ms);
      const stop = misbehave(server.port);
      await sleep(300);
      among.push((await runLoad(load)).p99Ms);
      stop();
    }
    const ratio = median(among) / median(alone);
    print(
      `${server.name}: p99 ${median(alone).toFixed(2)} ms; beside a client that does not read, ` +
        `one that sends a byte a second and one that sends garbage ${median(among).toFixed(2)} ` +
        `ms: ${ratio.toFixed(2)}×`,
    );
    return ratio;
  } finally {
    await server.stop();
  }
}
