// An NBD server: the main thread listens and accepts, workers serve. A connection goes to the
// worker that has the fewest.
import { fstatSync } from "node:fs";
import { BlockList, createServer, isIP, type Server, type Socket } from "node:net";
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../base/errors.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import { InternalErrors } from "../node/internal_errors.ts";
import { listen } from "../node/net/listening.ts";
import { lend, workerError } from "../node/reserved_fds.ts";
import type { Notice, Order, ServeOrder, TlsShare } from "./thread.ts";
import { REQUEST_KINDS } from "./transmission.ts";

/** Where a server listens. */
export type Listen =
  | { readonly path: string; readonly mode?: number }
  | { readonly host: string; readonly port: number };

export interface ServerOptions {
  readonly listen: readonly Listen[];
  /**
   * Connections at once. One more is let in where another has not chosen an export yet: the oldest
   * of those gives way.
   */
  readonly connectionsMax: number;
  /** Addresses and networks that may connect by TCP, such as "10.0.0.0/8"; none: all may. */
  readonly allow: readonly string[];
  /** Makes a thread in the place of one that has failed. @throws ZcacheError ERR_WORKER */
  readonly makeThread: () => Worker;
  /** Takes what is logged of unexpected errors (default: writes it to stderr). */
  readonly log?: ((text: string) => void) | undefined;
}

/** Connections that the system keeps until they are accepted. */
const BACKLOG = 511;
/** A worker is done with its connections in a moment, unless a client hangs. */
const END_WAIT_MS = 2000;
/** Before a failed thread is replaced again, if what replaced it has failed too; then longer. */
const REPLACE_MS = 1000;
const REPLACE_MS_MAX = 60_000;
const UNIT = "nbd";

/** Called with the workers that serve nothing any more. */
type Released = (threads: readonly Worker[]) => void;

interface Live {
  readonly socket: Socket;
  readonly worker: ServerWorker;
  readonly descriptor: number;
  /** Which socket that is, as long as it is open. */
  readonly inode: number;
  /** "asked": to give way to another, which it does unless it has chosen an export meanwhile. */
  phase: "handshake" | "asked" | "negotiated";
  /** Its descriptor has been closed by the end of a thread: whoever has the number now keeps it. */
  isClosed: boolean;
}

interface ServerWorker {
  thread: Worker;
  connections: number;
  isServing: boolean;
  /** The thread has ended. */
  isDead: boolean;
  /** Takes what the server listens to off the thread. */
  forget: () => void;
}

export class NbdServer {
  readonly #options: ServerOptions;
  readonly #workers: ServerWorker[];
  readonly #listeners: Server[] = [];
  readonly #live = new Map<number, Live>();
  /** Accepted, until others that give way have ended. */
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
      forget: () => {},
    }));
    this.#allowed = options.allow.length === 0 ? undefined : listOf(options.allow);
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
      server = new NbdServer(options, threads, order, released);
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

  stats(): { connections: number; accepted: number; refused: number; internal_errors: number } {
    return {
      connections: this.#live.size,
      accepted: this.#accepted,
      refused: this.#refused,
      internal_errors: this.#errors.count,
    };
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
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
    const ended = await Promise.all(this.#workers.map((worker) => this.#end(worker)));
    // One that has not ended has a client that does not read, and bytes for it: the descriptor
    // stays open until that client goes, and the worker is not used again.
    this.#released(this.#workers.filter((_, nth) => ended[nth]).map(({ thread }) => thread));
  }

  /** Lets a thread serve. @throws ZcacheError ERR_WORKER, and what the thread says */
  #begin(worker: ServerWorker, order: ServeOrder): Promise<void> {
    const { thread } = worker;
    return new Promise((resolve, reject) => {
      const listener = (message: Notice) => {
        if (message.notice === "serves") {
          worker.isServing = true;
          resolve();
        } else if (message.notice === "failed") {
          reject(new ZcacheError(message.code as ZcacheError["code"], message.message));
        } else this.#take(message);
      };
      const failed = (cause: unknown) => {
        worker.forget();
        const wasServing = worker.isServing;
        worker.isServing = false;
        worker.isDead = true;
        reject(workerError("a thread for block devices", cause));
        if (wasServing) this.#failed(worker, cause);
      };
      const exited = () => failed(new Error("it has ended"));
      thread.on("message", listener);
      thread.on("error", failed);
      thread.on("exit", exited);
      worker.forget = () => {
        thread.off("message", listener);
        thread.off("error", failed);
        thread.off("exit", exited);
      };
      tell(thread, order);
    });
  }

  #take(message: Notice): void {
    if (message.notice === "over") this.#over(message.connection);
    else if (message.notice === "negotiated") {
      this.#negotiated(message.connection);
    } else if (message.notice === "stuck") {
      // It takes nothing, and has ended for us: what is on its way fails, where this is TCP.
      const live = this.#live.get(message.connection);
      if (live?.isClosed === false) live.socket.end();
    } else if (message.notice === "error") {
      const { unit, name, stack } = message;
      this.#errors.report(unit, Object.assign(new Error(), { name, stack }));
    }
  }

  /**
   * A thread has failed. Its end has closed its connections, and others whose descriptors have the
   * number of one that it has served before; these must not be closed again, because a number may
   * be another one's by now. Another thread takes its place.
   */
  #failed(worker: ServerWorker, cause: unknown): void {
    this.#errors.report(`${UNIT}: a thread with its connections`, cause);
    for (const [id, live] of [...this.#live]) {
      live.isClosed = inodeOf(live.descriptor) !== live.inode;
      if (live.worker === worker) this.#over(id);
      else if (live.isClosed) tell(live.worker.thread, { order: "abort", connection: id });
    }
    void this.#replace(worker, REPLACE_MS);
  }

  async #replace(worker: ServerWorker, waitMs: number): Promise<void> {
    if (this.#closed) return;
    try {
      if (worker.isDead) worker.thread = this.#options.makeThread();
      worker.isDead = false;
      await this.#begin(worker, { ...this.#order, practice: undefined });
    } catch (error) {
      worker.forget();
      this.#errors.report(`${UNIT}: the start of a thread`, error);
      const next = Math.min(waitMs * 2, REPLACE_MS_MAX);
      setTimeout(() => void this.#replace(worker, next), waitMs).unref();
    }
  }

  /** @returns whether all its connections have ended in time */
  #end(worker: ServerWorker): Promise<boolean> {
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
        worker.forget();
        resolve(true);
      });
      tell(thread, { order: "end" });
    });
  }

  async #listen(where: Listen): Promise<void> {
    const isTcp = "port" in where;
    // Half-open, and never read: what the client does is the worker's business.
    const listener = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      this.#errors.run(`${UNIT}: accepting a connection`, () => this.#accept(socket, isTcp));
    });
    const place = isTcp ? where : { ...where, mode: where.mode ?? 0o600 };
    await listen(listener, { ...place, backlog: BACKLOG }, UNIT, this.#errors);
    this.#listeners.push(listener);
  }

  #accept(socket: Socket, isTcp: boolean): void {
    socket.on("error", () => {});
    if (this.#closed || !this.#mayConnect(socket)) this.#refuse(socket);
    else if (this.#live.size < this.#options.connectionsMax) this.#give(socket, isTcp);
    else this.#makeWay(socket, isTcp);
  }

  /** There are as many connections as there may be: whether one of them can end for this one. */
  #makeWay(socket: Socket, isTcp: boolean): void {
    const oldest = [...this.#live].find(([, { phase }]) => phase === "handshake");
    if (oldest !== undefined) {
      const [connection, live] = oldest;
      live.phase = "asked";
      tell(live.worker.thread, { order: "give way", connection });
    } else {
      // All that may give way do so for others: the one of those that has waited longest.
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
    // It stays: the one that waits for its place needs another.
    const waiting = phase === "asked" ? this.#waiting.shift() : undefined;
    if (waiting !== undefined) this.#makeWay(waiting.socket, waiting.isTcp);
  }

  #refuse(socket: Socket): void {
    this.#refused++;
    socket.destroy();
  }

  /** Hands a connection to the thread that has the fewest. */
  #give(socket: Socket, isTcp: boolean): void {
    const descriptor = (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
    const able = this.#workers.filter(
      ({ isServing, connections }) => isServing && connections < this.#order.lanes,
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
    lend(descriptor);
    tell(worker.thread, { order: "take", connection, descriptor, isTcp });
  }

  /** A worker is done with a connection: only now is its descriptor closed. */
  #over(connection: number): void {
    const live = this.#live.get(connection);
    if (live === undefined) return;
    this.#live.delete(connection);
    live.worker.connections--;
    if (!live.isClosed) live.socket.destroy();
    const next = this.#waiting.shift();
    if (next === undefined || this.#closed) return;
    if (next.socket.destroyed) this.#refused++;
    else this.#give(next.socket, next.isTcp);
  }

  #mayConnect(socket: Socket): boolean {
    const { remoteAddress, remoteFamily } = socket;
    // By a Unix socket comes who may open it.
    if (this.#allowed === undefined || remoteAddress === undefined) return true;
    return this.#allowed.check(remoteAddress, remoteFamily === "IPv6" ? "ipv6" : "ipv4");
  }
}

/** The inode of what a descriptor stands for, 0 if it is closed. */
function inodeOf(descriptor: number): number {
  try {
    return fstatSync(descriptor).ino;
  } catch {
    return 0;
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
