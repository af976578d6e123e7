// The compared servers, each in its own process: zcache, and memcached if it is installed.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const CLI = fileURLToPath(
  new URL(`../../src/cli/main.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url),
);
const START_TRIES = 200;
/** Unit of Linux' processor times: the same on all machines on which Node runs. */
const TICKS_A_SECOND = 100;

export interface ServerUnderTest {
  readonly name: string;
  readonly port: number;
  /** Resident memory of the process, bytes. */
  resident(): number;
  /** Processor time of the process since its start, seconds. */
  cpuSeconds(): number;
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly memoryMiB: number;
  readonly threads?: number;
  readonly connectionsMax?: number;
  /** Further arguments for zcache. */
  readonly more?: readonly string[];
}

export function hasMemcached(): boolean {
  try {
    execFileSync("memcached", ["-V"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilItListens(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < START_TRIES; tries++) {
    const listens = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (listens) return;
    if (child.exitCode !== null) break;
    await sleep(50);
  }
  throw new Error(`${child.spawnfile} does not listen on port ${port}`);
}

async function start(name: string, command: string, args: readonly string[], port: number) {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  await untilItListens(port, child);
  const server: ServerUnderTest = {
    name,
    port,
    resident: () => {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
    },
    cpuSeconds: () => {
      // Fields 14 and 15 of proc(5), in ticks, counted from the end of the name of the program.
      const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
    },
    stop: async () => {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    },
  };
  return server;
}

export async function startZcache(options: StartOptions): Promise<ServerUnderTest> {
  const { memoryMiB, threads = 1, connectionsMax = 1024, more = [] } = options;
  const port = await freePort();
  const args = [CLI, "serve", "memcached", "--no-control", "--listen", `127.0.0.1:${port}`];
  const sizes = ["--memory-max", `${memoryMiB}M`, "--max-conns", String(connectionsMax)];
  const command = [...args, ...sizes, "--threads", String(threads), ...more];
  return start(`zcache, ${threads}`, process.execPath, command, port);
}

export async function startMemcached(options: StartOptions): Promise<ServerUnderTest> {
  const { memoryMiB, threads = 1, connectionsMax = 1024 } = options;
  const port = await freePort();
  const where = ["-l", "127.0.0.1", "-p", String(port), "-U", "0", "-u", "nobody"];
  const sizes = ["-m", String(memoryMiB), "-t", String(threads), "-c", String(connectionsMax)];
  return start(`memcached, ${threads}`, "memcached", [...where, ...sizes], port);
}
