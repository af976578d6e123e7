// An NBD server: the main thread listens and accepts, workers serve. A connection goes to the
// worker that has the fewest.
import { chmodSync } from "node:fs";
import { BlockList, createServer, isIP, type Server, type Socket } from "node:net";
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../../base/errors.ts";
import { SampledTimes } from "../../base/sampled_times.ts";
import { lend } from "../../node/lent_descriptors.ts";
import { removeStale } from "../stale_socket.ts";
import type { Notice, Order, ServeOrder, TlsShare } from "./thread.ts";
import { REQUEST_KINDS } from "./transmission.ts";

/** Where a server listens. */
export type Listen =
  | { readonly path: string; readonly mode?: number }
  | { readonly host: string; readonly port: number };

export interface ServerOptions {
  readonly listen: readonly Listen[];
  /** Connections at once; more are closed as they come. */
  readonly connectionsMax: number;
  /** Addresses and networks that may connect by TCP, such as "10.0.0.0/8"; none: all may. */
  readonly allow: readonly string[];
}

/** Connections that the system keeps until they are accepted. */
const BACKLOG = 64;
/** A worker is done with its connections in a moment, unless a client hangs. */
const END_WAIT_MS = 2000;

/** Called with the workers that serve nothing any more. */
type Released = (threads: readonly Worker[]) => void;

interface Live {
  readonly socket: Socket;
  readonly worker: ServerWorker;
}

interface ServerWorker {
  readonly thread: Worker;
  connections: number;
}

export class NbdServer {
  readonly #options: ServerOptions;
  readonly #workers: ServerWorker[];
  readonly #listeners: Server[] = [];
  readonly #live = new Map<number, Live>();
  readonly #allowed: BlockList | undefined;
  #next = 1;
  #accepted = 0;
  #refused = 0;
  #closed = false;
  #failed: (error: Error) => void = () => {};
  /** Ends with an error when a worker dies, which is a bug. */
  readonly failure: Promise<never>;
  readonly #released: Released;
  readonly #times: SampledTimes;

  private constructor(
    options: ServerOptions,
    threads: readonly Worker[],
    times: SampledTimes,
    released: Released,
  ) {
    this.#options = options;
    this.#times = times;
    this.#released = released;
    this.#workers = threads.map((thread) => ({ thread, connections: 0 }));
    this.#allowed = options.allow.length === 0 ? undefined : listOf(options.allow);
    this.failure = new Promise((_, reject) => {
      this.#failed = reject;
    });
    this.failure.catch(() => {});
  }

  /**
   * Starts a server on workers that serve nothing yet.
   * @param released is called with them when they serve nothing again
   * @throws ZcacheError ERR_OPTION for addresses that can't be; ERR_IO: it can't listen there; and
   *   what a worker said that could not begin (ERR_ARENA_FULL)
   */
  static async start(
    options: ServerOptions,
    threads: readonly Worker[],
    order: ServeOrder,
    released: Released,
  ): Promise<NbdServer> {
    let server: NbdServer;
    try {
      server = new NbdServer(options, threads, new SampledTimes(order.times), released);
    } catch (error) {
      released(threads);
      throw error;
    }
    const begun = server.#workers.map((worker) => server.#begin(worker, order));
    // All of them say something before one that failed ends the others.
    await Promise.allSettled(begun);
    try {
      await Promise.all(begun);
      for (const listen of options.listen) await server.#listen(listen);
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  /** Where it listens: paths, and HOST:PORT. */
  get addresses(): string[] {
    return this.#listeners.map((listener) => {
      const address = listener.address();
      if (typeof address === "string" || address === null) return address ?? "";
      const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
      return `${host}:${address.port}`;
    });
  }

  stats(): { connections: number; accepted: number; refused: number } {
    return { connections: this.#live.size, accepted: this.#accepted, refused: this.#refused };
  }

  /** Takes other certificates, for connections to come; see `tlsShare` of the entry point. */
  renewTls(tls: TlsShare): void {
    for (const { thread } of this.#workers) tell(thread, { order: "tls", tls });
  }

  /** Times of requests by kind, of one in sixty-four: ns, and how many took up to that. */
  latencies(): Record<(typeof REQUEST_KINDS)[number], [upToNs: number, count: number][]> {
    const kinds = REQUEST_KINDS.map((kind, nth) => [kind, this.#times.buckets(nth)] as const);
    return Object.fromEntries(kinds) as ReturnType<NbdServer["latencies"]>;
  }

  /** Ends all connections and listens no more. @returns when the workers serve nothing */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const listener of this.#listeners) listener.close();
    const ended = await Promise.all(this.#workers.map((worker) => this.#end(worker)));
    // One that has not ended has a client that does not read, and bytes for it: the descriptor
    // stays open until that client goes, and the worker is not used again.
    this.#released(this.#workers.filter((_, nth) => ended[nth]).map(({ thread }) => thread));
  }

  #begin(worker: ServerWorker, order: ServeOrder): Promise<void> {
    const { thread } = worker;
    return new Promise((resolve, reject) => {
      thread.on("message", (message: Notice) => {
        if (message.notice === "serves") resolve();
        else if (message.notice === "over") this.#over(message.connection);
        else if (message.notice === "failed") {
          reject(new ZcacheError(message.code as ZcacheError["code"], message.message));
        }
      });
      thread.on("error", (error) => {
        reject(error);
        // Its end has closed the descriptors of its connections: they must not be closed again.
        for (const [id, live] of this.#live) if (live.worker === worker) this.#live.delete(id);
        this.#failed(error as Error);
      });
      tell(thread, order);
    });
  }

  /** @returns whether all its connections have ended in time */
  #end({ thread }: ServerWorker): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        thread.unref();
        resolve(false);
      }, END_WAIT_MS);
      thread.on("message", (message: Notice) => {
        if (message.notice !== "ended") return;
        clearTimeout(timer);
        thread.removeAllListeners("message");
        thread.removeAllListeners("error");
        resolve(true);
      });
      tell(thread, { order: "end" });
    });
  }

  async #listen(listen: Listen): Promise<void> {
    if ("path" in listen) await removeStale(listen.path);
    // Half-open, and never read: what the client does is the worker's business.
    const listener = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) =>
      this.#accept(socket, "port" in listen),
    );
    await new Promise<void>((resolve, reject) => {
      listener.once("error", (cause) => {
        const where = "path" in listen ? listen.path : `${listen.host}:${listen.port}`;
        reject(new ZcacheError("ERR_IO", `can't listen on ${where}: ${cause.message}`, { cause }));
      });
      listener.listen({ ...listen, backlog: BACKLOG }, resolve);
    });
    if ("path" in listen) chmodSync(listen.path, listen.mode ?? 0o600);
    this.#listeners.push(listener);
  }

  #accept(socket: Socket, isTcp: boolean): void {
    const descriptor = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    const isFull = this.#live.size >= this.#options.connectionsMax;
    if (this.#closed || isFull || descriptor < 0 || !this.#mayConnect(socket)) {
      this.#refused++;
      socket.destroy();
      return;
    }
    socket.on("error", () => {});
    socket.setNoDelay(true);
    const worker = this.#workers.reduce((a, b) => (b.connections < a.connections ? b : a));
    worker.connections++;
    this.#accepted++;
    const connection = this.#next++;
    this.#live.set(connection, { socket, worker });
    lend(descriptor);
    tell(worker.thread, { order: "take", connection, descriptor, isTcp });
  }

  /** A worker is done with a connection: only now is its descriptor closed. */
  #over(connection: number): void {
    const live = this.#live.get(connection);
    if (live === undefined) return;
    this.#live.delete(connection);
    live.worker.connections--;
    live.socket.destroy();
  }

  #mayConnect(socket: Socket): boolean {
    const { remoteAddress, remoteFamily } = socket;
    // By a Unix socket comes who may open it.
    if (this.#allowed === undefined || remoteAddress === undefined) return true;
    return this.#allowed.check(remoteAddress, remoteFamily === "IPv6" ? "ipv6" : "ipv4");
  }
}

function tell(thread: Worker, order: Order): void {
  thread.postMessage(order);
}

function listOf(allow: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of allow) {
    const [address = "", bits, rest] = text.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    const most = family === "ipv6" ? 128 : 32;
    const prefix = bits === undefined ? most : Number(bits);
    const isWrong = !Number.isInteger(prefix) || prefix < 0 || prefix > most || bits === "";
    if (isIP(address) === 0 || isWrong || rest !== undefined) {
      throw new ZcacheError(
        "ERR_OPTION",
        `allow "${text}": write an address or a network, such as 10.0.0.0/8 or fd00::/8`,
      );
    }
    list.addSubnet(address, prefix, family);
    // A socket that listens on both shows an IPv4 client in the form of IPv6.
    if (family === "ipv4") list.addSubnet(`::ffff:${address}`, prefix + 96, "ipv6");
  }
  return list;
}
