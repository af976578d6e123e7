// A cache whose values several machines share through a cluster (option `remote`, mode "shared").
//
// Reading asks this machine, then the cluster, and for `fetch` then the loader, which one machine
// at a time calls. Writing stores the value here and sends it. What is kept here is a copy: it goes
// when another machine changes the value, and all copies go when a connection that would tell of
// that ends (remote/shared_values.ts). A value that was read is kept only if neither has happened
// since the read began.
//
// If the cluster does not answer, a read is a miss, a load calls the loader and keeps nothing, and
// a write removes the copy; each is reported by an event `fault`.
import { ZcacheError } from "../base/errors.ts";
import type { ResolvedShared } from "../remote/options.ts";
import { SHARED_BYTES_MAX, SharedValues } from "../remote/shared_values.ts";
import type { Entries } from "./entries.ts";
import { FleetRecords, type ReceivedValue, type StoreCodecs } from "./fleet_record.ts";
import { ownKey } from "./key_router.ts";
import { type CacheKey, keyOfBytes, type RequestedKey } from "./keys.ts";
import type { Lifetime } from "./options.ts";

/** The part of a cache that this uses. */
export interface FleetHost<K extends CacheKey> {
  /** Writes a key, and returns the entries of its shard. */
  entriesOf(key: K): Entries<K>;
  /** The forms of a key. */
  requestOf(key: K): RequestedKey<K>;
  /** Tells whether a key was neither set nor deleted since the call. */
  watch(key: RequestedKey<K>): () => boolean;
  /** Removes all copies of this machine. */
  clear(): void;
  fault(error: ZcacheError): void;
}

/** A machine that loads a value keeps the lease of the load by renewing it. */
const LOAD_LEASE_MS = 5000;
const RENEWALS = 3;
/** Pauses of a machine that waits for the load of another one, unless it is told before. */
const PAUSE_MS = 25;
const PAUSE_MS_MAX = 400;

/** The codec of idle values (options.ts). */
const DENSE = "zstd";

export class Fleet<K extends CacheKey, V> {
  readonly shared: SharedValues;
  readonly #host: FleetHost<K>;
  readonly #records: FleetRecords;
  readonly #ttlMs: number;
  /** Wakes loads that wait for a key to change. */
  readonly #waiting = new Map<string, Set<() => void>>();
  /** The end of the last `clear`. */
  cleared: Promise<void> = Promise.resolve();
  #isClosed = false;

  /** @throws ZcacheError ERR_REMOTE if the package ioredis is not installed */
  constructor(
    options: ResolvedShared,
    { codec, tiers }: { readonly codec: string; readonly tiers: boolean },
    host: FleetHost<K>,
  ) {
    const codecs: StoreCodecs = { codec, dense: tiers && codec !== DENSE ? DENSE : undefined };
    this.#host = host;
    this.#ttlMs = options.ttlMs;
    this.shared = new SharedValues(options, { onInvalid: (key) => this.#invalid(key) });
    this.#records = new FleetRecords(this.shared, codecs, options.ttlMs);
  }

  #invalid(bytes: Uint8Array | undefined): void {
    if (this.#isClosed) return;
    if (bytes === undefined) this.#host.clear();
    else this.#host.entriesOf(keyOfBytes(bytes) as K).delete();
    const names = bytes === undefined ? [...this.#waiting.keys()] : [nameOf(bytes)];
    for (const name of names) for (const wake of this.#waiting.get(name) ?? []) wake();
  }

  /**
   * Stores a value here, and sends it.
   * @returns whether it is stored here, and the end of the sending
   * @throws ZcacheError as `Cache.set`
   */
  set(key: K, value: V, lifetime: Lifetime): { isStored: boolean; sent: Promise<unknown> } {
    if (value === undefined) return { isStored: true, sent: this.delete(key).sent };
    const own = ownKey(key);
    const { bytes } = this.#host.requestOf(own);
    const limited = this.#limited(lifetime);
    const encoded = this.#host.entriesOf(own).encode(own, value, limited);
    const entries = this.#host.entriesOf(own);
    const isStored = entries.putEncoded(encoded, () => true);
    if (encoded.long.length > SHARED_BYTES_MAX) {
      return { isStored: false, sent: this.delete(own).sent };
    }
    const ttlMs = ttlOf(encoded.expiresMs, this.#ttlMs);
    const record = () => this.#records.toRecord(entries.values, encoded);
    return { isStored, sent: this.#sent(own, this.shared.set(bytes, record, ttlMs)) };
  }

  /** Deletes a value here and in the cluster. @returns whether there was one here */
  delete(key: K): { wasHere: boolean; sent: Promise<boolean> } {
    const own = ownKey(key);
    const { bytes } = this.#host.requestOf(own);
    const wasHere = this.#host.entriesOf(own).delete();
    return { wasHere, sent: this.#sent(own, this.shared.delete(bytes)) };
  }

  /**
   * Gives a fresh value in the cluster a new time to live.
   * @returns whether there was one
   */
  touch(key: K, lifetime: Lifetime): Promise<boolean> {
    const requested = this.#host.requestOf(ownKey(key));
    const limited = this.#limited(lifetime);
    const renewed = this.shared.rewrite(requested.bytes, (record) => {
      const after = this.#records.renewed(record, limited);
      return after && { record: after.record, ttlMs: ttlOf(after.expiresMs, this.#ttlMs) };
    });
    return this.#sent(requested.own, this.#touched(requested, renewed));
  }

  /** The servers report a change by a script also to its maker: then the copy is read anew. */
  async #touched(key: RequestedKey<K>, renewed: Promise<boolean>): Promise<boolean> {
    if (!(await renewed)) return false;
    await this.shared.sync();
    if (!this.#isClosed) await this.#read(key);
    return true;
  }

  /** Removes all values from the cluster, or those under strings that begin with `prefix`. */
  clear(prefix: string): Promise<void> {
    const isWanted = (bytes: Uint8Array) => {
      const key = keyOfBytes(bytes);
      return typeof key === "string" && key.startsWith(prefix);
    };
    const sent = prefix === "" ? this.shared.clear() : this.shared.deleteAll(isWanted);
    const ended = sent.catch((error: unknown) => {
      this.#report(error);
      throw error;
    });
    ended.catch(() => undefined);
    this.cleared = ended;
    return ended;
  }

  /** What could not be sent must not stay here. */
  #sent<T>(own: K, sent: Promise<T>): Promise<T> {
    const ended = sent.catch((error: unknown) => {
      if (this.#isClosed) throw error;
      this.#host.entriesOf(own).delete();
      this.#report(error);
      throw error;
    });
    ended.catch(() => undefined);
    return ended;
  }

  #report(error: unknown): void {
    if (!(error instanceof ZcacheError)) throw error;
    if (!this.#isClosed) this.#host.fault(error);
  }

  /** The value in the cluster, if it is fresh; keeps a copy. */
  async get(key: K): Promise<V | undefined> {
    const requested = this.#host.requestOf(key);
    try {
      return await this.#read(requested);
    } catch (error) {
      if (!(error instanceof ZcacheError && error.code === "ERR_REMOTE")) throw error;
      this.#report(error);
      return undefined;
    }
  }

  /** @param isUnchanged whether the key was neither set nor deleted here since it was looked for */
  async #read(key: RequestedKey<K>, isUnchanged = this.#host.watch(key)): Promise<V | undefined> {
    const { generation } = this.shared;
    const record = await this.shared.get(key.bytes);
    if (record === undefined || this.#isClosed) return undefined;
    const { values } = this.#host.entriesOf(key.own);
    const received = await this.#records.fromRecord(values, key.bytes.length, record);
    if (received === undefined || this.#isClosed || received.freshMs <= Date.now())
      return undefined;
    const entries = this.#host.entriesOf(key.own);
    if (generation === this.shared.generation) this.#keep(entries, received, isUnchanged);
    return entries.decode(received.type, received.plain) as V;
  }

  #keep(entries: Entries<K>, { encoded }: ReceivedValue, isUnchanged: () => boolean): void {
    const expiresMs = Math.min(encoded.expiresMs, Date.now() + this.#ttlMs);
    const packed = encoded.packed && { ...encoded.packed, expiresMs };
    entries.putEncoded({ ...encoded, packed, expiresMs }, isUnchanged);
  }

  /**
   * Loads a value: from the cluster, or by `call`, the loader, unless another machine does so.
   * @param mayStore whether the key was neither set nor deleted here since the load began
   */
  async load(
    key: RequestedKey<K>,
    call: () => Promise<V | undefined>,
    { forceRefresh, ...lifetime }: Lifetime & { readonly forceRefresh: boolean },
    mayStore: () => boolean,
  ): Promise<V | undefined> {
    let token: string | undefined;
    try {
      for (let pauseMs = PAUSE_MS, isFirst = true; ; pauseMs *= 2, isFirst = false) {
        const found = forceRefresh && isFirst ? undefined : await this.#read(key, mayStore);
        if (found !== undefined) return found;
        token = await this.shared.lock(key.bytes, LOAD_LEASE_MS);
        if (token !== undefined) break;
        await this.#changed(nameOf(key.bytes), Math.min(pauseMs, PAUSE_MS_MAX));
      }
      // Another machine may have stored it between the look and the lock.
      const found = forceRefresh ? undefined : await this.#read(key, mayStore);
      if (found !== undefined) {
        await this.shared.release(key.bytes, token);
        return found;
      }
    } catch (error) {
      this.#report(error);
      return call();
    }
    return this.#callLoader({ key, token, call, lifetime });
  }

  async #callLoader(load: {
    readonly key: RequestedKey<K>;
    readonly token: string;
    readonly call: () => Promise<V | undefined>;
    readonly lifetime: Lifetime;
  }): Promise<V | undefined> {
    const { key, token, call, lifetime } = load;
    const { shared } = this;
    const renew = () => shared.renew(key.bytes, token, LOAD_LEASE_MS).catch(() => false);
    const timer = setInterval(() => void renew(), LOAD_LEASE_MS / RENEWALS);
    timer.unref();
    let value: V | undefined;
    try {
      value = await call();
    } finally {
      clearInterval(timer);
      if (value === undefined) {
        await shared.release(key.bytes, token).catch((error: unknown) => this.#report(error));
      }
    }
    if (value === undefined || this.#isClosed) return value;
    // A set or delete, here or elsewhere, has ended the lease: then nothing is sent.
    try {
      const isSent = await this.#publish(key, token, value, lifetime);
      // What is in the cluster now is kept, whoever has written it. The server has told of this
      // machine's own change too, which removes a copy: only what comes after that counts.
      if (!isSent) await shared.release(key.bytes, token);
      else await this.#read(key);
    } catch (error) {
      await shared.release(key.bytes, token).catch(() => undefined);
      this.#report(error);
    }
    return value;
  }

  /** Sends a loaded value. @returns whether it is in the cluster: the lease had not ended */
  async #publish(key: RequestedKey<K>, token: string, value: V, lifetime: Lifetime) {
    const { own, bytes } = key;
    const encoded = this.#host.entriesOf(own).encode(own, value, this.#limited(lifetime));
    if (encoded.long.length > SHARED_BYTES_MAX) return false;
    const { values } = this.#host.entriesOf(own);
    const record = await this.#records.toRecord(values, encoded);
    const ttlMs = ttlOf(encoded.expiresMs, this.#ttlMs);
    return this.shared.publish(bytes, token, record, ttlMs);
  }

  /** A value is never without a time to live. */
  #limited({ ttlMs, staleMs }: Lifetime): Lifetime {
    const limitedMs = Math.min(ttlMs, this.#ttlMs);
    return { ttlMs: limitedMs, staleMs: Math.min(staleMs, this.#ttlMs - limitedMs) };
  }

  /** Waits until a key changes, or for a while. */
  async #changed(name: string, ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const waiting = this.#waiting.get(name) ?? new Set();
      this.#waiting.set(name, waiting);
      const end = () => {
        clearTimeout(timer);
        waiting.delete(end);
        if (waiting.size === 0) this.#waiting.delete(name);
        resolve();
      };
      const timer = setTimeout(end, ms);
      waiting.add(end);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.shared.close();
  }
}

function ttlOf(expiresMs: number, limitMs: number): number {
  return Math.max(1, Math.ceil(Math.min(expiresMs - Date.now(), limitMs)));
}

function nameOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
