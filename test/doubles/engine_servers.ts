// Servers of a Valkey or Redis cluster for tests and demonstrations: real processes on loopback,
// without files, which end with the process that started them, however that ends.
//
//   startNode       one server that is no cluster, for quick tests
//   startCluster    masters with replicas; the slots are divided evenly
//
// A restarted server is empty. A master must not come back empty while it still owns its slots: its
// replicas would copy the emptiness. So `restart` of a master that has a replica waits for the
// replica's promotion.
//
// Without `cluster-announce-ip` a server does not know its address until another one has met it,
// and clients of the cluster wait for ever.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { has, without } from "../../bench/programs.ts";

const HOST = "127.0.0.1";
const SLOTS = 16384;
/** No wait lasts longer. */
const WAIT_MS = 60_000;
const POLL_MS = 20;
const STARTS_MAX = 5;
/** After which a cluster takes a silent node for failed. */
const NODE_TIMEOUT_MS = 1000;
const PROGRAMS = ["valkey-server", "redis-server"];
const SETPRIV = "/usr/bin/setpriv";

/** The first of them that is installed. */
const PROGRAM = PROGRAMS.find(has);

/** The reason for which tests with servers are skipped; false: they run. */
export const noServers: string | false = PROGRAM === undefined && without("redis-server");

type Reply = string | number | null | Error | readonly Reply[];

/** One server. */
export class EngineServer {
  readonly port: number;
  readonly busPort: number;
  readonly #options: readonly string[];
  readonly #folder: string;
  #process: ChildProcess | undefined;

  constructor(port: number, busPort: number, options: readonly string[], folder: string) {
    this.port = port;
    this.busPort = busPort;
    this.#options = options;
    this.#folder = folder;
  }

  get address(): string {
    return `${HOST}:${this.port}`;
  }

  /** Starts the process, and waits until it answers. @returns false if its port is in use */
  async start(): Promise<boolean> {
    const command = [PROGRAM ?? "redis-server", ...this.#arguments()];
    // A server is killed with the test, even if that is killed.
    if (existsSync(SETPRIV)) command.unshift(SETPRIV, "--pdeathsig", "KILL");
    const process = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const hear = (chunk: unknown) => {
      output += String(chunk);
    };
    process.stdout.on("data", hear);
    process.stderr.on("data", hear);
    const ended = once(process, "exit");
    this.#process = process;
    for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
      if (await this.#answers()) return true;
      const isOver = await Promise.race([ended.then(() => true), sleep(POLL_MS)]);
      if (isOver !== true) continue;
      if (/in use|bind:/i.test(output)) return false;
      throw new Error(`the server ended:\n${output}`);
    }
    throw new Error(`the server on port ${this.port} does not answer:\n${output}`);
  }

  #arguments(): string[] {
    return [
      ...["--port", String(this.port), "--bind", HOST, "--dir", this.#folder],
      ...["--save", "", "--appendonly", "no", "--daemonize", "no", "--protected-mode", "no"],
      ...["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"],
      ...this.#options,
    ];
  }

  async #answers(): Promise<boolean> {
    try {
      await this.command("PING");
      return true;
    } catch (error) {
      // With a password it answers all the same.
      return /NOAUTH|WRONGPASS/.test(String(error));
    }
  }

  /**
   * The answer of a command of words; waits while the server loads the data of its master.
   * @throws Error that the server answers, or of the network
   */
  async command(...words: readonly (string | number)[]): Promise<Reply> {
    for (let waited = 0; ; waited += POLL_MS) {
      try {
        return await this.#command(words);
      } catch (error) {
        if (!/^Error: LOADING /.test(String(error)) || waited >= WAIT_MS) throw error;
        await sleep(POLL_MS);
      }
    }
  }

  async #command(words: readonly (string | number)[]): Promise<Reply> {
    const socket = connect(this.port, HOST);
    try {
      await once(socket, "connect");
      const reply = await ask(socket, words);
      if (reply instanceof Error) throw reply;
      return reply;
    } finally {
      socket.destroy();
    }
  }

  get isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null;
  }

  /** Ends the process as `kill -9` does. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, "exit");
    process.kill("SIGKILL");
    await ended;
  }

  /** Stops the process: its connections stay open, and nothing is answered. */
  pause(): void {
    this.#process!.kill("SIGSTOP");
  }

  resume(): void {
    this.#process!.kill("SIGCONT");
  }

  /** A server of the same port, empty. Its place in the cluster it knows from a file. */
  async restart(): Promise<void> {
    await this.kill();
    await until(() => this.start(), `port ${this.port} is free`);
  }

  /** Kills a server at the end of a test, and removes its files. */
  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A server that is no cluster. @param options more options of its command line */
export function startNode(options: readonly string[] = []): Promise<EngineServer> {
  return startServer(() => options);
}

async function startServer(
  optionsOf: (busPort: number) => readonly string[],
): Promise<EngineServer> {
  for (let nth = 0; nth < STARTS_MAX; nth++) {
    const [port, busPort] = await freePorts();
    const folder = mkdtempSync(join(tmpdir(), "zcache-engine-"));
    const server = new EngineServer(port, busPort, optionsOf(busPort), folder);
    if (await server.start()) return server;
    await server.end();
  }
  throw new Error(`${STARTS_MAX} servers found their ports in use`);
}

/** Two ports that were free just now. */
async function freePorts(): Promise<[number, number]> {
  const listeners = [createServer(), createServer()];
  const ports: number[] = [];
  for (const listener of listeners) {
    listener.listen(0, HOST);
    await once(listener, "listening");
    ports.push((listener.address() as { port: number }).port);
  }
  for (const listener of listeners) {
    listener.close();
    await once(listener, "close");
  }
  return [ports[0]!, ports[1]!];
}

/** What a cluster consists of. */
export interface ClusterOptions {
  /** Default 3. */
  readonly masters?: number;
  /** Replicas of each master (default 0). */
  readonly replicas?: number;
  /** More options of each server's command line. */
  readonly options?: readonly string[];
}

/** A cluster; at first `servers` are the masters, then the replicas. */
export class EngineCluster {
  readonly servers: readonly EngineServer[];

  constructor(servers: readonly EngineServer[]) {
    this.servers = servers;
  }

  /** "host:port" of each server. */
  get nodes(): readonly string[] {
    return this.servers.map(({ address }) => address);
  }

  get running(): readonly EngineServer[] {
    return this.servers.filter(({ isRunning }) => isRunning);
  }

  /** The masters of now, as a running server sees them, without those that have failed. */
  async masters(): Promise<EngineServer[]> {
    const lines = String(await this.running[0]!.command("CLUSTER", "NODES")).split("\n");
    return this.servers.filter(({ address }) =>
      lines.some((line) => line.includes(`${address}@`) && isMaster(line)),
    );
  }

  /** The master that has a slot now. */
  async masterOf(slot: number): Promise<EngineServer> {
    const ranges = (await this.running[0]!.command("CLUSTER", "SLOTS")) as readonly Reply[];
    for (const range of ranges) {
      const [first, last, [, port]] = range as [number, number, [string, number]];
      if (slot >= first && slot <= last) return this.servers.find((one) => one.port === port)!;
    }
    throw new Error(`no master has slot ${slot}`);
  }

  /** Waits until all running servers say that the cluster works. */
  async settled(): Promise<void> {
    const isWell = async (server: EngineServer) =>
      String(await server.command("CLUSTER", "INFO")).includes("cluster_state:ok");
    for (const server of this.running) await until(() => isWell(server), "cluster_state:ok");
  }

  /** Waits until every running replica is connected with its master. */
  async replicated(): Promise<void> {
    const isLinked = async (server: EngineServer) => {
      const text = String(await server.command("INFO", "replication"));
      return text.includes("role:master") || text.includes("master_link_status:up");
    };
    for (const server of this.running) await until(() => isLinked(server), "a link to the master");
  }

  /** A replica that is connected with a master. */
  async replicaOf(master: EngineServer): Promise<EngineServer> {
    const text = String(await master.command("INFO", "replication"));
    const port = Number(/^slave0:ip=[^,]+,port=(\d+)/m.exec(text)?.[1]);
    return this.servers.find((server) => server.port === port)!;
  }

  /**
   * Waits until all servers run, half of them as masters of slots, each of which has sent all of
   * its data to a replica.
   * @returns these masters, by their own account, which others learn later
   */
  async resynchronized(): Promise<EngineServer[]> {
    let masters: EngineServer[] = [];
    const isWhole = async () => {
      const replicas = await Promise.all(this.servers.map(onlineReplicas));
      masters = this.servers.filter((_, nth) => replicas[nth]! > 0);
      return masters.length === this.servers.length / 2;
    };
    await until(isWhole, "a replica of each master");
    await this.settled();
    await this.replicated();
    return masters;
  }

  /** Kills a master, and waits until a replica has taken its place. */
  async failover(server: EngineServer): Promise<void> {
    await (await this.killMaster(server))();
  }

  /** Kills a master. @returns waits until a replica has taken its place */
  async killMaster(server: EngineServer): Promise<() => Promise<void>> {
    const id = String(await server.command("CLUSTER", "MYID"));
    await server.kill();
    return () => this.#replaced(server, id);
  }

  /** Stops a master. @returns waits until a replica has taken its place */
  async pauseMaster(server: EngineServer): Promise<() => Promise<void>> {
    const id = String(await server.command("CLUSTER", "MYID"));
    server.pause();
    return () => this.#replaced(server, id);
  }

  async #replaced({ address }: EngineServer, id: string): Promise<void> {
    const other = this.running.find((server) => server.address !== address)!;
    const isOver = async () => {
      const lines = String(await other.command("CLUSTER", "NODES")).split("\n");
      const line = lines.find((one) => one.startsWith(id)) ?? "";
      // A node that owns slots names them after eight other words.
      return /\bfail\b/.test(line) && line.split(" ").length === 8;
    };
    await until(isOver, `a replica in the place of ${address}`);
    const isWell = async () =>
      String(await other.command("CLUSTER", "INFO")).includes("cluster_state:ok");
    await until(isWell, "cluster_state:ok");
  }

  /** Moves a slot with its keys to another master. */
  async moveSlot(slot: number, to: EngineServer): Promise<void> {
    await this.beginMove(slot, to);
    await this.endMove(slot, to);
  }

  /** From here on the old master answers ASK for keys that it does not have any more. */
  async beginMove(slot: number, to: EngineServer): Promise<void> {
    const from = await this.masterOf(slot);
    const [fromId, toId] = [
      await from.command("CLUSTER", "MYID"),
      await to.command("CLUSTER", "MYID"),
    ];
    await to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", String(fromId));
    await from.command("CLUSTER", "SETSLOT", slot, "MIGRATING", String(toId));
  }

  /** Whether a server is a master by its own account, which others learn later. */
  async #isMaster(server: EngineServer): Promise<boolean> {
    const [role] = (await server.command("ROLE")) as readonly Reply[];
    return String(role) === "master";
  }

  /** Moves the keys, and tells all masters the new owner: they answer MOVED. */
  async endMove(slot: number, to: EngineServer): Promise<void> {
    const from = await this.masterOf(slot);
    const toId = String(await to.command("CLUSTER", "MYID"));
    for (;;) {
      const keys = (await from.command("CLUSTER", "GETKEYSINSLOT", slot, 100)) as string[];
      if (keys.length === 0) break;
      await from.command("MIGRATE", HOST, to.port, "", 0, WAIT_MS, "KEYS", ...keys);
    }
    for (const server of [to, from, ...(await this.masters())]) {
      if (!(await this.#isMaster(server))) continue;
      await server.command("CLUSTER", "SETSLOT", slot, "NODE", toId);
    }
  }

  /** Number of keys in all masters. */
  async keyCount(): Promise<number> {
    let count = 0;
    for (const server of await this.masters()) count += (await server.command("DBSIZE")) as number;
    return count;
  }

  async end(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.end()));
  }
}

/** Replicas of a master that have all of its data; 0 of a replica. */
async function onlineReplicas(server: EngineServer): Promise<number> {
  const text = String(await server.command("INFO", "replication"));
  return text.includes("role:master") ? text.split("state=online").length - 1 : 0;
}

function isMaster(line: string): boolean {
  const flags = line.split(" ")[2]!.split(",");
  return flags.includes("master") && !flags.includes("fail");
}

/** Starts a cluster, and waits until it works. */
export async function startCluster(options: ClusterOptions = {}): Promise<EngineCluster> {
  const { masters = 3, replicas = 0 } = options;
  const count = masters * (1 + replicas);
  const servers = await Promise.all(
    Array.from({ length: count }, () =>
      startServer((busPort) => [
        ...["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"],
        ...["--cluster-announce-ip", HOST, "--cluster-port", String(busPort)],
        ...["--cluster-node-timeout", String(NODE_TIMEOUT_MS)],
        ...["--cluster-replica-validity-factor", "0"],
        ...(options.options ?? []),
      ]),
    ),
  );
  const cluster = new EngineCluster(servers);
  try {
    await form(servers, masters);
    await cluster.settled();
    await cluster.replicated();
    return cluster;
  } catch (error) {
    await cluster.end();
    throw error;
  }
}

async function form(servers: readonly EngineServer[], masters: number): Promise<void> {
  for (const [nth, server] of servers.entries()) {
    await server.command("CLUSTER", "SET-CONFIG-EPOCH", nth + 1);
    if (nth >= masters) continue;
    const first = Math.round((SLOTS * nth) / masters);
    const last = Math.round((SLOTS * (nth + 1)) / masters) - 1;
    await server.command("CLUSTER", "ADDSLOTSRANGE", first, last);
  }
  const [first, ...others] = servers;
  for (const { port, busPort } of others)
    await first!.command("CLUSTER", "MEET", HOST, port, busPort);
  const knowsAll = async (server: EngineServer) => {
    const text = String(await server.command("CLUSTER", "NODES"));
    return text.trim().split("\n").length === servers.length && !text.includes("handshake");
  };
  for (const server of servers) await until(() => knowsAll(server), "nodes that know each other");
  for (const [nth, server] of servers.slice(masters).entries()) {
    const id = String(await servers[nth % masters]!.command("CLUSTER", "MYID"));
    await server.command("CLUSTER", "REPLICATE", id);
  }
}

/** Waits for a condition. @param what it is, for the message when it does not come */
export async function until(isTrue: () => Promise<boolean>, what: string): Promise<void> {
  // Pauses are counted, not the time: the process may have been stopped itself.
  for (let waited = 0; !(await isTrue()); waited += POLL_MS) {
    assert.ok(waited < WAIT_MS, `${what}: not within ${WAIT_MS} ms`);
    await sleep(POLL_MS);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Sends one command, and reads its answer. */
async function ask(socket: Socket, words: readonly (string | number)[]): Promise<Reply> {
  const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
  socket.write(`*${words.length}\r\n${parts.join("")}`);
  let text = "";
  socket.setEncoding("latin1");
  socket.setTimeout(WAIT_MS, () => socket.destroy(new Error("the server does not answer")));
  for await (const chunk of socket) {
    text += String(chunk);
    const parsed = parse(text, 0);
    if (parsed !== undefined) return parsed.reply;
  }
  throw new Error("the server closed the connection");
}

/** @returns undefined if the text is not complete */
function parse(text: string, at: number): { reply: Reply; end: number } | undefined {
  const lineEnd = text.indexOf("\r\n", at);
  if (lineEnd < 0) return undefined;
  const line = text.slice(at + 1, lineEnd);
  const end = lineEnd + 2;
  switch (text[at]) {
    case "+":
      return { reply: line, end };
    case "-":
      return { reply: new Error(line), end };
    case ":":
      return { reply: Number(line), end };
    case "$":
      return parseBulk(text, Number(line), end);
    default:
      return parseArray(text, Number(line), end);
  }
}

function parseBulk(text: string, length: number, at: number) {
  if (length < 0) return { reply: null, end: at };
  const end = at + length + 2;
  return end > text.length ? undefined : { reply: text.slice(at, at + length), end };
}

function parseArray(text: string, length: number, at: number) {
  const reply: Reply[] = [];
  let end = at;
  for (let nth = 0; nth < length; nth++) {
    const parsed = parse(text, end);
    if (parsed === undefined) return undefined;
    reply.push(parsed.reply);
    end = parsed.end;
  }
  return { reply, end };
}
