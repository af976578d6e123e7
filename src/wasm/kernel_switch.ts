// Makes calls into the kernels of several memories as cheap as into those of one. V8 compiles a
// call of one and the same exported function to a jump; where a call site sees the functions of
// several instances, each call is a generic one and takes three times as long, 18 ns instead of 5.
// So all memories of a store with shards are called through one instance, the switch, whose
// functions call those of the other instances through its table (kernel_switch.as.ts): 8 ns.
//
// The functions that an operation calls several times are switched; the others are called as ever.
import type { Kernels } from "./kernels.ts";

/** The switch's functions, of which `at` is where those of a memory begin in the table. */
interface Switch {
  copyAt(at: number, target: number, source: number, sizeBytes: number): void;
  compareExchangeAt(at: number, address: number, expected: number, value: number): number;
  exchangeAt(at: number, address: number, value: number): number;
  enterReaderAt(at: number, reader: number, writing: number): number;
  leaveReaderAt(at: number, reader: number): void;
  firstSetAt(at: number, words: number, nth: number, count: number, strideBytes: number): number;
  sameFilledAt(at: number, page: number, sizeBytes: number): number;
  lz4CompressAt(at: number, ...block: Parameters<Kernels["lz4Compress"]>): number;
  lz4DecompressAt(at: number, ...block: Parameters<Kernels["lz4Decompress"]>): number;
  findPageAt(at: number, find: number, low: number, high: number): number;
  incrementAt(at: number, address: number): void;
}

/** The switched functions in the order in which kernel_switch.as.ts finds them in the table. */
const SWITCHED = [
  "copy",
  "compareExchange",
  "exchange",
  "enterReader",
  "leaveReader",
  "firstSet",
  "sameFilled",
  "lz4Compress",
  "lz4Decompress",
  "findPage",
  "increment",
] as const;

/** The kernels of all memories of one store in one thread. */
export class KernelSwitch {
  #home: Kernels | undefined;

  /** @param own an instance  @returns the same functions, to be called instead */
  add(own: Kernels): Kernels {
    this.#home ??= own;
    const { table } = this.#home;
    const at = table.grow(SWITCHED.length);
    for (const [nth, name] of SWITCHED.entries()) table.set(at + nth, own[name]);
    return new SwitchedKernels(this.#home, own, at);
  }
}

class SwitchedKernels implements Kernels {
  readonly fill: Kernels["fill"];
  readonly fillPattern: Kernels["fillPattern"];
  readonly equal: Kernels["equal"];
  readonly checksum: Kernels["checksum"];
  readonly populate: Kernels["populate"];
  readonly spinForLock: Kernels["spinForLock"];
  readonly spinAsReader: Kernels["spinAsReader"];
  readonly spinWhileSet: Kernels["spinWhileSet"];
  readonly addLong: Kernels["addLong"];
  readonly readLong: Kernels["readLong"];
  readonly lz4PrepareDictionary: Kernels["lz4PrepareDictionary"];
  readonly lz4CompressDictionary: Kernels["lz4CompressDictionary"];
  readonly lz4DecompressDictionary: Kernels["lz4DecompressDictionary"];
  readonly answerGets: Kernels["answerGets"];
  readonly putValue: Kernels["putValue"];
  readonly putPacked: Kernels["putPacked"];
  readonly storeLines: Kernels["storeLines"];
  readonly table: Kernels["table"];
  readonly putLong: Kernels["putLong"];
  readonly addHash: Kernels["addHash"];
  readonly lookAtHashes: Kernels["lookAtHashes"];
  readonly answerKey: Kernels["answerKey"];
  readonly forgetFound: Kernels["forgetFound"];
  readonly #switch: Switch;
  readonly #at: number;

  constructor(home: Kernels, own: Kernels, at: number) {
    this.fill = own.fill;
    this.fillPattern = own.fillPattern;
    this.equal = own.equal;
    this.checksum = own.checksum;
    this.populate = own.populate;
    this.spinForLock = own.spinForLock;
    this.spinAsReader = own.spinAsReader;
    this.spinWhileSet = own.spinWhileSet;
    this.addLong = own.addLong;
    this.readLong = own.readLong;
    this.lz4PrepareDictionary = own.lz4PrepareDictionary;
    this.lz4CompressDictionary = own.lz4CompressDictionary;
    this.lz4DecompressDictionary = own.lz4DecompressDictionary;
    this.answerGets = own.answerGets;
    this.putValue = own.putValue;
    this.putPacked = own.putPacked;
    this.storeLines = own.storeLines;
    this.table = own.table;
    this.putLong = own.putLong;
    this.addHash = own.addHash;
    this.lookAtHashes = own.lookAtHashes;
    this.answerKey = own.answerKey;
    this.forgetFound = own.forgetFound;
    this.#switch = home as unknown as Switch;
    this.#at = at;
  }

  copy(target: number, source: number, sizeBytes: number): void {
    this.#switch.copyAt(this.#at, target, source, sizeBytes);
  }

  compareExchange(address: number, expected: number, value: number): number {
    return this.#switch.compareExchangeAt(this.#at, address, expected, value);
  }

  exchange(address: number, value: number): number {
    return this.#switch.exchangeAt(this.#at, address, value);
  }

  enterReader(reader: number, writing: number): number {
    return this.#switch.enterReaderAt(this.#at, reader, writing);
  }

  leaveReader(reader: number): void {
    this.#switch.leaveReaderAt(this.#at, reader);
  }

  firstSet(words: number, nth: number, count: number, strideBytes: number): number {
    return this.#switch.firstSetAt(this.#at, words, nth, count, strideBytes);
  }

  sameFilled(page: number, sizeBytes: number): number {
    return this.#switch.sameFilledAt(this.#at, page, sizeBytes);
  }

  lz4Compress(
    source: number,
    sourceBytes: number,
    target: number,
    limit: number,
    table: number,
  ): number {
    return this.#switch.lz4CompressAt(this.#at, source, sourceBytes, target, limit, table);
  }

  lz4Decompress(source: number, sourceBytes: number, target: number, targetBytes: number): number {
    return this.#switch.lz4DecompressAt(this.#at, source, sourceBytes, target, targetBytes);
  }

  findPage(find: number, low: number, high: number): number {
    return this.#switch.findPageAt(this.#at, find, low, high);
  }

  increment(address: number): void {
    this.#switch.incrementAt(this.#at, address);
  }
}
