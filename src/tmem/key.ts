// The key of a page, (object id, index), in a buffer that a thread allocates once and reuses: an
// allocation per request would be too much.
//
// An object id is a number of up to 192 bits, or a string of 1 … 24 bytes. The ids 1, [1] and [1,
// 0] are different, because the kind of an id and its length count. An index is a number of up to
// 64 bits. Both are stored as 32-bit words, lowest first.
import { byteCountOf, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { ID_BYTES_SHIFT, LONG } from "./object.layout.ts";

export const ID_BYTES_MAX = 24;
const ID_WORDS = 6;
const ID_BITS = 192n;
const INDEX_BITS = 64n;
const SHORT_ID_BYTES = 8;
const WORD = 2 ** 32;

export class TmemKey {
  /** The id's words, lowest first; unused words are 0. */
  readonly id: Int32Array = new Int32Array(ID_WORDS);
  /** The id's kind, as in an object's SHAPE (object.layout.ts), without the pool. */
  idShape = 0;
  /** Bits 0 … 31 of the index. */
  indexLow = 0;
  /** Bits 32 … 63 of the index. */
  indexHigh = 0;

  /**
   * @param id 0 … 2⁵³ − 1 as a number, 0 … 2¹⁹² − 1 as a bigint, or 1 … 24 bytes
   * @returns this
   * @throws ZcacheError ERR_KEY for anything else; the key is then as it was
   */
  setObject(id: number | bigint | Uint8Array): this {
    if (typeof id === "number") {
      checkNumber(id, "an object id");
      // ToInt32 is exact modulo 2³² for every number that is a safe integer.
      this.#setShortId(id | 0, (id / WORD) | 0);
    } else if (typeof id === "bigint") {
      if (id < 0n || id >> ID_BITS !== 0n) throw outOfRange(id, "an object id", "2^192 - 1");
      this.#setBigId(id);
    } else if (isBytes(id)) {
      this.#setBytes(id);
    } else {
      throw wrong(`an object id is a number, a bigint or a Uint8Array, not ${describe(id)}`);
    }
    return this;
  }

  /**
   * @param index 0 … 2⁵³ − 1 as a number, 0 … 2⁶⁴ − 1 as a bigint
   * @returns this
   * @throws ZcacheError ERR_KEY for anything else; the key is then as it was
   */
  setIndex(index: number | bigint): this {
    if (typeof index === "number") {
      checkNumber(index, "an index");
      this.indexLow = index | 0;
      this.indexHigh = (index / WORD) | 0;
    } else if (typeof index === "bigint") {
      if (index < 0n || index >> INDEX_BITS !== 0n) throw outOfRange(index, "an index", "2^64 - 1");
      this.indexLow = Number(BigInt.asIntN(32, index));
      this.indexHigh = Number(BigInt.asIntN(32, index >> 32n));
    } else {
      throw wrong(`an index is a number or a bigint, not ${describe(index)}`);
    }
    return this;
  }

  /**
   * Sets an object id of 64 bits and an index, each given as two words, lowest first.
   * @returns this
   */
  setWords(idLow: number, idHigh: number, indexLow: number, indexHigh: number): this {
    this.#setShortId(idLow | 0, idHigh | 0);
    this.indexLow = indexLow | 0;
    this.indexHigh = indexHigh | 0;
    return this;
  }

  /**
   * Advances to the next index.
   * @returns false, without a change, after the last index, 2⁶⁴ − 1
   */
  nextIndex(): boolean {
    if (this.indexLow === -1) {
      if (this.indexHigh === -1) return false;
      this.indexHigh = (this.indexHigh + 1) | 0;
    }
    this.indexLow = (this.indexLow + 1) | 0;
    return true;
  }

  /** The object id, as a bigint or as bytes. Allocates: for messages and files. */
  get object(): bigint | Uint8Array {
    const bytes = this.idShape >>> ID_BYTES_SHIFT;
    const count = bytes & 31;
    if (count !== 0) {
      return Uint8Array.from({ length: count }, (_, i) => this.id[i >>> 2]! >>> ((i & 3) * 8));
    }
    let id = 0n;
    for (let i = ID_WORDS - 1; i >= 0; i--) id = (id << 32n) | BigInt(this.id[i]! >>> 0);
    return id;
  }

  /** The index. Allocates. */
  get index(): bigint {
    return (BigInt(this.indexHigh >>> 0) << 32n) | BigInt(this.indexLow >>> 0);
  }

  /**
   * Copies another key.
   * @returns this
   */
  copy(other: Pick<TmemKey, "id" | "idShape" | "indexLow" | "indexHigh">): this {
    for (let i = 0; i < ID_WORDS; i++) this.id[i] = other.id[i]!;
    this.idShape = other.idShape;
    this.indexLow = other.indexLow;
    this.indexHigh = other.indexHigh;
    return this;
  }

  #setShortId(low: number, high: number): void {
    const id = this.id;
    // Most keys are short and follow a short key, whose other words are 0 already.
    if ((this.idShape & LONG) !== 0) id.fill(0);
    id[0] = low;
    id[1] = high;
    this.idShape = 0;
  }

  #setBigId(id: bigint): void {
    let rest = id;
    for (let i = 0; i < ID_WORDS; i++, rest >>= 32n) {
      this.id[i] = Number(BigInt.asIntN(32, rest));
    }
    this.idShape = id >> 64n === 0n ? 0 : LONG;
  }

  #setBytes(bytes: Uint8Array): void {
    const count = byteCountOf(bytes);
    if (count < 1 || count > ID_BYTES_MAX) {
      throw wrong(`an object id given as bytes has 1 to ${ID_BYTES_MAX} bytes, not ${count}`);
    }
    this.id.fill(0);
    for (let i = 0; i < count; i++) this.id[i >>> 2]! |= bytes[i]! << ((i & 3) * 8);
    this.idShape = (count << ID_BYTES_SHIFT) | (count > SHORT_ID_BYTES ? LONG : 0);
  }
}

function checkNumber(value: number, what: string): void {
  // Fast path for small numbers.
  if ((value | 0) === value && value >= 0) return;
  if (Number.isSafeInteger(value) && value >= 0) return;
  if (value >= 2 ** 53 && Number.isInteger(value)) {
    throw wrong(`${what} of ${value}: from 2^53 on a number is not exact, so it must be a bigint`);
  }
  throw wrong(`${what} of ${value}: must be a whole number from 0 to 2^53 - 1, or a bigint`);
}

function outOfRange(value: bigint, what: string, max: string): ZcacheError {
  return wrong(`${what} of ${value}: must be from 0 to ${max}`);
}

function wrong(message: string): ZcacheError {
  return new ZcacheError("ERR_KEY", message);
}
