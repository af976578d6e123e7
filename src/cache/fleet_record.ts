// Values of a shared cache as records of the cluster, and back.
//
// A value that fits into a page of the store crosses the network as the store has compressed it. A
// machine whose store has the same codec and dictionary stores it as it comes; others decompress
// it. A longer value is deflated as a whole.
//
// The prefix of such a record: 0 the time of expiry, ms since 1970, in 6 bytes; 6 the meta bytes
// (entry_meta.ts), whose type has its highest bit set for a value without bytes. Records of the
// versions 1 and 2 have 0 the time as a double; 8 whether the value has no bytes; 9 the meta bytes.
// The meta bytes are 1 or 7, so the length of the prefix says which of both it is.
import { Buffer } from "node:buffer";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { RemoteData } from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Codec } from "../codec/contract.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { checksum } from "../remote/checksum.ts";
import type { SharedValues } from "../remote/shared_values.ts";
import * as Page from "../store/page.layout.ts";
import { stateOf } from "../store/store.ts";
import { fitsPacked, type PackedValue, unpackValue } from "../values/packed.ts";
import type { Values } from "../values/values.ts";
import type { EncodedValue } from "./entries.ts";
import * as Meta from "./entry_meta.ts";
import type { Lifetime } from "./options.ts";

const META_AT = Meta.TIME_BYTES;
const META_AT_DOUBLE = 9;
const EMPTY = 0x80;
const LONG_CODEC = "deflate";
const LONG_LEVEL = 1;
const NO_BYTES = new Uint8Array(0);

/** A value that came from the cluster. */
export interface ReceivedValue {
  readonly encoded: EncodedValue;
  /** Decompressed. */
  readonly plain: Uint8Array;
  readonly type: number;
  /** Until when it is fresh, ms since 1970. */
  readonly freshMs: number;
}

/** What stands before the bytes of a value. */
interface RecordPrefix {
  /** Ms since 1970, Infinity for never. */
  readonly expiresMs: number;
  /** Whether the value has no bytes; a store has one byte for it. */
  readonly isEmpty: boolean;
  readonly meta: Uint8Array;
}

/** Names of the codecs of a store. */
export interface StoreCodecs {
  readonly codec: string;
  /** Undefined without a denser codec. */
  readonly dense: string | undefined;
}

export class FleetRecords {
  readonly #shared: SharedValues;
  readonly #codecs: StoreCodecs;
  readonly #ttlMs: number;
  /** Codecs with dictionaries that the store does not have, by name and id. */
  readonly #foreign = new Map<string, Codec>();
  /** Dictionary ids by number, for each shard. */
  readonly #ids = new Map<Values, number[]>();

  constructor(shared: SharedValues, codecs: StoreCodecs, ttlMs: number) {
    this.#shared = shared;
    this.#codecs = codecs;
    this.#ttlMs = ttlMs;
  }

  /** @throws ZcacheError ERR_REMOTE: the dictionary can't be sent */
  async toRecord(values: Values, { packed, long, meta, expiresMs }: EncodedValue) {
    const prefix = writePrefix({ expiresMs, isEmpty: packed?.isEmpty === true, meta });
    const record = (codec: string, dictionary: number, plainBytes: number, data: Uint8Array) => ({
      ...{ prefixBytes: prefix.length, codec, dictionary, plainBytes },
      data: Buffer.concat([prefix, data]),
    });
    if (packed === undefined) {
      const data = deflateRawSync(long, { level: LONG_LEVEL });
      return record(LONG_CODEC, 0, long.length, data);
    }
    const { codec, dictionary, plainBytes, data } = packed;
    if (codec === Page.RAW) return record("none", 0, plainBytes, data);
    const name = codec === Page.DENSE ? this.#codecs.dense! : this.#codecs.codec;
    if (dictionary === 0) return record(name, 0, plainBytes, data);
    const { at, sizeBytes } = values.dictionaries.at(dictionary);
    const bytes = values.bytes.slice(at, at + sizeBytes);
    const id = await this.#shared.publishDictionary(bytes, this.#ttlMs);
    if (id !== 0) return record(name, id, plainBytes, data);
    // Another dictionary has the same id: the value goes without one.
    const plain = unpackValue(values, packed);
    return record(LONG_CODEC, 0, plain.length, deflateRawSync(plain, { level: LONG_LEVEL }));
  }

  /**
   * Reads a record.
   * @param keyBytes of the cache's key
   * @returns undefined if it can't be read here
   * @throws ZcacheError ERR_REMOTE: its dictionary is not to be had
   */
  async fromRecord(
    values: Values,
    keyBytes: number,
    record: RemoteData,
  ): Promise<ReceivedValue | undefined> {
    const prefix = readPrefix(record);
    if (prefix === undefined || record.plainBytes === 0) return undefined;
    const { expiresMs, isEmpty, meta } = prefix;
    const data = record.data.subarray(record.prefixBytes);
    const common = { meta, expiresMs };
    const made = (encoded: EncodedValue, plain: Uint8Array): ReceivedValue => ({
      ...{ encoded, plain, type: meta[0]! },
      freshMs: Math.min(Meta.freshUntil(meta, 0, meta.length), expiresMs),
    });
    try {
      const codec = this.#codecOf(record.codec);
      const dictionary = await this.#dictionaryOf(values, record.dictionary);
      if (codec !== undefined && dictionary !== undefined) {
        const { plainBytes } = record;
        const packed: PackedValue = { codec, dictionary, plainBytes, isEmpty, data, ...common };
        if (codec === Page.RAW && data.length !== plainBytes) return undefined;
        if (fitsPacked(values, keyBytes, packed)) {
          const plain = unpackValue(values, packed);
          return made({ packed, long: NO_BYTES, ...common }, plain);
        }
      }
      const plain = isEmpty ? NO_BYTES : await this.#decompress(values, record, data);
      return plain && made({ packed: undefined, long: plain, ...common }, plain);
    } catch (error) {
      if (error instanceof ZcacheError && error.code === "ERR_REMOTE") throw error;
      // Bytes that are malformed, though their check is right.
      return undefined;
    }
  }

  /**
   * The record of a value with another time to live.
   * @returns undefined if it is not fresh any more, or no record of a cache
   */
  renewed(record: RemoteData, { ttlMs, staleMs }: Lifetime) {
    const found = readPrefix(record);
    if (found === undefined) return undefined;
    const { isEmpty, meta: before } = found;
    const fresh = Meta.freshUntil(before, 0, before.length);
    const now = Date.now();
    if (!(Math.min(fresh, found.expiresMs) > now)) return undefined;
    const freshMs = Meta.timeOf(now + ttlMs);
    const expiresMs = Meta.timeOf(freshMs + staleMs);
    const meta = new Uint8Array(Meta.META_BYTES_MAX);
    const freshUntil = freshMs === expiresMs ? Number.POSITIVE_INFINITY : freshMs;
    const metaBytes = Meta.writeMeta(meta, before[0]!, freshUntil);
    const prefix = writePrefix({ expiresMs, isEmpty, meta: meta.subarray(0, metaBytes) });
    const bytes = Buffer.concat([prefix, record.data.subarray(record.prefixBytes)]);
    return { record: { ...record, prefixBytes: prefix.length, data: bytes }, expiresMs };
  }

  #codecOf(name: string): number | undefined {
    if (name === "none") return Page.RAW;
    if (name === this.#codecs.codec) return Page.FAST;
    return name === this.#codecs.dense ? Page.DENSE : undefined;
  }

  /** The store's number of a dictionary; undefined if the store does not have it. */
  async #dictionaryOf(values: Values, id: number): Promise<number | undefined> {
    if (id === 0) return 0;
    const number = this.#numberOf(values, id);
    if (number > 0 || values.dictionaries.count > 0) return number || undefined;
    // A store without a dictionary takes that of the others.
    const bytes = await this.#shared.dictionary(id);
    if (bytes === undefined || !values.dictionaries.isUsable(false)) return undefined;
    if (this.#numberOf(values, id) === 0 && values.dictionaries.count === 0) {
      values.dictionaries.add(bytes);
    }
    return this.#numberOf(values, id) || undefined;
  }

  #numberOf(values: Values, id: number): number {
    const ids = this.#ids.get(values) ?? [];
    this.#ids.set(values, ids);
    for (let number = ids.length + 1; number <= values.dictionaries.count; number++) {
      const { at, sizeBytes } = values.dictionaries.at(number);
      ids.push(checksum(values.bytes.slice(at, at + sizeBytes)));
    }
    return ids.indexOf(id) + 1;
  }

  async #decompress(values: Values, record: RemoteData, data: Uint8Array) {
    const { codec: name, plainBytes, dictionary: id } = record;
    if (name === LONG_CODEC && id === 0) {
      const plain = inflateRawSync(data, { maxOutputLength: Math.max(1, plainBytes) });
      return plain.length === plainBytes ? new Uint8Array(plain) : undefined;
    }
    const { arena, plain, packed } = stateOf(values.store).assertOpen();
    if (plainBytes > values.bufferBytes || data.length > plainBytes) return undefined;
    const which = `${name} ${id} ${this.#ids.size}`;
    let codec = this.#foreign.get(which);
    if (codec === undefined) {
      const dictionary = id === 0 ? undefined : await this.#shared.dictionary(id);
      if (id !== 0 && dictionary === undefined) return undefined;
      codec = nodeCodecs().create(name, arena, dictionary === undefined ? {} : { dictionary });
      this.#foreign.set(which, codec);
    }
    values.bytes.set(data, packed);
    codec.decompress(packed, data.length, plain, plainBytes);
    return values.bytes.slice(plain, plain + plainBytes);
  }
}

function writePrefix({ expiresMs, isEmpty, meta }: RecordPrefix): Buffer {
  const prefix = Buffer.alloc(META_AT + meta.length);
  Meta.writeTime(prefix, 0, expiresMs);
  prefix.set(meta, META_AT);
  if (isEmpty) prefix[META_AT]! |= EMPTY;
  return prefix;
}

/** @returns undefined if no cache has written it */
function readPrefix({ data, prefixBytes }: RemoteData): RecordPrefix | undefined {
  const prefix = Buffer.from(data.subarray(0, prefixBytes));
  for (const metaAt of [META_AT, META_AT_DOUBLE]) {
    const metaBytes = prefixBytes - metaAt;
    if (metaBytes !== 1 && metaBytes !== Meta.META_BYTES_MAX) continue;
    const isDouble = metaAt === META_AT_DOUBLE;
    const meta = new Uint8Array(prefix.subarray(metaAt));
    const isEmpty = isDouble ? prefix[8] === 1 : meta[0]! >= EMPTY;
    if (!isDouble) meta[0]! &= EMPTY - 1;
    const expiresMs = isDouble ? Meta.timeOf(prefix.readDoubleLE(0)) : Meta.readTime(prefix, 0);
    if (meta[0]! > Meta.STRUCTURED || !(expiresMs > 0)) return undefined;
    return { expiresMs, isEmpty, meta };
  }
  return undefined;
}
