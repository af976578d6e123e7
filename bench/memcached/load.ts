// A pipelining client that takes little processor time: requests are made beforehand, and replies
// are counted by their length, which is the same for every key.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";
import { documentAt } from "../documents.ts";

export type Kind = "get" | "meta" | "set" | "miss" | "touch" | "gat" | "delete" | "arithmetic";

export interface Load {
  readonly port: number;
  readonly kind: Kind;
  readonly connections: number;
  /** Requests in flight at a time on each connection. */
  readonly depth: number;
  readonly seconds: number;
  readonly keys: number;
  readonly valueBytes: number;
  /** Compressible values, the beginnings of documents (default: incompressible noise). */
  readonly compressible?: boolean;
  /** The part of the requests that are sets instead (default: none). */
  readonly setShare?: number;
}

export interface LoadResult {
  readonly operations: number;
  readonly perSecond: number;
  /** Time of a round of `depth` requests, ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const KEY_DIGITS = 8;
const BATCHES = 64;
const FILL_AT_ONCE = 100;

export function keyOf(number: number): string {
  return `key:${String(number).padStart(KEY_DIGITS, "0")}`;
}

/** Incompressible bytes that depend on the key. */
function bytesOf(key: number, bytes: number): Buffer {
  const random = new Xorshift32(key + 1);
  const value = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at++) value[at] = 33 + random.below(90);
  return value;
}

function valueUnder(key: number, { valueBytes, compressible = false }: Load): Buffer {
  if (!compressible) return bytesOf(key, valueBytes);
  const value = Buffer.alloc(valueBytes, " ");
  value.write(documentAt(key).slice(0, valueBytes), "latin1");
  return value;
}

function requestOf(kind: Kind, key: number, value: Buffer): Buffer {
  const name = keyOf(key);
  if (kind !== "set") return Buffer.from(lineOf(kind, name));
  const head = Buffer.from(`set ${name} 0 0 ${value.length}\r\n`);
  return Buffer.concat([head, value, Buffer.from("\r\n")]);
}

function lineOf(kind: Exclude<Kind, "set">, name: string): string {
  if (kind === "meta") return `mg ${name} v\r\n`;
  if (kind === "arithmetic") return `ma number/${name} N0 J1\r\n`;
  if (kind === "touch") return `touch ${name} 0\r\n`;
  if (kind === "gat") return `gat 0 ${name}\r\n`;
  // No item has such a key.
  if (kind === "delete") return `delete no/${name}\r\n`;
  return kind === "miss" ? `get no/${name}\r\n` : `get ${name}\r\n`;
}

const SHORT_REPLIES = {
  set: "STORED\r\n",
  miss: "END\r\n",
  touch: "TOUCHED\r\n",
  delete: "NOT_FOUND\r\n",
  arithmetic: "HD\r\n",
};

function replyBytesOf(kind: Kind, valueBytes: number): number {
  if (kind === "meta") return `VA ${valueBytes}\r\n`.length + valueBytes + 2;
  if (kind !== "get" && kind !== "gat") return SHORT_REPLIES[kind].length;
  return `VALUE ${keyOf(0)} 0 ${valueBytes}\r\n`.length + valueBytes + "\r\nEND\r\n".length;
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Sends requests and waits for a number of bytes. */
export async function exchange(socket: Socket, request: Buffer, replyBytes: number) {
  let left = replyBytes;
  socket.write(request);
  while (left > 0) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    left -= chunk.length;
  }
}

/** Stores every key, so that all measured gets are hits. */
export async function fill(load: Load): Promise<void> {
  const { port, keys } = load;
  const socket = await open(port);
  for (let key = 0; key < keys; key += FILL_AT_ONCE) {
    const requests: Buffer[] = [];
    for (let i = key; i < Math.min(keys, key + FILL_AT_ONCE); i++) {
      requests.push(requestOf("set", i, valueUnder(i, load)));
    }
    await exchange(socket, Buffer.concat(requests), requests.length * replyBytesOf("set", 0));
  }
  socket.destroy();
}

/**
 * All connections read into this buffer, because the bytes are not used. Without it each read
 * would allocate a buffer, which costs more than the rest of the client.
 */
const READ = new Uint8Array(256 * 1024);

interface Batch {
  readonly bytes: Buffer;
  readonly replyBytes: number;
}

/** Sends rounds of requests on one connection until the time is over. */
class Lane {
  readonly roundsMs: number[] = [];
  readonly socket: Socket;
  readonly #batches: readonly Batch[];
  #next: number;
  #until = 0;
  #left = 0;
  #sentAt = 0;

  constructor(port: number, batches: readonly Batch[]) {
    this.#batches = batches;
    this.#next = Math.floor(Math.random() * batches.length);
    this.socket = connect({
      ...{ port, host: "127.0.0.1", noDelay: true },
      onread: {
        buffer: READ,
        callback: (bytes) => {
          this.#received(bytes);
          return true;
        },
      },
    });
  }

  run(until: number): void {
    this.#until = until;
    this.#send();
  }

  #send(): void {
    const { bytes, replyBytes } = this.#batches[this.#next++ % this.#batches.length]!;
    this.#left = replyBytes;
    this.#sentAt = performance.now();
    this.socket.write(bytes);
  }

  #received(bytes: number): void {
    this.#left -= bytes;
    if (this.#left > 0) return;
    const now = performance.now();
    this.roundsMs.push(now - this.#sentAt);
    if (now < this.#until) this.#send();
    else this.socket.destroy();
  }
}

function batchOf(load: Load, random: Xorshift32): Batch {
  const { kind, depth, keys, valueBytes, setShare = 0 } = load;
  const value = valueUnder(1, load);
  const requests: Buffer[] = [];
  let replyBytes = 0;
  for (let nth = 0; nth < depth; nth++) {
    const one = random.below(100) < setShare * 100 ? "set" : kind;
    requests.push(requestOf(one, random.next() % keys, value));
    replyBytes += replyBytesOf(one, valueBytes);
  }
  return { bytes: Buffer.concat(requests), replyBytes };
}

export async function runLoad(load: Load): Promise<LoadResult> {
  const { port, connections, depth, seconds } = load;
  const random = new Xorshift32(7);
  const batches = Array.from({ length: BATCHES }, () => batchOf(load, random));
  const lanes = Array.from({ length: connections }, () => new Lane(port, batches));
  await Promise.all(lanes.map(({ socket }) => once(socket, "connect")));
  const ends = lanes.map(({ socket }) => once(socket, "close"));
  const began = performance.now();
  for (const lane of lanes) lane.run(began + seconds * 1000);
  await Promise.all(ends);
  const took = (performance.now() - began) / 1000;
  const rounds = lanes.flatMap((lane) => lane.roundsMs).sort((a, b) => a - b);
  return {
    operations: rounds.length * depth,
    perSecond: (rounds.length * depth) / took,
    p50Ms: rounds[Math.floor(rounds.length * 0.5)]!,
    p99Ms: rounds[Math.floor(rounds.length * 0.99)]!,
  };
}
