// The whole memcached server: the thread that is asked for it serves, and workers beside it where
// more than one is wanted. It can be told to end, and what of it can be changed while it runs.
//
// All threads listen on one descriptor, which the main thread closes. A worker that ended would
// close it again, when its number may be another file's: so workers go on until the process ends.
import type { Worker } from "node:worker_threads";
import { ZcacheError } from "../../base/errors.ts";
import type { ItemStore } from "../../front/items/contract.ts";
import { startWorker } from "../../node/lent_descriptors.ts";
import type { Endpoint } from "./listen.ts";
import { checkSettings, type MemcachedSettings } from "./settings.ts";
import { makeShare, ServerThread, type ThreadShare } from "./thread.ts";

/** A store that is open in this thread, and how others come to it. */
export interface OpenedItemStore {
  readonly store: ItemStore;
  /** Whether threads that attach see the same items. */
  readonly isShared: boolean;
  /** What travels to a worker, which attaches with it. */
  share(): unknown;
}

export interface MemcachedOptions {
  readonly settings: Partial<MemcachedSettings>;
  readonly endpoints: readonly Endpoint[];
  readonly open: (settings: MemcachedSettings) => OpenedItemStore;
  /** The module that a worker runs; it is given a WorkerTask. */
  readonly workerUrl: URL;
  /** A client has asked for the end, and may. */
  readonly onShutdown: (graceful: boolean) => void;
}

/** What a worker is started with. */
export interface WorkerTask {
  readonly settings: MemcachedSettings;
  readonly thread: number;
  readonly share: ThreadShare;
  readonly store: unknown;
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
  | { readonly type: "close"; readonly gracefully: boolean };
/** And back. */
export type FromWorker =
  | { readonly type: "listening" }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "shutdown"; readonly graceful: boolean };

/** Something that can be changed while the server runs. */
export interface Knob {
  readonly name: string;
  /** What it does, its unit and what is allowed. */
  readonly describe: string;
  get(): number | boolean;
  /** @throws ZcacheError ERR_OPTION where the value is not allowed */
  set(value: number | boolean): void;
}

const KNOBS: readonly (readonly [keyof MemcachedSettings, describe: string])[] = [
  ["memoryMax", "bytes for items with all that they need"],
  ["connectionsMax", "connections at a time; those beyond are refused"],
  ["backlogBytesMax", "bytes of replies that a client may leave before it is not read from"],
  ["flushEnabled", "whether clients may flush_all"],
  ["shutdownEnabled", "whether clients may end the server"],
  ["dumpEnabled", "whether clients may list keys"],
];

export class MemcachedServer {
  readonly #main: ServerThread;
  readonly #workers: readonly Worker[];
  readonly #opened: OpenedItemStore;

  private constructor(main: ServerThread, workers: readonly Worker[], opened: OpenedItemStore) {
    this.#main = main;
    this.#workers = workers;
    this.#opened = opened;
  }

  /**
   * Opens the store, listens, and starts the other threads.
   * @throws ZcacheError ERR_OPTION, ERR_INPUT or ERR_IO: a setting, a file, an address
   */
  static async start(options: MemcachedOptions): Promise<MemcachedServer> {
    const settings = checkSettings(options.settings);
    const opened = options.open(settings);
    if (settings.threads > 1 && !opened.isShared) {
      throw new ZcacheError(
        "ERR_OPTION",
        `threads: ${settings.threads} is not allowed; the store of this build serves one thread`,
      );
    }
    const share = makeShare(settings);
    const main = await ServerThread.start({
      settings,
      store: opened.store,
      thread: 0,
      share,
      endpoints: options.endpoints,
      shutdown: options.onShutdown,
    });
    const workers: Worker[] = [];
    try {
      for (let thread = 1; thread < settings.threads; thread++) {
        const task: WorkerTask = {
          settings,
          thread,
          share,
          store: opened.share(),
          endpoints: options.endpoints,
          fds: main.listeners.map(({ fd }) => fd),
        };
        workers.push(await startServing(options, task));
      }
    } catch (error) {
      main.close(false);
      throw error;
    }
    return new MemcachedServer(main, workers, opened);
  }

  /** Where it listens, as `host:port` or a path. */
  get addresses(): string[] {
    return this.#main.listeners.map(({ server }) => {
      const address = server.address();
      if (address === null || typeof address === "string") return address ?? "";
      const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
      return `${host}:${address.port}`;
    });
  }

  /** Figures by memcached's names, of all threads. */
  stats(): Record<string, number | string> {
    const figures: Record<string, number | string> = {};
    this.#main.items.tick(Date.now());
    for (const kind of ["", "zcache"]) {
      this.#main.stats.tell(kind, (name, value) => {
        figures[name] = value;
      });
    }
    return figures;
  }

  /** Times of what one read brings, of one in sixty-four: ns, and how many took up to that. */
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

  #set(name: keyof MemcachedSettings, value: number | boolean): void {
    const current = this.#main.settings[name];
    if (typeof value !== typeof current) {
      const allowed = typeof current === "boolean" ? "true or false" : "a number";
      throw new ZcacheError("ERR_OPTION", `memcached.${name}: ${value} is not ${allowed}`);
    }
    checkSettings({ ...this.#main.settings, [name]: value });
    if (name === "memoryMax" && !this.#opened.store.limit(value as number)) {
      throw new ZcacheError("ERR_OPTION", `memcached.memoryMax: ${value} is more than was set up`);
    }
    this.#main.set(name, value);
    const message: ToWorker = { type: "set", name, value };
    for (const worker of this.#workers) worker.postMessage(message);
  }

  /** Reads certificates again. @returns whether there are any, and they are good */
  refreshCertificates(): boolean {
    return this.#main.refreshCertificates();
  }

  /** Accepts nothing more and ends connections; the process should end soon after. */
  async close(gracefully = true): Promise<void> {
    this.#main.close(gracefully);
    const message: ToWorker = { type: "close", gracefully };
    for (const worker of this.#workers) {
      worker.postMessage(message);
      worker.unref();
    }
  }
}

async function startServing(options: MemcachedOptions, task: WorkerTask): Promise<Worker> {
  const worker = startWorker(options.workerUrl, { workerData: task });
  await new Promise<void>((resolve, reject) => {
    worker.once("error", reject);
    worker.on("message", (message: FromWorker) => {
      if (message.type === "listening") resolve();
      else if (message.type === "shutdown") options.onShutdown(message.graceful);
      else if (message.type === "failed") reject(new ZcacheError("ERR_IO", message.message));
    });
  });
  return worker;
}
