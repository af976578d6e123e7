// One thread of the store benchmark, which runs the operations that it is sent on its own pages.
//
// The reference is the codec alone on the same pages in the same order, with its output packed
// without gaps: the cost of a store without any structure.
import { parentPort, workerData } from "node:worker_threads";
import { NIL } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Codec } from "../../src/codec/contract.ts";
import { Arena } from "../../src/memory/arena.ts";
import { MAX_ORDER } from "../../src/memory/frame.layout.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { Store, type StoreShare } from "../../src/store/store.ts";
import { TmemKey } from "../../src/tmem/key.ts";
import { readFilePages } from "./data.ts";

export interface LaneInput {
  readonly pages: number;
  readonly pageSize: number;
  readonly lane: number;
  readonly lanes: number;
  readonly codec: string;
}

/** "again": the same pages under their keys once more; "other": each under the key of another. */
export type Phase =
  | "load"
  | "codec"
  | "attach"
  | "put"
  | "again"
  | "other"
  | "get"
  | "flush"
  | "detach";

export interface Order {
  readonly phase: Phase;
  readonly share?: StoreShare;
  readonly pool?: number;
}

export interface Report {
  readonly phase: Phase;
  readonly pages: number;
  /** Time of the whole phase. */
  readonly ms: number;
  /** Only of `codec`: time of compression and decompression, and the compressed bytes. */
  readonly encodeMs?: number;
  readonly decodeMs?: number;
  readonly compressedBytes?: number;
  /** Only of `get`: pages that were missed or wrong; must be 0. */
  readonly wrong?: number;
}

/** Pages of one object. */
const OBJECT_PAGES_SHIFT = 10;
/** One page in this many is compared after `get`. */
const COMPARED = 64;

class Lane {
  readonly #input: LaneInput;
  #pages: Uint8Array[] = [];
  #order: Uint32Array = new Uint32Array();
  #store: Store | undefined;
  #pool: number = NIL;

  constructor(input: LaneInput) {
    this.#input = input;
  }

  run({ phase, share, pool }: Order): Report {
    const start = performance.now();
    const more = this.#run(phase, share, pool);
    return { phase, pages: this.#pages.length, ms: performance.now() - start, ...more };
  }

  #run(phase: Phase, share?: StoreShare, pool = NIL as number): Partial<Report> {
    switch (phase) {
      case "load":
        return this.#load();
      case "codec":
        return this.#codec();
      case "attach":
        this.#store = Store.attach(share!, nodePlatform());
        this.#pool = pool;
        return {};
      case "put":
      case "again":
        return this.#put(0);
      case "other":
        return this.#put(1);
      case "get":
        return this.#get();
      case "flush":
        this.#eachObject((key) => this.#store!.flushObject(this.#pool, key));
        return {};
      case "detach":
        this.#store!.detach();
        return {};
    }
  }

  #load(): Partial<Report> {
    const { pages, pageSize, lane, lanes } = this.#input;
    const count = Math.floor(pages / lanes);
    this.#pages = readFilePages(count, pageSize, lane, lanes);
    this.#order = shuffled(this.#pages.length, lane + 1);
    return {};
  }

  #codec(): Partial<Report> {
    const { pageSize, codec: name } = this.#input;
    const pages = this.#pages;
    const room = Math.min(2 ** 32 - 65_536, pages.length * pageSize + 2 ** 22);
    const arena = Arena.create({ sizeBytes: room, pageSize });
    const codec = nodePlatform().codecs().create(name, arena);
    const plain = arena.reserve(pageSize);
    // The largest block: the rest of the arena is unused.
    const first = arena.reserve(pageSize << MAX_ORDER);
    const places = new Float64Array(pages.length);
    const sizes = new Uint32Array(pages.length);
    const packed: PackedPages = { arena, codec, plain, first, places, sizes };
    const encode = () => encodeAll(packed, pages, this.#order);
    // Touches all memory before the measurement: the first touch takes microseconds per page.
    encode();
    const start = performance.now();
    const compressedBytes = encode();
    const middle = performance.now();
    decodeAll(packed, shuffled(pages.length, 99));
    const end = performance.now();
    arena.close();
    return { encodeMs: middle - start, decodeMs: end - middle, compressedBytes };
  }

  #put(shift: number): Partial<Report> {
    const key = new TmemKey();
    const base = this.#input.lane << 20;
    const count = this.#pages.length;
    let wrong = 0;
    for (const nth of this.#order) {
      key.setObject(base + (nth >>> OBJECT_PAGES_SHIFT));
      key.setIndex(nth & ((1 << OBJECT_PAGES_SHIFT) - 1));
      if (this.#store!.put(this.#pool, key, this.#pages[(nth + shift) % count]!) !== 0) wrong++;
    }
    return { wrong };
  }

  #get(): Partial<Report> {
    const key = new TmemKey();
    const base = this.#input.lane << 20;
    const page = new Uint8Array(this.#input.pageSize);
    let wrong = 0;
    let nth = 0;
    for (const which of shuffled(this.#pages.length, 99)) {
      key.setObject(base + (which >>> OBJECT_PAGES_SHIFT));
      key.setIndex(which & ((1 << OBJECT_PAGES_SHIFT) - 1));
      if (!this.#store!.get(this.#pool, key, page)) wrong++;
      else if (nth++ % COMPARED === 0 && Buffer.compare(page, this.#pages[which]!) !== 0) wrong++;
    }
    return { wrong };
  }

  #eachObject(work: (key: TmemKey) => void): void {
    const objects = Math.ceil(this.#pages.length / (1 << OBJECT_PAGES_SHIFT));
    const base = this.#input.lane << 20;
    for (let object = 0; object < objects; object++) {
      work(new TmemKey().setObject(base + object).setIndex(0));
    }
  }
}

/** Compressed pages without gaps between them, for the codec alone. */
interface PackedPages {
  readonly arena: Arena;
  readonly codec: Codec;
  /** The address of an uncompressed page. */
  readonly plain: number;
  /** The address of the first compressed page. */
  readonly first: number;
  /** The address and the bytes of each page; 0 bytes for a same-filled page. */
  readonly places: Float64Array;
  readonly sizes: Uint32Array;
}

/** Compresses all pages. @returns the sum of the compressed sizes */
function encodeAll(
  { arena, codec, plain, first, places, sizes }: PackedPages,
  pages: readonly Uint8Array[],
  order: Uint32Array,
): number {
  const { pageSize, kernels } = arena;
  const view = arena.bytes.subarray(plain, plain + pageSize);
  const limit = pageSize - pageSize / 64;
  let at = first;
  for (const nth of order) {
    view.set(pages[nth]!);
    places[nth] = at;
    sizes[nth] = 0;
    if (kernels.sameFilled(plain, pageSize) !== 0) continue;
    sizes[nth] = codec.compress(plain as never, pageSize, at as never, limit);
    if (sizes[nth] === 0) {
      kernels.copy(at, plain, pageSize);
      sizes[nth] = pageSize;
    }
    at += sizes[nth]!;
  }
  return at - first;
}

function decodeAll({ arena, codec, plain, places, sizes }: PackedPages, order: Uint32Array): void {
  const { pageSize } = arena;
  const page = new Uint8Array(pageSize);
  const view = arena.bytes.subarray(plain, plain + pageSize);
  for (const nth of order) {
    const sizeBytes = sizes[nth]!;
    if (sizeBytes === 0) arena.kernels.fillPattern(plain, 0, 0, pageSize);
    else if (sizeBytes === pageSize) arena.kernels.copy(plain, places[nth]!, pageSize);
    else codec.decompress(places[nth]! as never, sizeBytes, plain as never, pageSize);
    page.set(view);
  }
}

function shuffled(count: number, seed: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  const random = new Xorshift32(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

if (parentPort !== null) {
  const lane = new Lane(workerData as LaneInput);
  parentPort.on("message", (order: Order) => parentPort!.postMessage(lane.run(order)));
}
