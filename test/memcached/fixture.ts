// A memcached engine without sockets: bytes in, replies out, over a store of its own, with a
// clock that the test owns.

import type { Credentials } from "../../src/memcached/auth.ts";
import { Statistics } from "../../src/memcached/commands/statistics.ts";
import { Engine } from "../../src/memcached/engine.ts";
import { C, Counters } from "../../src/memcached/items/counters.ts";
import { Items } from "../../src/memcached/items/items.ts";
import { type MemoryStats, memoryStats } from "../../src/memcached/items/memory.ts";
import { openItems } from "../../src/memcached/items/open.ts";
import type { ItemShards } from "../../src/memcached/items/shards.ts";
import { ItemsShared } from "../../src/memcached/items/shared.ts";
import { Reply } from "../../src/memcached/protocol/reply.ts";
import { ReceiveBuffer } from "../../src/memcached/receive_buffer.ts";
import { Session } from "../../src/memcached/session.ts";
import { checkSettings, type MemcachedSettings } from "../../src/memcached/settings.ts";
import { WatchBoard } from "../../src/memcached/watch/board.ts";
import { Watch, type Watcher, type WatchRefusal } from "../../src/memcached/watch/watch.ts";
import { InternalErrors } from "../../src/node/internal_errors.ts";

/** A time in the year 2026, seconds. */
export const NOW_S = 1_790_000_000;

/** The descriptor number of the connection. */
export const CFD = 7;

/** Numbers of shards that tests run with. */
export const SHARDS = [1, 3];

export interface FixtureOptions extends Partial<MemcachedSettings> {
  readonly credentials?: Credentials;
  /** Whether the kernels do plain gets and sets (default), or the engine does everything. */
  readonly isQuick?: boolean;
  /** The items, where several fixtures have the same ones (default: new ones). */
  readonly itemShards?: ItemShards;
  readonly shared?: ItemsShared;
}

export class EngineFixture {
  readonly engine: Engine;
  readonly receiveBuffer: ReceiveBuffer;
  readonly items: Items;
  readonly counters = Counters.create(1);
  nowS = NOW_S;
  shutdowns: boolean[] = [];
  readonly watch: Watch;
  /** Lines that the newest watcher has received, and the bytes that it has not yet taken. */
  watched = "";
  watcherWaits = 0;
  watcher: Watcher | undefined;
  #out: Buffer[] = [];

  /** How often a connection had to wait for its next turn. */
  turns = 0;
  /** Number of items that the kernels found. */
  quickHits = 0;
  /** Number of items that the kernel stored. */
  quickSets = 0;

  constructor({ credentials, isQuick = true, ...options }: FixtureOptions = {}) {
    const { itemShards, shared = ItemsShared.create(), ...others } = options;
    const settings = checkSettings(others);
    const { counters } = this;
    const shards = itemShards ?? openItems(settings).shards;
    this.items = new Items({
      shards,
      shared,
      counters,
      itemBytesMax: settings.itemBytesMax,
      casEnabled: settings.casEnabled,
    });
    const { items } = this;
    const stats = new Statistics({
      items,
      counters,
      settings,
      listening: {},
      certificatesReadAt: () => undefined,
      connections: () => [],
    });
    const take = (full: Reply) => {
      this.#out.push(Buffer.from(full.bytes.subarray(0, full.at)));
      full.at = 0;
    };
    const buffer = isQuick ? items.makeBuffer(65_536) : undefined;
    const reply = new Reply(65_536, take, buffer);
    this.#countQuickHits();
    this.watch = new Watch({
      board: WatchBoard.attach(WatchBoard.memory(1, shards.values.length), 0),
      ...{ thread: 0, items, counters, errors: new InternalErrors() },
      watchBytesMax: settings.watchBytesMax,
      relay: () => {},
      changed: () => this.watch.refresh(),
    });
    const hooks = {
      watch: (flags: number) => this.#watch(flags),
      shutdown: (graceful: boolean) => void this.shutdowns.push(graceful),
      refreshCertificates: () => false,
    };
    this.engine = new Engine({ items, reply, settings, stats, hooks, credentials });
    const makeInput = (bytes: number) => items.makeInput(bytes);
    this.receiveBuffer = new ReceiveBuffer(this.engine, isQuick ? makeInput : undefined);
    this.#countQuickSets();
  }

  #countQuickSets(): void {
    const { items } = this;
    const store = items.storeLines.bind(items);
    items.storeLines = (...asked) => {
      const before = items.counts[C.cmd_set]!;
      const used = store(...asked);
      this.quickSets += items.counts[C.cmd_set]! - before;
      return used;
    };
  }

  #countQuickHits(): void {
    const { items } = this;
    const answer = items.answerGets.bind(items);
    items.answerGets = (...asked) => {
      items.hits = 0;
      const used = answer(...asked);
      this.quickHits += items.hits;
      return used;
    };
  }

  /** Memory figures of the store. */
  get memory(): MemoryStats {
    return memoryStats(this.items.shards);
  }

  /** The reply to bytes that arrive in one piece. */
  send(session: Session, bytes: string | Uint8Array): Buffer {
    const sent = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    this.items.tick(this.nowS * 1000);
    this.watch.begin(CFD);
    this.engine.begin();
    if (!session.closing) this.receiveBuffer.receivedCopy(session, sent);
    while (this.engine.paused && !session.closing) {
      this.turns++;
      this.engine.begin();
      this.receiveBuffer.resume(session);
    }
    const out = this.take();
    this.watch.end();
    this.watch.flush();
    return out;
  }

  #watch(flags: number): WatchRefusal | undefined {
    this.watched = "";
    const sink = {
      waiting: () => this.watcherWaits,
      write: (lines: string) => {
        this.watched += lines;
      },
    };
    const result = this.watch.add(flags, sink);
    if (typeof result === "string") return result;
    this.watcher = result;
    return undefined;
  }

  /** Replies since the last call. */
  take(): Buffer {
    this.engine.parts.reply.flush();
    const out = Buffer.concat(this.#out);
    this.#out = [];
    return out;
  }
}

/** One text connection to its own engine: `ask` returns the reply as text. */
export class TextFixture extends EngineFixture {
  readonly session = new Session();

  ask(text: string): string {
    return this.send(this.session, text).toString("latin1");
  }
}
