// Values of a cache that several machines share: read, written, deleted, and invalidated.
//
// What a machine keeps of them in its own memory is a copy, which has to go when another machine
// changes the value. The servers tell: each connection that writes tracks the prefix (CLIENT
// TRACKING … BCAST), and a second connection beside it receives the names of keys that others
// have changed. Values are read and written over connections that track only. If one of the two
// ends, changes may go unnoticed from then on: all copies are dropped (`onInvalid` without a key),
// and what was read before that is not kept (`generation`).
//
// A load of a value has a lease in the cluster, so that one machine at a time calls its loader. The
// lease ends with its holder. A change of the value ends it too: what was loaded before the change
// is then refused.
//
// Limits: values of at most 16 MiB.
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { RemoteData } from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import { checksum } from "./checksum.ts";
import { type Command, Connection, ConnectionFailure } from "./connection.ts";
import { type EnginePackage, loadEnginePackage, type Reply } from "./engine_package.ts";
import type { ResolvedServers } from "./options.ts";
import { decodeRecord, encodeRecord } from "./record.ts";
import { failure, type Plan, Router } from "./router.ts";
import { slotOf } from "./slots.ts";

/** Uncompressed bytes of a value that is shared, at most. */
export const SHARED_BYTES_MAX = 16 * 1024 * 1024;
const CHANNEL = "__redis__:invalidate";
/** Between two looks whether the connections still answer. */
const HEARTBEAT_MS = 1000;
const FULL = /^OOM /;
/** Values whose commands are sent as one batch. */
const BATCH_MAX = 128;

/** Stores a loaded value if the lease of its load has not ended. */
const PUBLISH = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return 1`;
const RENEW = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;
const RELEASE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/** Names of one value in the cluster; all of them lie in one slot. */
interface Names {
  readonly slot: number;
  readonly value: Buffer;
  readonly lease: Buffer;
}

/** The commands of one value, on their way to a batch. */
interface Queued {
  readonly slot: number;
  readonly commands: readonly Command[];
  readonly resolve: (replies: readonly Reply[]) => void;
  readonly reject: (error: ZcacheError) => void;
}

export interface SharedEvents {
  /** Another machine has changed the value of a key; undefined: of any key. */
  readonly onInvalid: (key: Uint8Array | undefined) => void;
}

export class SharedValues {
  /** Changes whenever copies can't be trusted any more. */
  generation = 0;
  readonly #options: ResolvedServers;
  readonly #engine: EnginePackage;
  readonly #router: Router;
  readonly #events: SharedEvents;
  /** The connection with invalidations of each node, by its address. */
  readonly #listeners = new Map<string, Connection>();
  /** The last change of each key that is on its way: the next one waits for it. */
  readonly #changes = new Map<string, Promise<unknown>>();
  /** Dictionaries that are known to be in the cluster, by their ids. */
  readonly #published = new Set<number>();
  readonly #timer: NodeJS.Timeout;
  readonly #valuePrefix: string;
  #isRefreshed = false;
  /** Commands that are sent at the end of this turn of the event loop, by node. */
  readonly #queues = new Map<string, Queued[]>();

  /** @throws ZcacheError ERR_REMOTE if the package ioredis is not installed */
  constructor(options: ResolvedServers, events: SharedEvents) {
    this.#options = options;
    this.#events = events;
    this.#engine = loadEnginePackage();
    this.#valuePrefix = `${options.prefix}:v:`;
    this.#router = new Router(this.#engine, options.nodes, options.connection, (connection) =>
      this.#track(connection),
    );
    this.#timer = setInterval(() => void this.#beat(), HEARTBEAT_MS);
    this.#timer.unref();
  }

  /** Makes a connection that writes track the prefix. @throws ConnectionFailure */
  async #track(writer: Connection): Promise<void> {
    const { timeoutMs, connection: settings } = this.#options;
    const { address } = writer;
    const listener = await Connection.open(this.#engine, address, settings, timeoutMs);
    try {
      listener.onMessage((_, message) => this.#invalidated(message));
      const [id] = await listener.send([["client", "ID"]], timeoutMs);
      await listener.send([["subscribe", CHANNEL]], timeoutMs);
      const words = ["REDIRECT", Number(id), "BCAST", "PREFIX", this.#valuePrefix, "NOLOOP"];
      const [reply] = await writer.send([["client", "TRACKING", "ON", ...words]], timeoutMs);
      if (reply instanceof Error) throw new ConnectionFailure(`${address}: ${reply.message}`);
    } catch (error) {
      listener.close();
      throw error;
    }
    this.#listeners.set(address, listener);
    listener.onEnd(() => writer.close());
    writer.onEnd(() => {
      if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
      listener.close();
      this.#distrust();
    });
  }

  #distrust(): void {
    this.generation++;
    this.#events.onInvalid(undefined);
  }

  /** A message of a server: names of keys; null: all of them. */
  #invalidated(message: unknown): void {
    if (!Array.isArray(message)) {
      this.#distrust();
      return;
    }
    for (const name of message as readonly unknown[]) {
      const key = Buffer.isBuffer(name) ? this.#keyOf(name) : undefined;
      if (key === undefined) this.#distrust();
      else this.#events.onInvalid(key);
    }
  }

  /** Finds out in time that a connection is dead, and that another node has taken slots over. */
  async #beat(): Promise<void> {
    if (!this.#isRefreshed) return;
    await this.sync();
    await this.#router.refresh(performance.now() + this.#options.timeoutMs);
  }

  /**
   * Waits until all changes that the servers have acknowledged to other machines before this call
   * are known here.
   */
  sync(): Promise<void> {
    return this.#ping([...this.#listeners.values()]);
  }

  async #ping(listeners: readonly Connection[]): Promise<void> {
    const { timeoutMs } = this.#options;
    // A connection that does not answer has ended then, and its copies are dropped.
    await Promise.allSettled(listeners.map((one) => one.send([["ping"]], timeoutMs)));
  }

  /**
   * Reads a value.
   * @returns undefined if there is none, or none that can be read
   * @throws ZcacheError ERR_REMOTE
   */
  async get(key: Uint8Array): Promise<RemoteData | undefined> {
    const { slot, value } = this.#namesOf(key);
    await this.#changes.get(nameOf(key));
    const reply = await this.#one(slot, ["get", value]);
    if (!Buffer.isBuffer(reply)) return undefined;
    const content = decodeRecord(reply, value, SHARED_BYTES_MAX);
    return content === "corrupt" || "refusal" in content ? undefined : content;
  }

  /** Stores a value, and ends loads of its key. @throws ZcacheError ERR_REMOTE */
  set(key: Uint8Array, recordOf: () => Promise<RemoteData>, ttlMs: number): Promise<void> {
    const { slot, value, lease } = this.#namesOf(key);
    return this.#inOrder(key, async () => {
      const bytes = encodeRecord({ epoch: 0, key: value }, await recordOf());
      // The lease first: a load that ends in between must not replace this value.
      await this.#all(slot, [
        ["unlink", lease],
        ["set", value, bytes, "PX", ttlMs],
      ]);
    });
  }

  /** Deletes a value, and ends loads of its key. @throws ZcacheError ERR_REMOTE */
  delete(key: Uint8Array): Promise<void> {
    const { slot, value, lease } = this.#namesOf(key);
    return this.#inOrder(key, () =>
      this.#all(slot, [
        ["unlink", lease],
        ["unlink", value],
      ]),
    );
  }

  /** Takes the lease of a load. @returns its token; undefined: another machine loads the value */
  async lock(key: Uint8Array, leaseMs: number): Promise<string | undefined> {
    const { slot, lease } = this.#namesOf(key);
    const token = randomBytes(12).toString("hex");
    const reply = await this.#one(slot, ["set", lease, token, "NX", "PX", leaseMs]);
    return reply === null ? undefined : token;
  }

  /** @returns whether the lease has not ended */
  async renew(key: Uint8Array, token: string, leaseMs: number): Promise<boolean> {
    const { slot, lease } = this.#namesOf(key);
    return (await this.#one(slot, ["eval", RENEW, 1, lease, token, leaseMs])) === 1;
  }

  async release(key: Uint8Array, token: string): Promise<void> {
    const { slot, lease } = this.#namesOf(key);
    await this.#one(slot, ["eval", RELEASE, 1, lease, token]);
  }

  /** Stores a loaded value, and ends the lease. @returns false if the lease had ended before */
  async publish(
    key: Uint8Array,
    token: string,
    record: RemoteData,
    ttlMs: number,
  ): Promise<boolean> {
    const { slot, value, lease } = this.#namesOf(key);
    const bytes = encodeRecord({ epoch: 0, key: value }, record);
    const reply = await this.#one(slot, ["eval", PUBLISH, 2, lease, value, token, bytes, ttlMs]);
    if (reply !== 1) return false;
    // The servers report a change by a script also to the one that made it. Other nodes know
    // nothing of it.
    const listener = this.#listeners.get(this.#router.slots.ownerOf(slot) ?? "");
    if (listener !== undefined) await this.#ping([listener]);
    return true;
  }

  /**
   * Makes sure that a dictionary is in the cluster.
   * @returns its id; 0 if another dictionary has the same one
   * @throws ZcacheError ERR_REMOTE
   */
  async publishDictionary(bytes: Uint8Array, ttlMs: number): Promise<number> {
    const id = checksum(bytes);
    if (id === 0 || this.#published.has(id)) return id;
    const name = this.#dictionaryName(id);
    const slot = slotOf(name);
    const found = await this.#one(slot, ["get", name]);
    const copy = Buffer.from(bytes);
    if (Buffer.isBuffer(found) && !found.equals(copy)) return 0;
    // Twice as long as any value that needs it.
    await this.#one(slot, ["set", name, copy, "PX", 2 * ttlMs]);
    this.#published.add(id);
    setTimeout(() => this.#published.delete(id), ttlMs / 2).unref();
    return id;
  }

  /** @returns undefined if it is not there @throws ZcacheError ERR_REMOTE */
  async dictionary(id: number): Promise<Uint8Array | undefined> {
    const name = this.#dictionaryName(id);
    const reply = await this.#one(slotOf(name), ["get", name]);
    return Buffer.isBuffer(reply) && checksum(reply) === id ? reply : undefined;
  }

  #dictionaryName(id: number): Buffer {
    return Buffer.from(`${this.#options.prefix}:d:${id}`, "latin1");
  }

  /** Changes of one key reach the cluster in their order. */
  #inOrder(key: Uint8Array, change: () => Promise<void>): Promise<void> {
    const name = nameOf(key);
    const before = this.#changes.get(name) ?? Promise.resolve();
    const result = before.then(change, change);
    const ended = result
      .catch(() => undefined)
      .finally(() => {
        if (this.#changes.get(name) === ended) this.#changes.delete(name);
      });
    this.#changes.set(name, ended);
    return result;
  }

  async #one(slot: number, command: Command): Promise<Reply> {
    const [reply = null] = await this.#run(slot, [command]);
    return reply;
  }

  async #all(slot: number, commands: readonly Command[]): Promise<void> {
    await this.#run(slot, commands);
  }

  /** Sends the commands of one value, together with those of other values of the same node. */
  async #run(slot: number, commands: readonly Command[]): Promise<readonly Reply[]> {
    if (!this.#isRefreshed) {
      await this.#router.refresh(performance.now() + this.#options.timeoutMs);
      this.#isRefreshed = true;
    }
    const owner = this.#router.slots.ownerOf(slot) ?? "";
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(owner) ?? [];
      if (queue.length === 0) setImmediate(() => this.#flush(owner));
      this.#queues.set(owner, queue);
      queue.push({ slot, commands, resolve, reject });
    });
  }

  #flush(owner: string): void {
    const queue = this.#queues.get(owner) ?? [];
    this.#queues.delete(owner);
    for (let from = 0; from < queue.length; from += BATCH_MAX) {
      void this.#send(queue.slice(from, from + BATCH_MAX));
    }
  }

  async #send(batch: readonly Queued[]): Promise<void> {
    const { timeoutMs } = this.#options;
    const plan: Plan = {
      ...{ purpose: "write", isPatient: true },
      ...{ replicas: 0, timeoutMs },
    };
    const requests = batch.flatMap(({ slot, commands }) =>
      commands.map((command) => ({ slot, command })),
    );
    const outcomes = await this.#router.run(requests, plan);
    let at = 0;
    for (const { commands, resolve, reject } of batch) {
      const own = outcomes.slice(at, at + commands.length);
      at += commands.length;
      const error = own.find((outcome) => outcome instanceof Error);
      if (error === undefined) resolve(own);
      else if (error instanceof ZcacheError) reject(error);
      else reject(failure(FULL.test(error.message) ? "the cluster is full" : error.message));
    }
  }

  /** The hash tag is the slot of the key, so that a value and its lease have the same one. */
  #namesOf(key: Uint8Array): Names {
    const tag = slotOf(key).toString(36);
    const value = Buffer.concat([Buffer.from(`${this.#valuePrefix}{${tag}}`, "latin1"), key]);
    const { prefix } = this.#options;
    const lease = Buffer.concat([Buffer.from(`${prefix}:l:{${tag}}`, "latin1"), key]);
    return { slot: slotOf(value), value, lease };
  }

  /** The key of a value's name. */
  #keyOf(name: Buffer): Uint8Array | undefined {
    const from = name.indexOf("}", this.#valuePrefix.length) + 1;
    return from > 0 ? new Uint8Array(name.subarray(from)) : undefined;
  }

  figures() {
    return this.#router.nodes.map((node) => node.figures());
  }

  close(): void {
    clearInterval(this.#timer);
    this.#router.close();
    for (const listener of [...this.#listeners.values()]) listener.close();
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
}
