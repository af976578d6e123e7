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
// All values have a token in their names, which lies in the cluster itself. A new token makes all
// values unreachable at once, without a search for them; they end by themselves.
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
import { PUBLISH, RELEASE, RENEW, REWRITE } from "./shared_scripts.ts";
import { slotOf } from "./slots.ts";

/** Uncompressed bytes of a value that is shared, at most. */
export const SHARED_BYTES_MAX = 16 * 1024 * 1024;
const CHANNEL = "__redis__:invalidate";
/** Between two looks whether the connections still answer. */
const HEARTBEAT_MS = 1000;
const FULL = /^OOM /;
/** Values whose commands are sent as one batch. */
const BATCH_MAX = 128;

/** Bytes of the token that all names of values have. */
const CLEARS_BYTES = 8;
/** Keys that a server looks at for one call. */
const SCAN_COUNT = 500;

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
  /** The token in the names of values; undefined: not known. */
  #clears: string | undefined;
  /** The last change of the token by this machine. */
  #clearing: Promise<unknown> = Promise.resolve();
  #isRefreshed = false;
  /** Commands that are sent at the end of this turn of the event loop, by node. */
  readonly #queues = new Map<string, Queued[]>();

  /** @throws ZcacheError ERR_REMOTE if the package ioredis is not installed */
  constructor(options: ResolvedServers, events: SharedEvents) {
    this.#options = options;
    this.#events = events;
    this.#engine = loadEnginePackage();
    this.#valuePrefix = `${options.prefix}:v`;
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
    this.#clears = undefined;
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
    await this.#changes.get(nameOf(key));
    const { slot, value } = await this.#namesOf(key);
    return this.#contentOf(await this.#one(slot, ["get", value]), value);
  }

  #contentOf(reply: Reply, name: Buffer): RemoteData | undefined {
    if (!Buffer.isBuffer(reply)) return undefined;
    const content = decodeRecord(reply, name, SHARED_BYTES_MAX);
    return content === "corrupt" || "refusal" in content ? undefined : content;
  }

  /** Stores a value, and ends loads of its key. @throws ZcacheError ERR_REMOTE */
  set(key: Uint8Array, recordOf: () => Promise<RemoteData>, ttlMs: number): Promise<void> {
    const names = this.#namesAtOnce(key);
    return this.#inOrder(key, async () => {
      const { slot, value, lease } = await names;
      const bytes = encodeRecord({ epoch: 0, key: value }, await recordOf());
      // The lease first: a load that ends in between must not replace this value.
      await this.#all(slot, [
        ["unlink", lease],
        ["set", value, bytes, "PX", ttlMs],
      ]);
    });
  }

  /**
   * Deletes a value, and ends loads of its key.
   * @returns whether there was one
   * @throws ZcacheError ERR_REMOTE
   */
  delete(key: Uint8Array): Promise<boolean> {
    const names = this.#namesAtOnce(key);
    return this.#inOrder(key, async () => {
      const { slot, value, lease } = await names;
      const [, reply] = await this.#run(slot, [
        ["unlink", lease],
        ["unlink", value],
      ]);
      return reply === 1;
    });
  }

  /**
   * Replaces a value by one that `change` makes of it, unless another one has come in its place
   * meanwhile; loads of its key go on.
   * @param change undefined: the value stays
   * @returns whether it was replaced
   * @throws ZcacheError ERR_REMOTE
   */
  rewrite(
    key: Uint8Array,
    change: (record: RemoteData) => { record: RemoteData; ttlMs: number } | undefined,
  ): Promise<boolean> {
    const names = this.#namesAtOnce(key);
    return this.#inOrder(key, async () => {
      const { slot, value } = await names;
      const before = await this.#one(slot, ["get", value]);
      const content = this.#contentOf(before, value);
      const after = content && change(content);
      if (after === undefined) return false;
      const bytes = encodeRecord({ epoch: 0, key: value }, after.record);
      const words = ["eval", REWRITE, 1, value, before as Buffer, bytes, after.ttlMs];
      return (await this.#one(slot, words as unknown as Command)) === 1;
    });
  }

  /**
   * Makes all values of all machines unreachable: they are called by other names from now on, and
   * end by themselves.
   * @throws ZcacheError ERR_REMOTE
   */
  clear(): Promise<void> {
    // What is called from now on waits for the new token, and nothing that was read before is kept.
    this.generation++;
    this.#clears = undefined;
    const name = this.#clearsName();
    const token = randomBytes(CLEARS_BYTES).toString("hex");
    const before = this.#clearing;
    const cleared = before.then(() => this.#one(slotOf(name), ["set", name, token]));
    const ended: Promise<unknown> = cleared.catch(() => undefined);
    this.#clearing = ended;
    return cleared.then(() => undefined);
  }

  /**
   * Deletes the values whose keys begin with some bytes, one after the other.
   * @param isWanted by the key
   * @throws ZcacheError ERR_REMOTE
   */
  async deleteAll(isWanted: (key: Uint8Array) => boolean): Promise<void> {
    await this.#refreshed();
    const { timeoutMs } = this.#options;
    const pattern = `${this.#valuePrefix}${await this.#clearsNow()}:*`;
    for (const node of this.#router.masters()) {
      let cursor = "0";
      do {
        const command = ["scan", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT] as const;
        const page = await node
          .exchange("read", [command], performance.now() + timeoutMs)
          .catch((error: unknown) => {
            if (error instanceof ConnectionFailure) throw failure(error.message);
            throw error;
          });
        const [next, names] = (page[0] ?? []) as readonly Reply[];
        if (!Buffer.isBuffer(next) || !Array.isArray(names)) {
          throw failure(`${node.address}: its answer to SCAN is malformed`);
        }
        const keys = (names as readonly Reply[])
          .map((name) => (Buffer.isBuffer(name) ? this.#keyOf(name) : undefined))
          .filter((key) => key !== undefined)
          .filter(isWanted);
        await Promise.all(keys.map((key) => this.delete(key)));
        cursor = next.toString("latin1");
      } while (cursor !== "0");
    }
  }

  /** Takes the lease of a load. @returns its token; undefined: another machine loads the value */
  async lock(key: Uint8Array, leaseMs: number): Promise<string | undefined> {
    const { slot, lease } = await this.#namesOf(key);
    const token = randomBytes(12).toString("hex");
    const reply = await this.#one(slot, ["set", lease, token, "NX", "PX", leaseMs]);
    return reply === null ? undefined : token;
  }

  /** @returns whether the lease has not ended */
  async renew(key: Uint8Array, token: string, leaseMs: number): Promise<boolean> {
    const { slot, lease } = await this.#namesOf(key);
    return (await this.#one(slot, ["eval", RENEW, 1, lease, token, leaseMs])) === 1;
  }

  async release(key: Uint8Array, token: string): Promise<void> {
    const { slot, lease } = await this.#namesOf(key);
    await this.#one(slot, ["eval", RELEASE, 1, lease, token]);
  }

  /** Stores a loaded value, and ends the lease. @returns false if the lease had ended before */
  async publish(
    key: Uint8Array,
    token: string,
    record: RemoteData,
    ttlMs: number,
  ): Promise<boolean> {
    const { slot, value, lease } = await this.#namesOf(key);
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
  #inOrder<T>(key: Uint8Array, change: () => Promise<T>): Promise<T> {
    const name = nameOf(key);
    const before = this.#changes.get(name) ?? Promise.resolve();
    const result = before.then(change, change);
    const ended: Promise<unknown> = result
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
    if (!this.#isRefreshed) await this.#refreshed();
    const owner = this.#router.slots.ownerOf(slot) ?? "";
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(owner) ?? [];
      if (queue.length === 0) setImmediate(() => this.#flush(owner));
      this.#queues.set(owner, queue);
      queue.push({ slot, commands, resolve, reject });
    });
  }

  async #refreshed(): Promise<void> {
    if (this.#isRefreshed) return;
    await this.#router.refresh(performance.now() + this.#options.timeoutMs);
    this.#isRefreshed = true;
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
  async #namesOf(key: Uint8Array): Promise<Names> {
    const clears = this.#clears ?? (await this.#clearsNow());
    const tag = slotOf(key).toString(36);
    const start = `${this.#valuePrefix}${clears}:{${tag}}`;
    const value = Buffer.concat([Buffer.from(start, "latin1"), key]);
    const { prefix } = this.#options;
    const lease = Buffer.concat([Buffer.from(`${prefix}:l${clears}:{${tag}}`, "latin1"), key]);
    return { slot: slotOf(value), value, lease };
  }

  /** As `#namesOf`, for a change that is sent later: as the values are called now. */
  #namesAtOnce(key: Uint8Array): Promise<Names> {
    const names = this.#namesOf(key);
    // The change reports it.
    names.catch(() => undefined);
    return names;
  }

  /** The key of a value's name; undefined: it is no such name. */
  #keyOf(name: Buffer): Uint8Array | undefined {
    const from = name.indexOf("}", this.#valuePrefix.length) + 1;
    return from > 0 ? new Uint8Array(name.subarray(from)) : undefined;
  }

  /** The name under which the token lies that is a part of the names of all values. */
  #clearsName(): Buffer {
    return Buffer.from(`${this.#valuePrefix}clears`, "latin1");
  }

  /**
   * The token, which changes when all values are cleared. Whoever finds none makes one: a token
   * that was lost must not come back, nor must the values that had it in their names.
   */
  async #clearsNow(): Promise<string> {
    const name = this.#clearsName();
    const slot = slotOf(name);
    for (;;) {
      await this.#clearing;
      const { generation } = this;
      const made = randomBytes(CLEARS_BYTES).toString("hex");
      const [, token] = await this.#run(slot, [
        ["set", name, made, "NX"],
        ["get", name],
      ]);
      // It may have changed since, before the answer was here.
      if (!Buffer.isBuffer(token) || generation !== this.generation) continue;
      this.#clears = token.toString("latin1");
      return this.#clears;
    }
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
