// Caches in another process, accessed through their usual clients. The server is started for the
// run, on a free port, and its memory counts.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createConnection, createServer } from "node:net";
import { MIB } from "../../src/base/units.ts";
import { type Contender, importPeer, Missing, type Session, type Settings } from "./contender.ts";

const START_MS_MAX = 10_000;
const HOST = "127.0.0.1";

/** What a thread needs to reach the server that another thread has started. */
interface ServerShare {
  readonly port: number;
  readonly pid: number;
}

interface Server extends ServerShare {
  stop(): void;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: HOST, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function start(program: string, args: (port: number) => string[]): Promise<Server> {
  if (spawnSync(program, ["--version"]).error !== undefined) {
    throw new Missing(`${program} is not installed`);
  }
  const port = await freePort();
  const server: ChildProcess = spawn(program, args(port), { stdio: "ignore" });
  const stop = () => void server.kill("SIGKILL");
  process.once("exit", stop);
  for (const end = Date.now() + START_MS_MAX; ; ) {
    if (await answers(port)) return { port, pid: server.pid!, stop };
    if (server.exitCode !== null || Date.now() > end) {
      throw new Missing(`${program} did not start (exit code ${server.exitCode})`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Memory for all values in a server that must hold them, with a margin for its overhead. */
function memoryOf({ memoryBytes, rawBytes, count }: Settings): number {
  return memoryBytes ?? Math.ceil((rawBytes + count * 400) * 1.5) + 64 * MIB;
}

interface MemjsPackage {
  readonly Client: {
    create(
      servers: string,
      options: object,
    ): {
      set(key: string, value: unknown, options: object): Promise<unknown>;
      get(key: string): Promise<{ readonly value: Buffer | null }>;
      close(): void;
    };
  };
}

export const MEMCACHED: Contender = {
  name: "memcached",
  threads: "shared",
  evicts: true,
  open: async (settings, share): Promise<Session> => {
    const { Client } = await importPeer<MemjsPackage>("memjs");
    const megabytes = Math.max(2, Math.floor(memoryOf(settings) / MIB));
    const own =
      share === undefined
        ? await start("memcached", (port) => [
            ...["-p", String(port), "-l", HOST, "-U", "0", "-u", "nobody"],
            ...["-m", String(megabytes), "-t", "2"],
          ])
        : undefined;
    const { port, pid } = own ?? (share as ServerShare);
    const client = Client.create(`${HOST}:${port}`, { timeout: 10, retries: 0 });
    const isText = settings.values === "text";
    return {
      set: (key, value) => client.set(key, value, {}),
      get: async (key) => {
        const { value } = await client.get(key);
        return value !== null && isText ? value.toString() : value;
      },
      share: () => ({ port, pid }),
      helpers: [pid],
      close: () => {
        client.close();
        own?.stop();
      },
    };
  },
};

interface IoredisPackage {
  readonly Redis: new (
    port: number,
    host: string,
  ) => {
    set(key: string, value: unknown): Promise<unknown>;
    get(key: string): Promise<string | null>;
    getBuffer(key: string): Promise<Buffer | null>;
    disconnect(): void;
  };
}

function redis(name: string, policy: string): Contender {
  return {
    name,
    threads: "shared",
    evicts: true,
    open: async (settings, share): Promise<Session> => {
      const { Redis } = await importPeer<IoredisPackage>("ioredis");
      const own =
        share === undefined
          ? await start("redis-server", (port) => [
              ...["--port", String(port), "--bind", HOST, "--save", "", "--appendonly", "no"],
              ...["--maxmemory", String(memoryOf(settings)), "--maxmemory-policy", policy],
            ])
          : undefined;
      const { port, pid } = own ?? (share as ServerShare);
      const client = new Redis(port, HOST);
      return {
        // The client sends a Buffer as it is; it would convert another view to text.
        set: (key, value) => client.set(key, typeof value === "string" ? value : asBuffer(value)),
        get: settings.values === "text" ? (key) => client.get(key) : (key) => client.getBuffer(key),
        share: () => ({ port, pid }),
        helpers: [pid],
        close: () => {
          client.disconnect();
          own?.stop();
        },
      };
    },
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export const REDIS_LFU = redis("redis", "allkeys-lfu");
export const REDIS_LRU = redis("redis-lru", "allkeys-lru");
