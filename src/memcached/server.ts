// A memcached server: the thread that starts it serves, and so do workers beside it, if there is to
// be more than one thread. Settings that can be changed while it runs are its knobs.
//
// All threads listen on one descriptor, which the main thread closes. A worker that ended would
// close it again, when its number may be another file's: so workers run until the process ends.
import type { Worker } from "node:worker_threads";
import type { RemoteFigures } from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import type { InternalErrors } from "../node/internal_errors.ts";
import { type EmbeddedWorker, startWorker } from "../node/workers.ts";
import type { Endpoint } from "./endpoint.ts";
import { Counters } from "./items/counters.ts";
import { limitMemory } from "./items/memory.ts";
import type { ItemsEvents, ItemsShare, OpenedItems } from "./items/open.ts";
import { checkSettings, type MemcachedSettings } from "./settings.ts";
import { errorsOf, makeShare, ServerThread, type ThreadShare } from "./thread.ts";
import { WatchHub, type WatchMessage, type WatchOrder } from "./watch/hub.ts";

export interface MemcachedOptions {
  readonly settings: Partial<MemcachedSettings>;
  readonly endpoints: readonly Endpoint[];
  readonly open: (settings: MemcachedSettings, events: ItemsEvents) => OpenedItems;
  /** The module that a worker runs, with a WorkerTask as `workerData`. */
  readonly worker: EmbeddedWorker | URL;
  /** Called when a client has sent `shutdown`, which is allowed; does nothing by itself. */
  readonly onShutdown: (graceful: boolean) => void;
  /** Takes errors of writing the files of `persist`; the server goes on. */
  readonly onFault?: (error: ZcacheError) => void;
  /** Takes a line for each change of the limit under memory pressure. */
  readonly onPressure?: (line: string) => void;
  /** Takes the stacks of unexpected errors (default: stderr). */
  readonly log?: ((text: string) => void) | undefined;
}

/** The `workerData` of a worker. */
export interface WorkerTask {
  readonly settings: MemcachedSettings;
  readonly thread: number;
  readonly share: ThreadShare;
  readonly items: ItemsShare;
  readonly endpoints: readonly Endpoint[];
  readonly fds: readonly number[];
}

/** From the main thread to a worker. */
export type ToWorker =
  | {
      readonly type: "set";
      readonly name: keyof MemcachedSettings;
      readonly value: number | boolean;
    }
  /** Certificates and passwords are to be read again. */
  | { readonly type: "refresh" }
  | WatchOrder
  | { readonly type: "close"; readonly gracefully: boolean }
  /** The store has been closed. */
  | { readonly type: "detach" };
/** From a worker to the main thread. */
export type FromWorker =
  | { readonly type: "listening" }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "shutdown"; readonly graceful: boolean }
  | WatchMessage
  /** A text for the log. */
  | { readonly type: "error"; readonly text: string }
  /** The worker does nothing more to the items. */
  | { readonly type: "closed" }
  /** The worker has left the store. */
  | { readonly type: "detached" };

/** A setting that can be changed while the server runs. */
export interface Knob {
  readonly name: string;
  /** What the setting is, its unit, and what is allowed. */
  readonly describe: string;
  get(): number | boolean;
  /** @throws ZcacheError ERR_OPTION where the value is not allowed */
  set(value: number | boolean): void;
}

const KNOBS: readonly (readonly [keyof MemcachedSettings, describe: string])[] = [
  ["memoryMax", "bytes for items with all that they need"],
  ["itemBytesMax", "bytes of an item's key and value and 50 more, at most"],
  ["idleTimeoutS", "seconds after which a connection that says nothing is closed; 0 never"],
  ["tlsHandshakeS", "seconds that a TLS handshake may take"],
  ["connectionsMax", "connections at a time; those beyond are refused"],
  ["backlogBytesMax", "bytes of replies that a client may leave before it is not read from"],
  ["unsentBytesMax", "bytes of replies that all clients of a thread together may leave"],
  ["flushEnabled", "whether clients may flush_all"],
  ["shutdownEnabled", "whether clients may end the server"],
  ["dumpEnabled", "whether clients may list keys"],
  ["watchEnabled", "whether clients may watch"],
];

/**
 * In this time a worker completes the commands of the read that it is processing, and leaves a
 * store that is closed.
 */
const WORKER_CLOSE_MS = 2000;
/** The thread number of a worker that has ended. */
const ENDED = -1;

/** What is needed to serve, once settings are checked and the store is open. */
interface ServeParts extends Omit<MemcachedOptions, "settings" | "open"> {
  readonly settings: MemcachedSettings;
  readonly opened: OpenedItems;
  readonly share: ThreadShare;
  readonly errors: InternalErrors;
}

export class MemcachedServer {
  readonly #main: ServerThread;
  readonly #workers: readonly Worker[];
  readonly #opened: OpenedItems;
  #isClosed = false;

  private constructor(main: ServerThread, workers: readonly Worker[], opened: OpenedItems) {
    this.#main = main;
    this.#workers = workers;
    this.#opened = opened;
  }

  /**
   * Opens the store, listens, and starts the other threads.
   * @throws ZcacheError ERR_OPTION, ERR_INPUT, ERR_IO: a setting, a file or an address is bad
   * @internal
   */
  static async start(options: MemcachedOptions): Promise<MemcachedServer> {
    const checked = checkSettings(options.settings);
    const counters = Counters.create(checked.threads);
    const errors = errorsOf(counters, options.log);
    const onFault = (error: ZcacheError) =>
      errors.run("memcached: the caller's onFault", () => options.onFault?.(error));
    const opened = options.open(checked, {
      onFault,
      onError: (task, error) => errors.report(`memcached: ${task}`, error),
      onPressure: (line) =>
        errors.run("memcached: the caller's onPressure", () => options.onPressure?.(line)),
    });
    // As many as there are now, whatever the limit is changed to later.
    const settings = { ...checked, shards: opened.shards.values.length };
    try {
      await opened.remote?.begin(onFault);
      const share = makeShare(settings, counters, opened);
      return await MemcachedServer.#serve({ ...options, settings, opened, share, errors });
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  static async #serve(parts: ServeParts): Promise<MemcachedServer> {
    const { settings, opened, share, errors, endpoints } = parts;
    const workers: Worker[] = [];
    const hub = new WatchHub(share.watch, workers);
    const main = await ServerThread.start({
      ...{
        settings,
        shards: opened.shards,
        thread: 0,
        share,
        endpoints,
        errors,
      },
      shutdown: parts.onShutdown,
      tellOthers: (message) => hub.take(message, 0),
    });
    hub.main = main;
    try {
      for (let thread = 1; thread < settings.threads; thread++) {
        const task: WorkerTask = {
          ...{ settings, thread, share, endpoints, items: opened.share() },
          fds: main.listeners.map(({ fd }) => fd),
        };
        workers.push(await startServing(parts, task, hub));
      }
    } catch (error) {
      await closeWorkers(workers, false);
      main.close(false);
      throw error;
    }
    return new MemcachedServer(main, workers, opened);
  }

  /** Where the server listens, as `host:port` or a path. */
  get addresses(): string[] {
    return this.#main.listeners.map(({ server }) => {
      const address = server.address();
      if (address === null || typeof address === "string") return address ?? "";
      const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
      return `${host}:${address.port}`;
    });
  }

  /** Open connections of all threads. */
  get connections(): number {
    const { counters } = this.#main;
    return counters.sum("total_connections") - counters.sum("closed_connections");
  }

  /** Statistics of all threads, by memcached's names. */
  stats(): Record<string, number | string> {
    const figures: Record<string, number | string> = {};
    this.#main.items.tick(Date.now());
    for (const kind of ["", "zcache"]) {
      this.#main.stats.add(kind, (name, value) => {
        figures[name] = value;
      });
    }
    return { ...figures, ...this.#opened.figures() };
  }

  /** The nodes of the remote tier, as last known; undefined without one. */
  get cluster(): RemoteFigures | undefined {
    return this.#opened.remote?.figures();
  }

  /** Times from a read to its replies, of one read in 64: how many took up to so many ns. */
  latency(): [upToNs: number, count: number][] {
    return this.#main.times.buckets(0);
  }

  knobs(): Knob[] {
    return KNOBS.map(([name, describe]) => ({
      name: `memcached.${name}`,
      describe,
      get: () => this.#main.settings[name] as number | boolean,
      set: (value) => this.#set(name, value),
    }));
  }

  /** The most that the limit of memory can be changed to, in bytes. */
  get memoryLimitMax(): number {
    return this.#opened.shards.limitMax;
  }

  #set(name: keyof MemcachedSettings, value: number | boolean): void {
    const current = this.#main.settings[name];
    if (typeof value !== typeof current) {
      const allowed = typeof current === "boolean" ? "true or false" : "a number";
      throw new ZcacheError("ERR_OPTION", `memcached.${name}: ${value} is not ${allowed}`);
    }
    const isLimit = name === "memoryMax";
    if (isLimit && (value as number) > this.memoryLimitMax) throw this.#limitError(value);
    checkSettings({ ...this.#main.settings, [name]: value });
    if (isLimit && !limitMemory(this.#opened.shards, value as number)) {
      throw this.#limitError(value);
    }
    this.#main.set(name, value);
    const message: ToWorker = { type: "set", name, value };
    for (const worker of this.#workers) worker.postMessage(message);
  }

  #limitError(value: number | boolean): ZcacheError {
    const message = `memcached.memoryMax: ${value} is more than ${this.memoryLimitMax}`;
    return new ZcacheError("ERR_OPTION", message);
  }

  /**
   * Checks the files of certificates and passwords.
   * @returns a function that makes all threads use them for new connections
   * @throws ZcacheError ERR_INPUT, ERR_OPTION: a file can't be read, or is not such a file
   */
  prepareRefresh(): () => void {
    this.#main.checkFiles();
    return () => {
      this.#main.refreshFiles();
      const message: ToWorker = { type: "refresh" };
      for (const worker of this.#workers) worker.postMessage(message);
    };
  }

  /**
   * Stops listening, ends connections, writes what the next process needs, and closes the store,
   * whose memory goes back to the system (docs/memory.md). Idle workers stay until the process
   * ends.
   */
  async close(gracefully = true): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await closeWorkers(this.#workers, gracefully);
    this.#main.close(gracefully);
    try {
      await this.#opened.remote?.end();
    } finally {
      try {
        this.#opened.close();
      } finally {
        // The last thread that leaves the store returns its memory. Until the store is closed,
        // sockets of the workers may read into their scratch.
        await tell(this.#workers, { type: "detach" }, "detached");
      }
    }
  }
}

/**
 * Ends the connections of the workers. The main thread closes the descriptors on which all listen
 * only after this: an event loop that has not polled a descriptor yet, as that of a worker that has
 * just started, aborts the process if the descriptor is closed.
 */
async function closeWorkers(workers: readonly Worker[], gracefully: boolean): Promise<void> {
  await tell(workers, { type: "close", gracefully }, "closed");
  for (const worker of workers) worker.unref();
}

/** Tells the workers something, and waits until they have done it. */
async function tell(
  workers: readonly Worker[],
  message: ToWorker,
  answer: FromWorker["type"],
): Promise<void> {
  await Promise.all(
    workers.map((worker) => {
      const answered = untilAnswered(worker, answer);
      worker.postMessage(message);
      return answered;
    }),
  );
}

/** Waits until a worker has sent such a message or has ended, but not for ever. */
async function untilAnswered(worker: Worker, answer: FromWorker["type"]): Promise<void> {
  if (worker.threadId === ENDED) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, WORKER_CLOSE_MS);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    worker.on("message", (message: FromWorker) => {
      if (message.type === answer) done();
    });
    worker.once("exit", done);
  });
}

async function startServing(parts: ServeParts, task: WorkerTask, hub: WatchHub): Promise<Worker> {
  const { errors, onShutdown } = parts;
  const { thread } = task;
  const worker = startWorker(parts.worker, { workerData: task });
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string, cause?: unknown) =>
      reject(
        new ZcacheError("ERR_IO", `memcached: thread ${thread} can't start: ${why}`, { cause }),
      );
    let isListening = false;
    worker.on("error", (error) => {
      if (isListening) errors.report(`memcached: thread ${thread}`, error);
      else fail(error.message, error);
    });
    worker.on("exit", () => fail("it has ended"));
    worker.on("message", (message: FromWorker) =>
      errors.run(`memcached: a message of thread ${thread}`, () => {
        if (message.type === "listening") {
          isListening = true;
          resolve();
        } else if (message.type === "shutdown") onShutdown(message.graceful);
        else if (message.type === "error") errors.log(message.text);
        else if (message.type === "failed") fail(message.message);
        else if (message.type !== "closed" && message.type !== "detached") {
          hub.take(message, thread);
        }
      }),
    );
  });
  return worker;
}
