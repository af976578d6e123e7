// One thread of a server: its items, its engine, its connections, and its listening sockets.

import type { Socket } from "node:net";
import { ZcacheError } from "../base/errors.ts";
import { SampledTimes } from "../base/sampled_times.ts";
import { MIB } from "../base/units.ts";
import { InternalErrors } from "../node/internal_errors.ts";
import { Scheduler } from "../node/scheduler.ts";
import type { ShardGroup } from "../shard/shard_group.ts";
import { Credentials } from "./auth.ts";
import type { ServerHooks } from "./commands/contract.ts";
import { Statistics } from "./commands/statistics.ts";
import { Connections } from "./connections.ts";
import type { Endpoint } from "./endpoint.ts";
import { Engine } from "./engine.ts";
import { C, Counters } from "./items/counters.ts";
import { Items } from "./items/items.ts";
import type { OpenedItems } from "./items/open.ts";
import type { ItemScan, ItemShards } from "./items/shards.ts";
import { ItemsShared } from "./items/shared.ts";
import { sweep } from "./items/sweep.ts";
import { type Listener, listen } from "./listen.ts";
import type { MemcachedSettings } from "./settings.ts";
import { WatchBoard } from "./watch/board.ts";
import type { WatchMessage } from "./watch/hub.ts";
import { Watch } from "./watch/watch.ts";

/** How often expired items are searched for, and for how long: clients wait meanwhile. */
const SWEEP_MS = 1000;
const SWEEP_WORK_MS = 3;

/** With less memory, the 64 KiB for eviction events are not reserved beforehand. */
const RESERVE_MEMORY_MIN = 16 * MIB;

/** What all threads of a server share; passed to workers. */
export interface ThreadShare {
  readonly items: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** Times of requests (base/sampled_times.ts). */
  readonly times: SharedArrayBuffer;
  /** Who watches (watch/board.ts). */
  readonly watch: SharedArrayBuffer;
}

export interface ThreadParts {
  readonly settings: MemcachedSettings;
  readonly shards: ItemShards;
  /** The number of this thread: 0 is the main thread. */
  readonly thread: number;
  readonly share: ThreadShare;
  readonly endpoints: readonly Endpoint[];
  /** Descriptors of those endpoints where another thread has bound them. */
  readonly fds?: readonly number[] | undefined;
  readonly shutdown: (graceful: boolean) => void;
  /** Sends log records to other threads, and tells them that what is watched has changed. */
  readonly tellOthers: (message: WatchMessage) => void;
  readonly errors: InternalErrors;
}

/** @param counters of all threads  @param begin what the previous process has left */
export function makeShare(
  settings: MemcachedSettings,
  counters: Counters,
  { shards, begin }: OpenedItems,
): ThreadShare {
  return {
    items: ItemsShared.create(begin).share(),
    counters: counters.share(),
    times: SampledTimes.memory(1),
    watch: WatchBoard.memory(settings.threads, shards.values.length),
  };
}

/** Takes unexpected errors of a thread, and counts them. */
export function errorsOf(counters: Counters, log?: (text: string) => void): InternalErrors {
  const onError = () => {
    counters.own[C.internal_errors]!++;
  };
  return new InternalErrors({ log, onError });
}

export class ServerThread {
  readonly settings: MemcachedSettings;
  readonly items: Items;
  readonly counters: Counters;
  readonly stats: Statistics;
  readonly connections: Connections;
  readonly times: SampledTimes;
  readonly watch: Watch;
  readonly errors: InternalErrors;
  listeners: readonly Listener[] = [];
  readonly #credentials: Credentials | undefined;
  #certificatesReadAt: number | undefined;
  readonly #scheduler: Scheduler;
  readonly #group: ShardGroup;
  #sweeping: ItemScan | undefined;

  private constructor(parts: ThreadParts) {
    const { shards, share, thread, errors } = parts;
    this.#group = shards.group;
    // A copy, because settings may be changed.
    const settings = { ...parts.settings };
    this.settings = settings;
    const counters = Counters.attach(share.counters, thread);
    this.counters = counters;
    this.errors = errors;
    this.times = new SampledTimes(share.times);
    this.items = new Items({
      shards,
      shared: ItemsShared.attach(share.items),
      counters: this.counters,
      itemBytesMax: settings.itemBytesMax,
      casEnabled: settings.casEnabled,
    });
    this.items.tick(Date.now());
    if (parts.endpoints.some(({ tls }) => tls !== undefined)) this.#certificatesReadAt = Date.now();
    this.#scheduler = new Scheduler(
      () => false,
      (_, error) => errors.report("memcached: a search for expired items", error),
    );
    // One thread searches for all.
    if (thread === 0) {
      this.#scheduler.add({
        name: "expire",
        everyMs: SWEEP_MS,
        budgetMs: () => SWEEP_WORK_MS,
        step: () => this.#sweep(),
      });
    }
    this.stats = new Statistics({
      items: this.items,
      counters: this.counters,
      settings,
      listening: listeningFacts(parts.endpoints),
      certificatesReadAt: () => this.#certificatesReadAt,
      connections: () => this.#connectionRows(),
    });
    const { authFile } = settings;
    const credentials = authFile === undefined ? undefined : Credentials.read(authFile);
    this.#credentials = credentials;
    const hooks: ServerHooks = {
      shutdown: parts.shutdown,
      refreshCertificates: () => this.refreshCertificates(),
      watch: (flags) => this.connections.watch(flags),
    };
    const { items, stats } = this;
    this.watch = new Watch({
      board: WatchBoard.attach(share.watch, thread),
      ...{ thread, items, counters, errors },
      watchBytesMax: settings.watchBytesMax,
      relay: (records) => parts.tellOthers({ type: "log", records }),
      changed: () => {
        this.connections.lookAtWatched();
        parts.tellOthers({ type: "watched" });
      },
    });
    if (thread === 0 && settings.memoryMax >= RESERVE_MEMORY_MIN) this.watch.reserve();
    this.connections = new Connections({
      settings,
      counters,
      watch: this.watch,
      times: this.times,
      errors,
      buffers: items,
      makeEngine: (reply) => new Engine({ items, reply, settings, stats, hooks, credentials }),
    });
  }

  /** @throws ZcacheError ERR_IO where an address can't be listened on */
  static async start(parts: ThreadParts): Promise<ServerThread> {
    const thread = new ServerThread(parts);
    const backlog = parts.settings.listenBacklog;
    const listeners: Listener[] = [];
    thread.listeners = listeners;
    try {
      for (const [i, endpoint] of parts.endpoints.entries()) {
        const fd = parts.fds?.[i];
        const accept = (socket: Socket, encrypted: boolean) =>
          thread.connections.accept(socket, encrypted, endpoint.path);
        listeners.push(
          await listen(endpoint, accept, {
            ...{ backlog, fd, errors: thread.errors },
            handshakes: {
              handshakeMs: () => thread.settings.tlsHandshakeS * 1000,
              mayBegin: (handshakes) => thread.connections.hasRoom(handshakes),
            },
          }),
        );
      }
    } catch (error) {
      thread.close(false);
      throw error;
    }
    return thread;
  }

  /**
   * Checks the files of certificates and passwords, and changes nothing.
   * @throws ZcacheError ERR_INPUT, ERR_OPTION
   */
  checkFiles(): void {
    for (const { certificates } of this.listeners) certificates?.check();
    const { authFile } = this.settings;
    if (authFile !== undefined) Credentials.read(authFile);
  }

  /** Reads certificates and passwords again; a file that can't be read changes nothing. */
  refreshFiles(): void {
    this.refreshCertificates();
    const { authFile } = this.settings;
    try {
      if (authFile !== undefined) this.#credentials?.replace(Credentials.read(authFile));
    } catch (error) {
      // It was good when it was checked: whoever has written it since sends another signal.
      if (!(error instanceof ZcacheError)) throw error;
    }
  }

  refreshCertificates(): boolean {
    // All are read, also after one that is good.
    const refreshed = this.listeners.filter(({ certificates }) => certificates?.refresh()).length;
    if (refreshed > 0) this.#certificatesReadAt = Date.now();
    return refreshed > 0;
  }

  /** Changes a setting of this thread. */
  set(name: keyof MemcachedSettings, value: number | boolean): void {
    (this.settings as unknown as Record<string, number | boolean>)[name] = value;
    if (name === "itemBytesMax") this.items.itemBytesMax = value as number;
  }

  /** Stops listening and ends all connections. */
  close(gracefully: boolean): void {
    this.#scheduler.stop();
    for (const { server } of this.listeners) server.close();
    this.connections.close(gracefully);
  }

  /** Leaves the store, after it was closed: nothing may use the items any more. */
  detach(): void {
    this.#group.detach();
  }

  /** One step of the search for dead items. @returns whether the search goes on */
  #sweep(): boolean {
    if (!this.stats.sweeps) return false;
    this.items.tick(Date.now());
    if (this.#sweeping === undefined) this.counters.own[C.crawler_starts]!++;
    this.#sweeping ??= this.items.beginScan();
    if (sweep(this.items, this.#sweeping)) this.#sweeping = undefined;
    return this.#sweeping !== undefined;
  }

  #connectionRows() {
    const listening = this.listeners.map(({ endpoint, fd }) => ({
      id: fd,
      facts: {
        addr:
          endpoint.path === undefined
            ? `tcp:${endpoint.host}:${endpoint.port}`
            : `unix:${endpoint.path}`,
        state: "conn_listening",
        secs_since_last_cmd: 0,
      },
    }));
    return [...listening, ...this.connections.rows()];
  }
}

function listeningFacts(endpoints: readonly Endpoint[]): Record<string, string | number> {
  const tcp = endpoints.find((endpoint) => endpoint.path === undefined);
  const unix = endpoints.find((endpoint) => endpoint.path !== undefined);
  return {
    tcpport: tcp?.port ?? 0,
    udpport: 0,
    inter: tcp?.host ?? "NULL",
    domain_socket: unix?.path ?? "NULL",
    ssl_enabled: endpoints.some(({ tls }) => tls !== undefined) ? "yes" : "no",
  };
}
