// A codec with checks around every call: no byte outside the target is written, the source is
// unchanged, and errors are of the right kind.
import assert from "node:assert/strict";
import type { Address } from "../../src/base/brand.ts";
import { ZcacheError } from "../../src/base/errors.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Codec, CodecMemory, CodecOptions } from "../../src/codec/contract.ts";
import type { CodecListing, CodecRegistry } from "../../src/codec/registry.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";

const REGION_BYTES = 80 * 1024;
const CANARY_BYTES = 256;
const CANARY = 0xa5;

/** Memory that one fixture takes, with room for a codec's own scratch. */
export const FIXTURE_BYTES = 6 * REGION_BYTES;

export class CodecFixture {
  readonly codec: Codec;
  readonly #memory: CodecMemory;
  readonly #source: Address;
  readonly #sourceCopy: Address;
  /** Behind a canary; the canary on its other side moves with the length of the target. */
  readonly #target: Address;

  constructor(codec: Codec, memory: CodecMemory) {
    this.codec = codec;
    this.#memory = memory;
    this.#source = memory.reserve(REGION_BYTES);
    this.#sourceCopy = memory.reserve(REGION_BYTES);
    this.#target = (memory.reserve(REGION_BYTES) + CANARY_BYTES) as Address;
  }

  /** @returns the compressed `data`, or undefined if it exceeds the limit */
  compress(data: Uint8Array, limitBytes = data.length + 4096): Uint8Array | undefined {
    this.#load(data, limitBytes);
    const size = this.codec.compress(this.#source, data.length, this.#target, limitBytes);
    this.#check(data, limitBytes);
    assert.ok(Number.isInteger(size) && size >= 0 && size <= limitBytes, `${size} is no size`);
    return size === 0 ? undefined : this.#memory.bytes.slice(this.#target, this.#target + size);
  }

  /** @returns the restored bytes, or undefined if the codec says ERR_CODEC_CORRUPT */
  decompress(packed: Uint8Array, targetBytes: number): Uint8Array | undefined {
    return this.accepts(packed, targetBytes)
      ? this.#memory.bytes.slice(this.#target, this.#target + targetBytes)
      : undefined;
  }

  /** As `decompress`, but only says whether it went through. */
  accepts(packed: Uint8Array, targetBytes: number): boolean {
    this.#load(packed, targetBytes);
    let accepted = true;
    try {
      this.codec.decompress(this.#source, packed.length, this.#target, targetBytes);
    } catch (error) {
      if (!(error instanceof ZcacheError) || error.code !== "ERR_CODEC_CORRUPT") throw error;
      accepted = false;
    }
    this.#check(packed, targetBytes);
    return accepted;
  }

  #load(source: Uint8Array, targetBytes: number): void {
    assert.ok(source.length <= REGION_BYTES && targetBytes <= REGION_BYTES - 2 * CANARY_BYTES);
    const { bytes, kernels } = this.#memory;
    bytes.set(source, this.#source);
    bytes.set(source, this.#sourceCopy);
    kernels.fill(this.#target - CANARY_BYTES, CANARY, CANARY_BYTES);
    kernels.fill(this.#target + targetBytes, CANARY, CANARY_BYTES);
  }

  #check(source: Uint8Array, targetBytes: number): void {
    const { kernels } = this.#memory;
    const isSame = kernels.equal(this.#source, this.#sourceCopy, source.length);
    assert.equal(isSame, 1, "the source is as it was");
    this.#checkCanary(this.#target - CANARY_BYTES, "before");
    this.#checkCanary(this.#target + targetBytes, "behind");
  }

  #checkCanary(at: number, where: string): void {
    const { bytes, kernels } = this.#memory;
    const intact = bytes[at] === CANARY && kernels.equal(at, at + 1, CANARY_BYTES - 1) === 1;
    assert.ok(intact, `nothing is written ${where} the target`);
  }
}

/** A codec by one of its implementations. */
export interface CodecCase {
  /** Such as `zstd (wasm)`. */
  readonly label: string;
  readonly name: string;
  readonly registry: CodecRegistry;
  /** To open it with. */
  readonly options: CodecOptions;
  /** Why it can't be tested here, or undefined. */
  readonly missing: string | undefined;
  /** The slower ones get fewer cases in long tests. */
  readonly slow: boolean;
}

/** Every codec by every implementation: a new one is one line here and inherits all codec tests. */
export function codecCases(): CodecCase[] {
  const cases = [
    ["none", "none", {}],
    ["lz4", "lz4", {}],
    ["zstd", "zstd (native)", { zstd: "native" }],
    ["zstd", "zstd (wasm)", { zstd: "wasm" }],
    ["zstd", "zstd (zlib)", { zstd: "zlib" }],
    ["deflate", "deflate (handle)", { deflate: "handle" }],
    ["deflate", "deflate (calls)", { deflate: "calls" }],
    ["lzo", "lzo", {}],
  ] as const;
  const table: CodecCase[] = [];
  for (const [name, label, implementation] of cases) {
    const registry = nodeCodecs(implementation);
    const listing = registry.list().find((one) => one.name === name) as CodecListing;
    const missing = listing.available ? undefined : listing.reason;
    const slow = /zlib|calls/.test(label);
    const plain = { label, name, registry, options: {}, missing, slow };
    table.push(plain);
    if (name !== "lz4" && name !== "zstd") continue;
    const takesOne = !listing.available || listing.dictionaries;
    table.push({
      ...plain,
      label: `${label} with a dictionary`,
      options: { dictionary: sampleDictionary() },
      missing: takesOne ? missing : "this implementation takes no dictionaries",
    });
  }
  return table;
}

const WORDS = "the frame of a zone is full and compaction moves an object to it".split(" ");

/** Something of each kind, text at the end, where distances are short; the most that LZ4 takes. */
export function sampleDictionary(): Uint8Array {
  const random = new Xorshift32(99);
  const parts = ["random", "zeros", "counters", "mixed", "text"] as const;
  return Uint8Array.from(parts.flatMap((kind, n) => [...sample(kind, 4096 << n, random)])).slice(
    -65_536,
  );
}

/** Bytes of a kind that codecs treat differently. */
export const KINDS = ["zeros", "text", "counters", "random", "mixed"] as const;

export function sample(kind: (typeof KINDS)[number], sizeBytes: number, random: Xorshift32) {
  const data = new Uint8Array(sizeBytes);
  if (kind === "random") return data.map(() => random.below(256));
  if (kind === "counters") return data.map((_, i) => (i % 4 === 0 ? i >> 2 : (i % 4) >> 1));
  if (kind === "text" || kind === "mixed") {
    for (let at = 0; at < sizeBytes; ) {
      for (const char of `${WORDS[random.below(WORDS.length)]} `) {
        if (at < sizeBytes) data[at++] = char.charCodeAt(0);
      }
    }
    if (kind === "mixed") {
      for (let at = 0; at < sizeBytes / 2; at++) data[at * 2 - (at % 64)] = random.below(256);
    }
  }
  return data;
}
