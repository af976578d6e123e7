// The remote tier in memory: a cluster of nodes with replicas, and clients of it, which fail as a
// seed says. Nothing happens by itself: `step` lets one message arrive, chosen by chance, so that
// messages overtake each other; the same seed and the same calls give the same run.
import assert from "node:assert/strict";
import type {
  Remote,
  RemoteFigures,
  RemoteGetResult,
  RemoteKey,
  RemoteKeys,
  RemotePutResult,
  RemoteRecord,
  RemoteRemoveResult,
} from "../../src/backing/remote_contract.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";

/** One in so many; 0 = never. */
export interface RemoteFaults {
  /** Requests that never arrive. */
  readonly loseRequest: number;
  /** Answers that never arrive: the request has taken effect. */
  readonly loseAnswer: number;
  /** Requests that arrive once more, later. */
  readonly duplicate: number;
  /** Records that are damaged when they are read; they are intact in the cluster. */
  readonly damage: number;
  /** Puts that are refused for want of memory. */
  readonly full: number;
}

export const NO_REMOTE_FAULTS: RemoteFaults = {
  loseRequest: 0,
  loseAnswer: 0,
  duplicate: 0,
  damage: 0,
  full: 0,
};

export interface RemoteClusterOptions {
  readonly seed: number;
  readonly nodes?: number;
  readonly faults?: RemoteFaults;
  /** Records that each node holds, at most; then puts are refused (`noeviction`). */
  readonly recordsMax?: number;
}

interface Node {
  isUp: boolean;
  master: Map<string, RemoteRecord>;
  replica: Map<string, RemoteRecord>;
}

interface Message {
  readonly node: Node;
  readonly arrive: () => void;
  /** Called instead if the message gets lost. */
  readonly fail: (() => void) | undefined;
}

/** Nodes, the messages to and from them, and the lease. */
export class RemoteCluster {
  faults: RemoteFaults;
  recordsMax: number;
  /** Whether no message arrives. */
  isPaused = false;
  /** Who has the lease, and the highest epoch so far. */
  owner: RemoteDouble | undefined;
  lastEpoch = 0;
  readonly nodes: readonly Node[];
  readonly random: Xorshift32;
  readonly tally: Record<string, number> = {};
  #messages: Message[] = [];

  constructor({ seed, nodes = 3, faults, recordsMax }: RemoteClusterOptions) {
    this.random = new Xorshift32(seed);
    this.faults = faults ?? NO_REMOTE_FAULTS;
    this.recordsMax = recordsMax ?? Number.POSITIVE_INFINITY;
    this.nodes = Array.from({ length: nodes }, () => ({
      isUp: true,
      master: new Map(),
      replica: new Map(),
    }));
  }

  /** Messages on their way. */
  get pending(): number {
    return this.#messages.length;
  }

  /** Records in the cluster. */
  get records(): number {
    return this.nodes.reduce((sum, { master }) => sum + master.size, 0);
  }

  /** The keys of all records. */
  get keys(): RemoteKey[] {
    return this.nodes.flatMap(({ master }) => [...master.values()].map(({ key }) => key));
  }

  /** The names of all records. */
  get names(): string[] {
    return this.nodes.flatMap(({ master }) => [...master.keys()]);
  }

  /** Lets one message arrive, or get lost. @returns false if there was none */
  step(): boolean {
    if (this.isPaused) return false;
    const nth = this.random.below(Math.max(1, this.#messages.length));
    const [message] = this.#messages.splice(nth, 1);
    if (message === undefined) return false;
    if (message.fail !== undefined && !message.node.isUp) message.fail();
    else message.arrive();
    return true;
  }

  /** Lets messages arrive until the promise has an outcome. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const over = () => {
      isOver = true;
    };
    promise.then(over, over);
    for (let turns = 0; !isOver; turns++) {
      assert.ok(turns < 100_000, "the call ends");
      await turn();
      if (!isOver) this.step();
    }
    return promise;
  }

  /** Lets all messages arrive, and what follows from them. */
  async settle(): Promise<void> {
    do await turn();
    while (this.step());
  }

  send(node: Node, arrive: () => void, fail?: () => void): void {
    this.#messages.push({ node, arrive, fail });
  }

  nodeOf({ epoch, run }: RemoteKey): Node {
    let hash = epoch;
    for (let at = 0; at < run.length; at++) hash = Math.imul(hash, 31) + run.charCodeAt(at);
    return this.nodes[(hash >>> 0) % this.nodes.length]!;
  }

  /** A node dies; requests to it fail until `restart` or `failOver`. */
  crash(nth: number): void {
    this.nodes[nth]!.isUp = false;
    this.count("crash");
  }

  /** A node is back, with its records. */
  restart(nth: number): void {
    this.nodes[nth]!.isUp = true;
  }

  /** The replica takes the place of the master: what had not reached it is lost. */
  failOver(nth: number): void {
    const node = this.nodes[nth]!;
    node.master = new Map(node.replica);
    node.isUp = true;
    this.count("failover");
  }

  /** Drops all records, as FLUSHALL does. */
  empty(): void {
    for (const { master, replica } of this.nodes) {
      master.clear();
      replica.clear();
    }
  }

  /** Drops one record that may be dropped, as an engine with `volatile-lru` does. */
  evictOne(): void {
    const node = this.nodes[this.random.below(this.nodes.length)]!;
    const names = [...node.master].filter(([, record]) => !record.isPersistent);
    const victim = names[this.random.below(Math.max(1, names.length))];
    if (victim === undefined) return;
    node.master.delete(victim[0]);
    node.replica.delete(victim[0]);
    this.count("evict");
  }

  /** Whether a fault happens now. */
  happens(fault: keyof RemoteFaults): boolean {
    const every = this.faults[fault];
    const does = every !== 0 && this.random.below(every) === 0;
    if (does) this.count(fault);
    return does;
  }

  count(what: string): void {
    this.tally[what] = (this.tally[what] ?? 0) + 1;
  }
}

export interface RemoteDoubleOptions {
  readonly copies?: number;
  readonly ephemeral?: boolean;
  readonly batchMax?: number;
  /** Default 1 s. */
  readonly timeoutMs?: number;
}

/** One client of the cluster. */
export class RemoteDouble implements Remote {
  readonly batchMax: number;
  readonly timeoutMs: number;
  readonly copies: number;
  readonly ephemeral: boolean;
  readonly cluster: RemoteCluster;
  epoch = 0;
  #isClosed = false;

  constructor(cluster: RemoteCluster, options: RemoteDoubleOptions = {}) {
    this.cluster = cluster;
    this.copies = options.copies ?? 1;
    this.ephemeral = options.ephemeral ?? true;
    this.batchMax = options.batchMax ?? 32;
    this.timeoutMs = options.timeoutMs ?? 1000;
  }

  async acquire(): Promise<number> {
    const { cluster } = this;
    if (this.#isClosed) throw failure("the client is closed");
    if (cluster.owner !== undefined && cluster.owner !== this) {
      throw new ZcacheError("ERR_REMOTE_OWNED", "another owner has the prefix");
    }
    cluster.owner = this;
    this.epoch = ++cluster.lastEpoch;
    return this.epoch;
  }

  /** The lease ends, because it could not be renewed in time. */
  loseLease(): void {
    this.epoch = 0;
    if (this.cluster.owner === this) this.cluster.owner = undefined;
  }

  nodeOf(key: RemoteKey): number {
    const { nodes } = this.cluster;
    return nodes.indexOf(this.cluster.nodeOf(key));
  }

  put(records: readonly RemoteRecord[]): Promise<readonly RemotePutResult[]> {
    const copies = records.map((record) => ({ ...record, data: record.data.slice() }));
    return this.#each(
      copies,
      ({ key }) => key,
      (record, node, answer) => {
        const isNew = !node.master.has(nameOf(record.key));
        const isFull = isNew && node.master.size >= this.cluster.recordsMax;
        if (isFull || this.cluster.happens("full")) return answer("full");
        const known = node.master.get(nameOf(record.key));
        assert.ok(
          known === undefined || Buffer.compare(known.data, record.data) === 0,
          "a key names one version for ever",
        );
        node.master.set(nameOf(record.key), record);
        // Replication is later; an acknowledgement by replicas waits for it.
        const replicate = () => {
          // A failover may have come between.
          const isThere = node.master.has(nameOf(record.key));
          if (isThere) node.replica.set(nameOf(record.key), record);
          if (this.copies > 1) answer(isThere ? "stored" : failure("the node has changed"));
        };
        const lost = () => this.copies > 1 && answer(failure("the node is down"));
        this.cluster.send(node, replicate, lost);
        if (this.copies === 1) answer("stored");
      },
    );
  }

  get(keys: readonly RemoteKey[], _isPatient: boolean): Promise<readonly RemoteGetResult[]> {
    return this.#each(keys, same, (key, node, answer) => {
      answer(this.#found(node.master.get(nameOf(key))));
    });
  }

  remove(keys: readonly RemoteKey[]): Promise<readonly RemoteRemoveResult[]> {
    return this.#each(keys, same, (key, node, answer) => {
      node.master.delete(nameOf(key));
      node.replica.delete(nameOf(key));
      answer("done");
    });
  }

  /** The cursor is a node and the name after which to go on. */
  async list(cursor: string | undefined): Promise<RemoteKeys | ZcacheError> {
    const [nth, after] = cursor === undefined ? [0, ""] : (JSON.parse(cursor) as [number, string]);
    const node = this.cluster.nodes[nth]!;
    return new Promise((resolve) => {
      const fail = () => resolve(failure("the node is down"));
      if (this.epoch === 0) return fail();
      const arrive = () => {
        const left = [...node.master].filter(([name]) => name > after);
        const some = left.sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, 10);
        const last = some.at(-1)?.[0] ?? after;
        const next = left.length > some.length ? [nth, last] : [nth + 1, ""];
        const isEnd = next[0] === this.cluster.nodes.length;
        resolve({
          keys: some.map(([, { key }]) => key),
          cursor: isEnd ? undefined : JSON.stringify(next),
        });
      };
      this.cluster.send(node, arrive, fail);
    });
  }

  figures(): RemoteFigures {
    const { nodes } = this.cluster;
    const up = nodes.filter(({ isUp }) => isUp).length;
    return {
      health: up === nodes.length ? "up" : up === 0 ? "down" : "partial",
      problem: up === nodes.length ? undefined : "a node is down",
      nodes: nodes.map(({ isUp }, nth) => ({
        address: `node:${nth}`,
        role: "master",
        isUp,
        requests: 0,
        failures: 0,
        inFlight: 0,
        latencyMs: undefined,
        usedBytes: undefined,
        limitBytes: undefined,
      })),
      reconnects: 0,
      redirections: 0,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.loseLease();
  }

  #found(record: RemoteRecord | undefined): RemoteGetResult {
    if (record === undefined) return "missing";
    if (this.cluster.happens("damage")) return "corrupt";
    return { ...record, data: record.data.slice() };
  }

  /** Sends each item by itself, and collects the answers. */
  #each<T, R>(
    items: readonly T[],
    keyOf: (item: T) => RemoteKey,
    apply: (item: T, node: Node, answer: (result: R | ZcacheError) => void) => void,
  ): Promise<(R | ZcacheError)[]> {
    const { cluster } = this;
    assert.ok(items.length > 0 && items.length <= this.batchMax, "a batch has its size");
    if (this.epoch === 0) return Promise.resolve(items.map(() => failure("there is no lease")));
    return new Promise((resolve) => {
      const results: (R | ZcacheError)[] = new Array(items.length);
      let left = items.length;
      for (const [nth, item] of items.entries()) {
        const node = cluster.nodeOf(keyOf(item));
        let isAnswered = false;
        const end = (result: R | ZcacheError) => {
          if (isAnswered) return;
          isAnswered = true;
          results[nth] = result;
          if (--left === 0) resolve(results);
        };
        const fail = () => end(failure("the node is down"));
        const answer = (result: R | ZcacheError) => {
          const lost = cluster.happens("loseAnswer");
          cluster.send(node, () => (lost ? fail() : end(result)), fail);
        };
        const arrive = () => apply(item, node, answer);
        if (cluster.happens("duplicate")) cluster.send(node, arrive, () => {});
        if (cluster.happens("loseRequest")) cluster.send(node, fail, fail);
        else cluster.send(node, arrive, fail);
      }
    });
  }
}

function nameOf({ epoch, run, name }: RemoteKey): string {
  return `{${epoch}.${run}}:${name}`;
}

function same(key: RemoteKey): RemoteKey {
  return key;
}

function failure(reason: string): ZcacheError {
  return new ZcacheError("ERR_REMOTE", reason);
}

/** Lets all that waits for promises run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
