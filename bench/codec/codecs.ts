// Time and size of every codec on real pages, beside npm packages and the reference LZ4 library in
// C in the same run. The codec `none` shows the time of a plain copy.
//
// Machines are noisy, so every contender runs once in each round, and a ratio is the median of the
// rounds' ratios: a slow round slows all contenders. Times are those of the best round.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Address } from "../../src/base/brand.ts";
import { KIB, MIB } from "../../src/base/units.ts";
import type { Codec, CodecMemory } from "../../src/codec/contract.ts";
import type { CodecRegistry } from "../../src/codec/registry.ts";
import { instantiateKernels } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";
import { buildNativeLz4, type NativeLz4 } from "./lz4_native.ts";
import { DATA_KINDS, type DataKind, readPages } from "./pages.ts";
import { openPeers, type Peer } from "./peers.ts";
import { median, type Timing, timeEach, timePass } from "./timing.ts";

export interface CodecBenchOptions {
  /** The codecs to measure. */
  readonly registry: CodecRegistry;
  /** Bytes of a page (default 4096). */
  readonly pageSize?: number;
  /** A few pages and one round: shows that everything runs, in less than two seconds. */
  readonly tiny?: boolean;
  /** Prints a line (default: standard output). */
  readonly print?: (line: string) => void;
}

/** One row of the table: a contender that compresses a page, given by number, and restores it. */
interface Contestant {
  readonly name: string;
  /** @returns the compressed size */
  compress(page: number): number;
  decompress(page: number): void;
  /** @returns the page that was restored last */
  restored(): Uint8Array;
}

interface Row {
  readonly name: string;
  readonly compressNs: number[];
  readonly decompressNs: number[];
  compress?: Timing;
  decompress?: Timing;
  bytes: number;
}

/** Scratch of the codecs: LZ4 8 KiB, others a page and its bound, some 140 KiB at most. */
const SCRATCH_BYTES = 4 * MIB;

/** The pages, a slot for each one's compressed form and one restored page, in a shared memory. */
class Stage implements CodecMemory {
  readonly bytes: Uint8Array;
  readonly kernels: CodecMemory["kernels"];
  readonly pages: number;
  readonly sizes: Int32Array;
  readonly restoredAt: Address;
  readonly pageSize: number;
  readonly slotBytes: number;
  #reserved = 64 * KIB;

  constructor(data: Uint8Array, pageSize: number) {
    this.pageSize = pageSize;
    this.pages = data.length / pageSize;
    // Room for the largest output of any codec here, LZO's n + n/16 + 67.
    this.slotBytes = pageSize + pageSize / 16 + 128;
    const sizeBytes = SCRATCH_BYTES + (this.pages + 1) * (pageSize + this.slotBytes);
    const wasmPages = Math.ceil(sizeBytes / (64 * KIB));
    const memory = new Wasm.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    this.bytes = new Uint8Array(memory.buffer);
    this.kernels = instantiateKernels(memory);
    this.sizes = new Int32Array(this.pages);
    this.bytes.set(data, SCRATCH_BYTES);
    this.restoredAt = (SCRATCH_BYTES + data.length) as Address;
  }

  reserve(sizeBytes: number): Address {
    const at = this.#reserved;
    this.#reserved += Math.ceil(sizeBytes / KIB) * KIB;
    if (this.#reserved > SCRATCH_BYTES) throw new Error("the bench has too little scratch");
    return at as Address;
  }

  pageAt(page: number): Address {
    return (SCRATCH_BYTES + page * this.pageSize) as Address;
  }

  slotAt(page: number): Address {
    return (this.restoredAt + this.pageSize + page * this.slotBytes) as Address;
  }

  view(at: Address): Uint8Array {
    return this.bytes.subarray(at, at + this.pageSize);
  }
}

function contestantOfCodec(stage: Stage, codec: Codec): Contestant {
  const { sizes, pageSize, slotBytes, restoredAt } = stage;
  return {
    name: codec.name,
    compress(page) {
      const size = codec.compress(stage.pageAt(page), pageSize, stage.slotAt(page), slotBytes);
      sizes[page] = size;
      return size;
    },
    decompress(page) {
      codec.decompress(stage.slotAt(page), sizes[page]!, restoredAt, pageSize);
    },
    restored: () => stage.view(restoredAt),
  };
}

function contestantOfPeer(stage: Stage, peer: Peer): Contestant {
  const { pages, pageSize } = stage;
  // Private copies: packages get ordinary buffers, as in their users' programs.
  const inputs = Array.from({ length: pages }, (_, at) =>
    Buffer.from(stage.view(stage.pageAt(at))),
  );
  const blocks: Uint8Array[] = new Array(pages);
  let restored: Uint8Array = new Uint8Array(0);
  return {
    name: peer.name,
    compress(page) {
      const block = peer.compress(inputs[page]!);
      blocks[page] = block;
      return block.length;
    },
    decompress(page) {
      restored = peer.decompress(blocks[page]!, pageSize);
    },
    restored: () => restored,
  };
}

/** Warms up and checks: every page once, compared. @returns total compressed bytes */
function check(stage: Stage, contestant: Contestant): number {
  let bytes = 0;
  for (let page = 0; page < stage.pages; page++) {
    bytes += contestant.compress(page);
    contestant.decompress(page);
    const equal = Buffer.from(contestant.restored()).equals(stage.view(stage.pageAt(page)));
    if (!equal) throw new Error(`${contestant.name}: page ${page} comes back different`);
  }
  return bytes;
}

function percentiles(stage: Stage, work: (page: number) => void, meanNs: number): Timing {
  const histogram = timeEach(stage.pages, work);
  return { meanNs, p50Ns: histogram.percentile(0.5), p99Ns: histogram.percentile(0.99) };
}

function faster(best: Timing | undefined, timing: Timing): Timing {
  return best === undefined || timing.meanNs < best.meanNs ? timing : best;
}

function measureRounds(
  stage: Stage,
  contestants: readonly Contestant[],
  native: { program: NativeLz4; file: string } | undefined,
  rounds: number,
): { rows: Row[]; nativeRow: Row | undefined } {
  const emptyRow = (name: string, bytes: number): Row => {
    return { name, bytes, compressNs: [], decompressNs: [] };
  };
  const rows = contestants.map((one) => emptyRow(one.name, check(stage, one)));
  const nativeRow = native && emptyRow("liblz4 (C)", 0);
  for (let round = 0; round < rounds; round++) {
    if (native && nativeRow) {
      const { compress, decompress, bytes } = native.program.measure(native.file, stage.pageSize);
      nativeRow.bytes = bytes;
      nativeRow.compress = faster(nativeRow.compress, compress);
      nativeRow.decompress = faster(nativeRow.decompress, decompress);
      nativeRow.compressNs.push(compress.meanNs);
      nativeRow.decompressNs.push(decompress.meanNs);
    }
    contestants.forEach((one, index) => {
      rows[index]!.compressNs.push(timePass(stage.pages, one.compress));
      rows[index]!.decompressNs.push(timePass(stage.pages, one.decompress));
    });
  }
  contestants.forEach((one, index) => {
    const row = rows[index]!;
    row.compress = percentiles(stage, one.compress, Math.min(...row.compressNs));
    row.decompress = percentiles(stage, one.decompress, Math.min(...row.decompressNs));
  });
  return { rows, nativeRow };
}

function formatTiming(timing: Timing | undefined): string {
  const numbers = timing ? [timing.meanNs, timing.p50Ns, timing.p99Ns] : [];
  return numbers.map((ns) => ns.toFixed(0).padStart(8)).join("");
}

/** The median over the rounds of the row's time ÷ the native library's time. */
function formatRatio(ours: readonly number[], native: readonly number[] | undefined): string {
  if (native === undefined) return "-".padStart(8);
  return median(ours.map((ns, round) => ns / native[round]!))
    .toFixed(2)
    .padStart(8);
}

function printTable(
  print: (line: string) => void,
  stage: Stage,
  rows: readonly Row[],
  nativeRow: Row | undefined,
): void {
  const groups = ["compress, ns per page", "decompress, ns per page"];
  const titles = ["mean", "p50", "p99", "mean", "p50", "p99", "bytes", "compr", "decompr"];
  const heads = [...groups, "time × liblz4"].map((head) => head.padStart(24));
  print("".padEnd(22) + heads.join(""));
  print("codec".padEnd(22) + titles.map((title) => title.padStart(8)).join(""));
  for (const row of nativeRow ? [nativeRow, ...rows] : rows) {
    const times = formatTiming(row.compress) + formatTiming(row.decompress);
    const size = (row.bytes / stage.pages).toFixed(0).padStart(8);
    const compressRatio = formatRatio(row.compressNs, nativeRow?.compressNs);
    const decompressRatio = formatRatio(row.decompressNs, nativeRow?.decompressNs);
    print(row.name.padEnd(22) + times + size + compressRatio + decompressRatio);
  }
}

interface Plan {
  readonly registry: CodecRegistry;
  readonly peers: readonly Peer[];
  readonly native: NativeLz4 | undefined;
  readonly folder: string;
  readonly pageSize: number;
  readonly pages: number;
  readonly rounds: number;
  readonly print: (line: string) => void;
}

async function benchKind(kind: DataKind, plan: Plan): Promise<void> {
  const { registry, peers, folder, pageSize, print } = plan;
  const data = await readPages(kind, plan.pages, pageSize);
  if (data.length === 0) return print(`${kind} is left out: nothing of the kind was found`);
  const stage = new Stage(data, pageSize);
  const file = join(folder, `${kind}.pages`);
  writeFileSync(file, data);
  const contestants = registry
    .list()
    .filter((codec) => codec.available)
    .map(({ name }) => contestantOfCodec(stage, registry.create(name, stage)));
  contestants.push(...peers.map((peer) => contestantOfPeer(stage, peer)));
  const native = plan.native && { program: plan.native, file };
  const { rows, nativeRow } = measureRounds(stage, contestants, native, plan.rounds);
  print("");
  print(`${kind}: ${stage.pages} pages of ${pageSize} bytes, ${plan.rounds} rounds`);
  printTable(print, stage, rows, nativeRow);
}

/** Measures all codecs on all kinds of data and prints a table for each kind. */
export async function benchCodecs(options: CodecBenchOptions): Promise<void> {
  const { registry, pageSize = 4 * KIB, tiny = false, print = console.log } = options;
  const folder = mkdtempSync(join(tmpdir(), "zcache-bench-"));
  try {
    const native = buildNativeLz4(folder);
    if (typeof native === "string") print(`liblz4 (C) is left out: ${native}`);
    const { peers, missing } = await openPeers();
    for (const name of missing) print(`npm ${name} is left out: it is not installed`);
    for (const codec of registry.list()) {
      if (!codec.available) print(`${codec.name} is left out: ${codec.reason}`);
    }
    const plan: Plan = {
      registry,
      peers,
      native: typeof native === "string" ? undefined : native,
      folder,
      pageSize,
      pages: tiny ? 32 : Math.floor((16 * MIB) / pageSize),
      rounds: tiny ? 1 : 7,
      print,
    };
    for (const kind of DATA_KINDS) await benchKind(kind, plan);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
