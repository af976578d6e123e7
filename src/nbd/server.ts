// An NBD server: the main thread listens and accepts, workers serve. A connection goes to the
// worker with the fewest connections.
import { fstatSync } from "node:fs";
import { BlockList, createServer, isIP, type Server, type Socket } from "node:net";
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import { InternalErrors } from "../node/internal_errors.ts";
import { listen } from "../node/net/listening.ts";
import { reserveFd, whenNoneStarts, workerError } from "../node/workers.ts";
import { REQUEST_KINDS, type RequestKind } from "./request_check.ts";
import type { Notice, Order, ServeOrder, TlsShare } from "./thread.ts";

/** Where a server listens. */
export type Listen =
  | { readonly path: string; readonly mode?: number }
  | { readonly host: string; readonly port: number };

export interface ServerOptions {
  readonly listen: readonly Listen[];
  /**
   * Connections at a time. When there are so many, a new one replaces the oldest that has not
   * chosen an export, or is refused.
   */
  readonly connectionsMax: number;
  /** Addresses and networks that may connect over TCP, such as "10.0.0.0/8"; empty: all. */
  readonly allow: readonly string[];
  /** Called when all threads have their buffers, before the server listens. */
  readonly beforeListening?: (() => Promise<void>) | undefined;
  /** Makes a thread to replace one that has failed. @throws ZcacheError ERR_WORKER */
  readonly makeThread: () => Worker;
  /** Takes the text of an unexpected error (default: writes it to stderr). */
  readonly log?: ((text: string) => void) | undefined;
}

/** Length of the system's queue of connections that are not accepted yet. */
const BACKLOG = 511;
/** How long closing waits for a worker; a worker takes longer only if a client hangs. */
const END_WAIT_MS = 2000;
/** Wait before a failed thread is replaced again, if its replacement failed; doubled each time. */
const REPLACE_MS = 1000;
const REPLACE_MS_MAX = 60_000;
const UNIT = "nbd";

/** Takes back the workers that serve no connection any more. */
type Released = (threads: readonly Worker[]) => void;

interface Live {
  readonly socket: Socket;
  readonly worker: ServerWorker;
  readonly descriptor: number;
  /** Tells whether the descriptor still is this socket. */
  readonly inode: number;
  /** "replaced": told to end for a new connection, unless it has chosen an export meanwhile. */
  phase: "handshake" | "replaced" | "negotiated";
  /** The end of a thread has closed the descriptor, whose number may be another's by now. */
  isClosed: boolean;
}

interface ServerWorker {
  thread: Worker;
  connections: number;
  isServing: boolean;
  /** The thread has ended. */
  isDead: boolean;
  /** Removes the server's listeners from the thread. */
  unsubscribe: () => void;
}

export class NbdServer {
  readonly #options: ServerOptions;
  readonly #workers: ServerWorker[];
  readonly #listeners: Server[] = [];
  readonly #live = new Map<number, Live>();
  /** Accepted connections that wait until those that they replace have ended. */
  readonly #waiting: { readonly socket: Socket; readonly isTcp: boolean }[] = [];
  readonly #allowed: BlockList | undefined;
  readonly #errors: InternalErrors;
  readonly #order: ServeOrder;
  #next = 1;
  #accepted = 0;
  #refused = 0;
  #closed = false;
  readonly #released: Released;
  readonly #times: SampledTimes;

  private constructor(
    options: ServerOptions,
    threads: readonly Worker[],
    order: ServeOrder,
    released: Released,
  ) {
    this.#options = options;
    this.#order = order;
    this.#times = new SampledTimes(order.times);
    this.#released = released;
    this.#errors = new InternalErrors({ log: options.log });
    this.#workers = threads.map((thread) => ({
      ...{ thread, connections: 0, isServing: false, isDead: false },
      unsubscribe: () => {},
    }));
    this.#allowed = options.allow.length === 0 ? undefined : listOf(options.allow);
  }

  /**
   * Starts a server on idle workers.
   * @param released takes the workers back when they are idle again
   * @throws ZcacheError ERR_OPTION: an invalid address; ERR_IO: an address can't be listened on;
   *   ERR_ARENA_FULL: no room for a worker's buffers
   * @internal
   */
  static async start(
    options: ServerOptions,
    threads: readonly Worker[],
    order: ServeOrder,
    released: Released,
  ): Promise<NbdServer> {
    let server: NbdServer;
    try {
      server = new NbdServer(options, threads, order, released);
    } catch (error) {
      released(threads);
      throw error;
    }
    const started = server.#workers.map((worker) => server.#startThread(worker, order));
    // Before the failure of one ends the others, all have answered.
    await Promise.allSettled(started);
    try {
      await Promise.all(started);
      await options.beforeListening?.();
      for (const listen of options.listen) await server.#listen(listen);
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  /** The addresses it listens on: paths, and HOST:PORT. */
  get addresses(): string[] {
    return this.#listeners.map((listener) => {
      const address = listener.address();
      if (typeof address === "string" || address === null) return address ?? "";
      const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
      return `${host}:${address.port}`;
    });
  }

  stats(): { connections: number; accepted: number; refused: number; internal_errors: number } {
    return {
      connections: this.#live.size,
      accepted: this.#accepted,
      refused: this.#refused,
      internal_errors: this.#errors.count,
    };
  }

  /** Uses other certificates for new connections; `tlsShare` of the entry point makes them. */
  renewTls(tls: TlsShare): void {
    for (const { thread } of this.#workers) send(thread, { order: "tls", tls });
  }

  /** Histograms of request times by kind, of one request in 64: upper bounds in ns and counts. */
  latencies(): Record<RequestKind, [upToNs: number, count: number][]> {
    const kinds = REQUEST_KINDS.map((kind, nth) => [kind, this.#times.buckets(nth)] as const);
    return Object.fromEntries(kinds) as ReturnType<NbdServer["latencies"]>;
  }

  /** Ends all connections and stops listening. Resolves when the workers have ended theirs. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const listener of this.#listeners) listener.close();
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    const ended = await Promise.all(this.#workers.map((worker) => this.#stopThread(worker)));
    // A worker that has not ended has bytes for a client that does not read: the descriptor stays
    // open until that client goes, and the worker is not used again.
    this.#released(this.#workers.filter((_, nth) => ended[nth]).map(({ thread }) => thread));
  }

  /** Makes a thread serve. @throws ZcacheError ERR_WORKER, and the error that the thread reports */
  #startThread(worker: ServerWorker, order: ServeOrder): Promise<void> {
    const { thread } = worker;
    return new Promise((resolve, reject) => {
      const listener = (message: Notice) => {
        if (message.notice === "serving") {
          worker.isServing = true;
          resolve();
        } else if (message.notice === "failed") {
          reject(new ZcacheError(message.code as ZcacheError["code"], message.message));
        } else this.#handle(message);
      };
      const failed = (cause: unknown) => {
        worker.unsubscribe();
        const wasServing = worker.isServing;
        worker.isServing = false;
        worker.isDead = true;
        reject(workerError("a thread for block devices", cause));
        if (wasServing) this.#threadFailed(worker, cause);
      };
      const exited = () => failed(new Error("it has ended"));
      thread.on("message", listener);
      thread.on("error", failed);
      thread.on("exit", exited);
      worker.unsubscribe = () => {
        thread.off("message", listener);
        thread.off("error", failed);
        thread.off("exit", exited);
      };
      send(thread, order);
    });
  }

  #handle(message: Notice): void {
    if (message.notice === "connection ended") this.#connectionEnded(message.connection);
    else if (message.notice === "negotiated") {
      this.#negotiated(message.connection);
    } else if (message.notice === "stuck") {
      // The client takes no bytes: over TCP, this makes the unsent ones fail.
      const live = this.#live.get(message.connection);
      if (live?.isClosed === false) live.socket.end();
    } else if (message.notice === "error") {
      const { unit, name, stack } = message;
      this.#errors.report(unit, Object.assign(new Error(), { name, stack }));
    }
  }

  /**
   * A thread has failed. Its end has closed the descriptors of its connections, and any others with
   * a number that it has served before. These must not be closed again, because the number may be
   * another descriptor's by now. Another thread takes its place.
   */
  #threadFailed(worker: ServerWorker, cause: unknown): void {
    this.#errors.report(`${UNIT}: a thread with its connections`, cause);
    for (const [id, live] of [...this.#live]) {
      live.isClosed = inodeOf(live.descriptor) !== live.inode;
      if (live.worker === worker) this.#connectionEnded(id);
      else if (live.isClosed) send(live.worker.thread, { order: "abort", connection: id });
    }
    void this.#replace(worker, REPLACE_MS);
  }

  async #replace(worker: ServerWorker, waitMs: number): Promise<void> {
    if (this.#closed) return;
    try {
      if (worker.isDead) worker.thread = this.#options.makeThread();
      worker.isDead = false;
      await this.#startThread(worker, { ...this.#order, warmUp: undefined });
    } catch (error) {
      worker.unsubscribe();
      this.#errors.report(`${UNIT}: the start of a thread`, error);
      const next = Math.min(waitMs * 2, REPLACE_MS_MAX);
      setTimeout(() => void this.#replace(worker, next), waitMs).unref();
    }
  }

  /** Ends a thread's connections. @returns whether all of them ended in time */
  #stopThread(worker: ServerWorker): Promise<boolean> {
    const { thread, isDead } = worker;
    if (isDead) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        thread.unref();
        resolve(false);
      }, END_WAIT_MS);
      thread.on("message", (message: Notice) => {
        if (message.notice !== "ended") return;
        clearTimeout(timer);
        thread.removeAllListeners("message");
        worker.unsubscribe();
        resolve(true);
      });
      send(thread, { order: "end" });
    });
  }

  async #listen(where: Listen): Promise<void> {
    const isTcp = "port" in where;
    // Half-open and never read here: the worker reads.
    const listener = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      this.#errors.run(`${UNIT}: accepting a connection`, () => this.#accept(socket, isTcp));
    });
    const place = isTcp ? where : { ...where, mode: where.mode ?? 0o600 };
    await listen(listener, { ...place, backlog: BACKLOG }, UNIT, this.#errors);
    this.#listeners.push(listener);
  }

  #accept(socket: Socket, isTcp: boolean): void {
    socket.on("error", () => {});
    if (this.#closed || !this.#isAllowed(socket)) this.#refuse(socket);
    else if (this.#live.size < this.#options.connectionsMax) this.#assign(socket, isTcp);
    else this.#replaceOldest(socket, isTcp);
  }

  /** At the limit of connections: ends the oldest that has not chosen an export, or refuses. */
  #replaceOldest(socket: Socket, isTcp: boolean): void {
    const oldest = [...this.#live].find(([, { phase }]) => phase === "handshake");
    if (oldest !== undefined) {
      const [connection, live] = oldest;
      live.phase = "replaced";
      send(live.worker.thread, { order: "give way", connection });
    } else {
      // All that could end do so for others already: this one takes the place of the first other.
      const before = this.#waiting.shift();
      if (before === undefined) {
        this.#refuse(socket);
        return;
      }
      this.#refuse(before.socket);
    }
    this.#waiting.push({ socket, isTcp });
  }

  #negotiated(connection: number): void {
    const live = this.#live.get(connection);
    if (live === undefined) return;
    const { phase } = live;
    live.phase = "negotiated";
    // It stays, so the connection that waits for its place needs another.
    const waiting = phase === "replaced" ? this.#waiting.shift() : undefined;
    if (waiting !== undefined) this.#replaceOldest(waiting.socket, waiting.isTcp);
  }

  #refuse(socket: Socket): void {
    this.#refused++;
    socket.destroy();
  }

  /** Hands a connection to the thread with the fewest connections. */
  #assign(socket: Socket, isTcp: boolean): void {
    const descriptor = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    const able = this.#workers.filter(
      ({ isServing, connections }) => isServing && connections < this.#order.connectionsMax,
    );
    const worker = able.reduce((a, b) => (b.connections < a.connections ? b : a), able[0]!);
    if (descriptor < 0 || worker === undefined) {
      this.#refuse(socket);
      return;
    }
    socket.setNoDelay(true);
    worker.connections++;
    this.#accepted++;
    const connection = this.#next++;
    const facts = { phase: "handshake", isClosed: false } as const;
    const inode = inodeOf(descriptor);
    this.#live.set(connection, { socket, worker, descriptor, inode, ...facts });
    reserveFd(descriptor);
    send(worker.thread, { order: "take", connection, descriptor, isTcp });
  }

  /** A worker has ended a connection: only now its descriptor may be closed. */
  #connectionEnded(connection: number): void {
    const live = this.#live.get(connection);
    if (live === undefined) return;
    this.#live.delete(connection);
    live.worker.connections--;
    if (!live.isClosed) whenNoneStarts(() => closeSocket(live));
    const next = this.#waiting.shift();
    if (next === undefined || this.#closed) return;
    if (next.socket.destroyed) this.#refused++;
    else this.#assign(next.socket, next.isTcp);
  }

  #isAllowed(socket: Socket): boolean {
    const { remoteAddress, remoteFamily } = socket;
    // A Unix socket is protected by its mode.
    if (this.#allowed === undefined || remoteAddress === undefined) return true;
    return this.#allowed.check(remoteAddress, remoteFamily === "IPv6" ? "ipv6" : "ipv4");
  }
}

/** Closes a connection's socket, unless the end of a thread has closed the descriptor meanwhile. */
function closeSocket({ socket, descriptor, inode }: Live): void {
  if (inodeOf(descriptor) === inode) socket.destroy();
}

/** The inode of an open descriptor; 0 if it is closed. */
function inodeOf(descriptor: number): number {
  try {
    return fstatSync(descriptor).ino;
  } catch {
    return 0;
  }
}

function send(thread: Worker, order: Order): void {
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
    // A dual-stack socket reports IPv4 clients as IPv4-mapped IPv6 addresses.
    if (family === "ipv4") list.addSubnet(`::ffff:${address}`, prefix + 96, "ipv6");
  }
  return list;
}
