// The effect of dictionaries on short JSON documents: size and time of each implementation of each
// codec, without a dictionary and with trained ones of several lengths, on documents outside the
// training samples.
//
// Times are compared with the same codec without a dictionary, sizes with a dictionary of the same
// length by `zstd --train`. Every contender runs once in each round; a ratio is the median of the
// rounds' ratios, a time is that of the best round.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Address } from "../../src/base/brand.ts";
import { KIB } from "../../src/base/units.ts";
import type { Codec, CodecMemory, CodecOptions } from "../../src/codec/contract.ts";
import { trainDictionary } from "../../src/codec/dictionary/train.ts";
import {
  finalizeZstdDictionary,
  ZSTD_TABLES_BYTES_MAX,
} from "../../src/codec/dictionary/zstd_dictionary.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import { instantiateKernels } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";
import { documents } from "../documents.ts";
import { median, timePass } from "./timing.ts";

export interface DictionaryBenchOptions {
  /** Few documents, one round: shows that everything runs. */
  readonly tiny?: boolean;
  /** Prints a line (default: standard output). */
  readonly print?: (line: string) => void;
}

/** One line of the table. */
export interface DictionaryRow {
  readonly name: string;
  /** 0 for none. */
  readonly dictionaryBytes: number;
  /** Bytes of all documents ÷ their compressed bytes. */
  readonly ratio: number;
  /** The same with a dictionary by `zstd --train`; undefined without one. */
  readonly peerRatio: number | undefined;
  readonly compressNs: number;
  readonly decompressNs: number;
  /** Time ÷ the time of the same codec without a dictionary. */
  readonly compressTimes: number;
  readonly decompressTimes: number;
}

const LZ4_KIB = [16, 32, 64];
const ZSTD_KIB = [16, 64, 110];
/** Number of the first document: beyond all training samples. */
const HELD_OUT_FIRST = 150_000;
const SLOT_BYTES = 16 * KIB;
const SCRATCH_BYTES = 4096 * KIB;

/** The documents and a slot for each one's compressed form, in a shared memory. */
class Stage implements CodecMemory {
  readonly bytes: Uint8Array;
  readonly kernels: CodecMemory["kernels"];
  readonly documents: readonly Uint8Array[];
  readonly sizes: Int32Array;
  #next = 64 * KIB;

  constructor(held: readonly Uint8Array[]) {
    const pages = Math.ceil((SCRATCH_BYTES + (2 * held.length + 1) * SLOT_BYTES) / (64 * KIB));
    const memory = new Wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.bytes = new Uint8Array(memory.buffer);
    this.kernels = instantiateKernels(memory);
    this.documents = held;
    this.sizes = new Int32Array(held.length);
    held.forEach((one, n) => {
      this.bytes.set(one, this.at(2 * n));
    });
  }

  reserve(sizeBytes: number): Address {
    const at = this.#next;
    this.#next += Math.ceil(sizeBytes / KIB) * KIB;
    if (this.#next > SCRATCH_BYTES) throw new Error("the bench has too little scratch");
    return at as Address;
  }

  /** Document n stands in slot 2n, its compressed form in slot 2n + 1, the restored one last. */
  at(slot: number): Address {
    return (SCRATCH_BYTES + slot * SLOT_BYTES) as Address;
  }

  compress(codec: Codec, n: number): void {
    const { length } = this.documents[n]!;
    this.sizes[n] = codec.compress(this.at(2 * n), length, this.at(2 * n + 1), SLOT_BYTES);
  }

  decompress(codec: Codec, n: number): void {
    const restored = this.at(2 * this.documents.length);
    codec.decompress(this.at(2 * n + 1), this.sizes[n]!, restored, this.documents[n]!.length);
  }

  /** Every document once, compared. @returns the ratio */
  check(codec: Codec): number {
    const restored = this.at(2 * this.documents.length);
    let [before, after] = [0, 0];
    this.documents.forEach(({ length }, n) => {
      this.compress(codec, n);
      this.decompress(codec, n);
      const isSame = this.kernels.equal(this.at(2 * n), restored, length) === 1;
      if (!isSame) throw new Error(`${codec.implementation}: document ${n} comes back different`);
      before += length;
      after += this.sizes[n]!;
    });
    return before / after;
  }
}

interface Contestant {
  readonly name: string;
  readonly codec: Codec;
  readonly dictionaryBytes: number;
  readonly ratio: number;
  readonly peerRatio: number | undefined;
  readonly compressNs: number[];
  readonly decompressNs: number[];
}

/** The dictionaries of one length. */
interface Trained {
  readonly content: Uint8Array;
  readonly finalized: Uint8Array;
  readonly byZstd: Uint8Array | undefined;
}

/** Trains with the program `zstd`. @returns undefined where there is none */
function zstdTrainer(samples: readonly Uint8Array[], folder: string) {
  const inputs = join(folder, "samples");
  mkdirSync(inputs);
  samples.forEach((one, n) => {
    writeFileSync(join(inputs, String(n)), one);
  });
  return (sizeBytes: number): Uint8Array | undefined => {
    const path = join(folder, `dictionary-${sizeBytes}`);
    const args = ["-q", "--train", "-r", inputs, `--maxdict=${sizeBytes}`, "-o", path];
    try {
      execFileSync("zstd", args, { stdio: "ignore" });
      return new Uint8Array(readFileSync(path));
    } catch {
      return undefined;
    }
  };
}

function trainAll(samples: readonly Uint8Array[], print: (line: string) => void) {
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-"));
  try {
    const byZstd = zstdTrainer(samples, folder);
    const trained = new Map<number, Trained>();
    for (const kib of new Set([...LZ4_KIB, ...ZSTD_KIB])) {
      const start = performance.now();
      const content = trainDictionary(samples, kib * KIB);
      const trainedAt = performance.now();
      const short = content.subarray(ZSTD_TABLES_BYTES_MAX);
      const finalized = finalizeZstdDictionary(short, samples);
      const [train, finalize] = [trainedAt - start, performance.now() - trainedAt];
      print(
        `${kib} KiB: trained in ${train.toFixed(0)} ms, finalized in ${finalize.toFixed(0)} ms`,
      );
      trained.set(kib, { content, finalized, byZstd: byZstd(kib * KIB) });
    }
    return trained;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function enlist(stage: Stage, trained: ReadonlyMap<number, Trained>): Contestant[] {
  const contestants: Contestant[] = [];
  const add = (name: string, open: (dictionary?: Uint8Array) => Codec, kib = 0) => {
    const dictionaries = trained.get(kib);
    const own = name === "lz4" ? dictionaries?.content : dictionaries?.finalized;
    const codec = open(own);
    const peer = dictionaries?.byZstd && open(dictionaries.byZstd);
    const peerRatio = peer && stage.check(peer);
    peer?.close?.();
    const ratio = stage.check(codec);
    const dictionaryBytes = own?.length ?? 0;
    const times = { compressNs: [], decompressNs: [] };
    contestants.push({ name, codec, dictionaryBytes, ratio, peerRatio, ...times });
  };
  const options = (dictionary?: Uint8Array): CodecOptions => (dictionary ? { dictionary } : {});
  const lz4 = nodeCodecs();
  for (const kib of [0, ...LZ4_KIB]) {
    add("lz4", (dictionary) => lz4.create("lz4", stage, options(dictionary)), kib);
  }
  for (const zstd of ["native", "wasm", "zlib"] as const) {
    const registry = nodeCodecs({ zstd });
    const listing = registry.list().find(({ name }) => name === "zstd");
    if (!listing?.available) continue;
    for (const level of [1, 3]) {
      for (const kib of [0, ...(listing.dictionaries ? ZSTD_KIB : [])]) {
        const open = (dictionary?: Uint8Array) =>
          registry.create("zstd", stage, { level, ...options(dictionary) });
        add(`zstd -${level} (${zstd})`, open, kib);
      }
    }
  }
  return contestants;
}

function toRow(one: Contestant, plain: Contestant): DictionaryRow {
  const times = (own: readonly number[], other: readonly number[]) =>
    median(own.map((ns, round) => ns / other[round]!));
  const { name, dictionaryBytes, ratio, peerRatio } = one;
  return {
    name,
    dictionaryBytes,
    ratio,
    peerRatio,
    compressNs: Math.min(...one.compressNs),
    decompressNs: Math.min(...one.decompressNs),
    compressTimes: times(one.compressNs, plain.compressNs),
    decompressTimes: times(one.decompressNs, plain.decompressNs),
  };
}

function printRows(rows: readonly DictionaryRow[], print: (line: string) => void): void {
  const titles = ["dict KiB", "ratio", "zstd's", "compr ns", "decomp ns", "× plain", "× plain"];
  print("".padEnd(18) + titles.map((title) => title.padStart(10)).join(""));
  for (const row of rows) {
    const cells = [
      (row.dictionaryBytes / KIB).toFixed(0),
      row.ratio.toFixed(3),
      row.peerRatio?.toFixed(3) ?? "-",
      row.compressNs.toFixed(0),
      row.decompressNs.toFixed(0),
      row.compressTimes.toFixed(2),
      row.decompressTimes.toFixed(2),
    ];
    print(row.name.padEnd(18) + cells.map((cell) => cell.padStart(10)).join(""));
  }
}

/** Measures all contenders and prints a table. */
export function benchDictionaries(options: DictionaryBenchOptions = {}): DictionaryRow[] {
  const { tiny = false, print = console.log } = options;
  const samples = documents(0, tiny ? 400 : 3400);
  const held = documents(HELD_OUT_FIRST, tiny ? 40 : 2000);
  const rounds = tiny ? 1 : 5;
  print(`${held.length} JSON documents, ${samples.length} others as samples, ${rounds} rounds`);
  const trained = trainAll(samples, print);
  if (trained.get(64)?.byZstd === undefined) print("zstd --train is left out: no such program");
  const stage = new Stage(held);
  const contestants = enlist(stage, trained);
  for (let round = 0; round < rounds; round++) {
    for (const { codec, compressNs, decompressNs } of contestants) {
      compressNs.push(timePass(held.length, (n) => stage.compress(codec, n)));
      decompressNs.push(timePass(held.length, (n) => stage.decompress(codec, n)));
    }
  }
  const rows = contestants.map((one) => {
    const plain = contestants.find((other) => other.name === one.name)!;
    return toRow(one, plain);
  });
  printRows(rows, print);
  return rows;
}
