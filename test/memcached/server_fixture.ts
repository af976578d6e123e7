// A server in this process, on a free port or a Unix socket, and clients that wait for a reply, a
// number of bytes or the end of the connection, never longer than a deadline.
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Endpoint } from "../../src/memcached/endpoint.ts";
import { openItems } from "../../src/memcached/items/open.ts";
import { type MemcachedOptions, MemcachedServer } from "../../src/memcached/server.ts";
import type { MemcachedSettings } from "../../src/memcached/settings.ts";

const DEADLINE_MS = 120_000;
export const WORKER_URL = new URL(
  `../../src/memcached/worker.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`,
  import.meta.url,
);

export async function startServer(
  settings: Partial<MemcachedSettings> = {},
  endpoint: Endpoint = {},
  open: typeof openItems = openItems,
  more: Partial<MemcachedOptions> = {},
): Promise<MemcachedServer> {
  return MemcachedServer.start({
    settings,
    endpoints: [endpoint],
    open,
    worker: WORKER_URL,
    onShutdown: () => {},
    ...more,
  });
}

export function portOf(server: MemcachedServer): number {
  return Number(/:(\d+)$/.exec(server.addresses[0]!)![1]);
}

export class Client {
  readonly socket: Socket;
  #received: Buffer[] = [];
  #bytes = 0;
  #wake: (() => void) | undefined;
  ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.#received.push(chunk as Buffer);
      this.#bytes += chunk.length;
      this.#wake?.();
    });
    const end = () => {
      this.ended = true;
      this.#wake?.();
    };
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", end);
  }

  static async open(where: NetConnectOpts): Promise<Client> {
    const socket = connect(where);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new Client(socket);
  }

  get bytes(): number {
    return this.#bytes;
  }

  send(data: string | Uint8Array): void {
    this.socket.write(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }

  /** Waits until `enough` accepts the received bytes. @throws after a deadline */
  async until(enough: (text: string) => boolean): Promise<string> {
    return this.#wait(() => {
      const text = Buffer.concat(this.#received).toString("latin1");
      return enough(text) ? text : undefined;
    });
  }

  /** Sends a request and returns the reply, which ends with `end`. */
  async ask(data: string, end = "\r\n"): Promise<string> {
    this.send(data);
    const text = await this.until((so) => so.endsWith(end));
    this.#received = [];
    return text;
  }

  async untilBytes(bytes: number): Promise<Buffer> {
    return this.#wait(() => (this.#bytes >= bytes ? Buffer.concat(this.#received) : undefined));
  }

  async untilEnd(): Promise<string> {
    return this.#wait(() =>
      this.ended ? Buffer.concat(this.#received).toString("latin1") : undefined,
    );
  }

  close(): void {
    this.socket.destroy();
  }

  async #wait<T>(ready: () => T | undefined): Promise<T> {
    const until = Date.now() + DEADLINE_MS;
    for (;;) {
      const result = ready();
      if (result !== undefined) return result;
      const left = until - Date.now();
      if (left <= 0) throw new Error(`nothing more came; ${this.#bytes} bytes so far`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }
}

/** A request that stores a value with the flags 7. */
export function set(key: string, value: string, expiry = 0): string {
  return `set ${key} 7 ${expiry} ${value.length}\r\n${value}\r\n`;
}

/** Random printable bytes, which no codec compresses well. */
export function noise(seed: number, bytes: number): string {
  const random = new Xorshift32(seed + 1);
  const value = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at++) value[at] = 33 + random.below(90);
  return value.toString("latin1");
}
