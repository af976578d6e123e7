// Random and mutated requests over real sockets, in pieces of random size, from clients that read,
// do not read, or disconnect at any point. The server must go on, must keep the items that were
// stored before, and its memory must not grow. `ZCACHE_FUZZ_INPUTS` and `ZCACHE_FUZZ_SEED` change
// the run.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { Xorshift32 } from "../../src/base/random.ts";
import { MIB } from "../../src/base/units.ts";
import { CAS, Sequences } from "./sequences.ts";
import { type ServerUnderTest, startZcache } from "./servers.ts";

export interface FuzzOptions {
  readonly tiny?: boolean;
  readonly inputs?: number;
  readonly seed?: number;
  /** Certificate and key: one client in four speaks TLS, to a second server. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly print?: (line: string) => void;
}

export interface FuzzResult {
  readonly inputs: number;
  readonly connections: number;
  /** Number of times that an item stored before was missing or wrong. */
  readonly wrong: number;
  /** Unexpected errors that the servers have counted. */
  readonly internalErrors: number;
  /** Resident memory of all servers, after a tenth of the inputs and at the end. */
  readonly residentBytes: readonly [early: number, last: number];
}

const INPUTS = 5_000_000;
const CLIENTS = 24;
const CANARIES = 50;
/** A client that does not end by itself is ended after this time. */
const CLIENT_MS = 3000;
const ANSWER_MS = 60_000;

interface Run {
  readonly random: Xorshift32;
  readonly sequences: Sequences;
  readonly servers: readonly { readonly port: number; readonly isTls: boolean }[];
  readonly inputsMax: number;
  inputs: number;
  connections: number;
}

function open(port: number, isTls: boolean): Socket {
  if (!isTls) return connect({ port, host: "127.0.0.1", noDelay: true });
  return connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
}

/** Correct requests, requests with bytes changed, removed or inserted, and random bytes. */
function input(run: Run): Buffer {
  const { random, sequences } = run;
  const kind = random.below(12);
  if (kind === 0) {
    run.inputs++;
    return Buffer.from(Array.from({ length: random.below(80) }, () => random.below(256)));
  }
  if (kind === 1) {
    run.inputs++;
    const key = "k".repeat(1 + random.below(300));
    const keys = `${key} `.repeat(random.below(4000 / key.length) + 1);
    return Buffer.from(`${["get", "gets", "gat 5"][random.below(3)]} ${keys}\r\n`);
  }
  const { segments, requests } = sequences.next();
  run.inputs += requests;
  const cas = String(random.below(1000)).padStart(CAS.length, "0");
  const whole = Buffer.concat(segments).toString("latin1").replaceAll(CAS, cas);
  const bytes = Buffer.from(whole, "latin1");
  return kind < 6 ? mutated(bytes, random) : bytes;
}

function mutated(bytes: Buffer, random: Xorshift32): Buffer {
  let result = Buffer.from(bytes);
  for (let i = random.below(6); i >= 0 && result.length > 0; i--) {
    const at = random.below(result.length);
    const [before, behind] = [result.subarray(0, at), result.subarray(at)];
    switch (random.below(5)) {
      case 0:
        result[at] = random.below(256);
        break;
      case 1:
        result = Buffer.concat([before, behind.subarray(1 + random.below(8))]);
        break;
      case 2:
        result = Buffer.concat([
          before,
          Buffer.from(["\r\n", "\n", " ", "\0"][random.below(4)]!),
          behind,
        ]);
        break;
      case 3:
        result = Buffer.concat([before, behind.subarray(0, random.below(behind.length + 1))]);
        break;
      default:
        result[at]! ^= 1 << random.below(8);
    }
  }
  return result;
}

/** Runs one client after the other until the number of inputs is reached. */
async function clients(run: Run): Promise<void> {
  const { random, servers, inputsMax } = run;
  while (run.inputs < inputsMax) {
    run.connections++;
    const { port, isTls } = servers[random.below(4) === 0 ? servers.length - 1 : 0]!;
    const socket = open(port, isTls);
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.on("error", () => {});
    if (random.below(12) > 0) socket.resume();
    else socket.pause();
    const timer = setTimeout(() => socket.destroy(), CLIENT_MS);
    for (let left = 1 + random.below(12); left > 0 && !socket.destroyed; left--) {
      await sendInPieces(socket, input(run), random);
      if (socket.writableLength > MIB) break;
    }
    if (random.below(3) === 0) socket.destroy();
    else socket.end();
    await closed;
    clearTimeout(timer);
  }
}

async function sendInPieces(socket: Socket, bytes: Buffer, random: Xorshift32): Promise<void> {
  // Mostly in one piece or two; now and then byte by byte.
  const most = [bytes.length, bytes.length, 1 + bytes.length / 2, 100, 3][random.below(5)]!;
  for (let at = 0; at < bytes.length && !socket.destroyed; ) {
    const piece = Math.min(bytes.length - at, 1 + random.below(Math.max(1, Math.ceil(most))));
    socket.write(bytes.subarray(at, at + piece));
    at += piece;
    if (random.below(4) === 0) await turn();
  }
}

/** A connection that sends one request at a time. */
class Canary {
  readonly #socket: Socket;

  constructor(port: number, isTls: boolean) {
    this.#socket = open(port, isTls);
  }

  async ask(text: string, end: string): Promise<string> {
    this.#socket.write(text);
    let answer = "";
    const until = AbortSignal.timeout(ANSWER_MS);
    while (!answer.endsWith(end)) {
      const [chunk] = (await once(this.#socket, "data", { signal: until })) as [Buffer];
      answer += chunk.toString("latin1");
    }
    return answer;
  }

  async store(): Promise<void> {
    for (let i = 0; i < CANARIES; i++) {
      const value = canaryValue(i);
      await this.ask(`set canary.${i}. 7 0 ${value.length}\r\n${value}\r\n`, "STORED\r\n");
    }
  }

  /** @returns the number of items that are missing or wrong */
  async check(): Promise<number> {
    let wrong = 0;
    for (let i = 0; i < CANARIES; i++) {
      const answer = await this.ask(`get canary.${i}.\r\n`, "END\r\n");
      const value = canaryValue(i);
      if (answer !== `VALUE canary.${i}. 7 ${value.length}\r\n${value}\r\nEND\r\n`) wrong++;
    }
    return wrong;
  }

  async internalErrors(): Promise<number> {
    return Number(/internal_errors (\d+)/.exec(await this.ask("stats\r\n", "END\r\n"))![1]);
  }

  close(): void {
    this.#socket.destroy();
  }
}

function canaryValue(nth: number): string {
  return `${nth}:${"z".repeat(nth * 97)}`;
}

export async function benchFuzz(options: FuzzOptions = {}): Promise<FuzzResult> {
  const { tiny = false, tls, print = console.log } = options;
  const given = Number(process.env["ZCACHE_FUZZ_INPUTS"] ?? INPUTS);
  const inputsMax = options.inputs ?? (tiny ? 2000 : given);
  const seed = options.seed ?? Number(process.env["ZCACHE_FUZZ_SEED"] ?? 1);
  // The items stored before must stay: no input flushes, and nothing is evicted.
  const more = ["--no-flush", "--no-evict"];
  const memory = { memoryMiB: 64, more };
  const servers: ServerUnderTest[] = [await startZcache(memory)];
  if (tls !== undefined) {
    const files = ["--tls-cert", tls.cert, "--tls-key", tls.key];
    servers.push(await startZcache({ ...memory, more: [...more, ...files] }));
  }
  const kinds = servers.map(({ port }, nth) => ({ port, isTls: nth > 0 }));
  const canaries = kinds.map(({ port, isTls }) => new Canary(port, isTls));
  try {
    for (const canary of canaries) await canary.store();
    const sequences = new Sequences(seed);
    const random = new Xorshift32(seed * 7919);
    const run: Run = { random, sequences, servers: kinds, inputsMax, inputs: 0, connections: 0 };
    const all = Promise.all(Array.from({ length: CLIENTS }, () => clients(run)));
    let isOver = false;
    void all.finally(() => {
      isOver = true;
    });
    let wrong = 0;
    let early = 0;
    while (!isOver) {
      for (const canary of canaries) wrong += await canary.check();
      if (early === 0 && run.inputs >= inputsMax / 10) early = residentOf(servers);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await all;
    for (const canary of canaries) wrong += await canary.check();
    let internalErrors = 0;
    for (const canary of canaries) internalErrors += await canary.internalErrors();
    const last = residentOf(servers);
    const { inputs, connections } = run;
    const result: FuzzResult = {
      ...{ inputs, connections, wrong, internalErrors },
      residentBytes: [early === 0 ? last : early, last],
    };
    print(`memcached, ${inputs} inputs of seed ${seed} over ${connections} connections:`);
    print(
      `  ${wrong} wrong, ${internalErrors} internal errors, resident after a tenth and at the end:`,
    );
    print(`  ${result.residentBytes.map((bytes) => `${Math.round(bytes / MIB)} MiB`).join(", ")}`);
    return result;
  } finally {
    for (const canary of canaries) canary.close();
    for (const server of servers) await server.stop();
  }
}

function residentOf(servers: readonly ServerUnderTest[]): number {
  return servers.reduce((sum, server) => sum + server.resident(), 0);
}
