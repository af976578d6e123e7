// Calls of the system for the memory of an arena, which Node.js itself does not offer: `madvise`
// and `mlock2` of Linux. They are made through the optional package `koffi`, which has its binary
// in the package, or through `node:ffi`, where Node has it (from version 26 on). Either is loaded
// at its first use.
//
// Nothing depends on these calls: without them a store keeps the memory of free frames, and its
// pages have the usual size.
import type { Address } from "../base/brand.ts";
import { assert } from "../base/errors.ts";
import { requireOptional } from "./optional_packages.ts";

// Advice of madvise(2).
const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const MADV_DONTNEED_LOCKED = 24;
// Flag of mlock2(2): a page is locked when it is touched.
const MLOCK_ONFAULT = 1;
/** What madvise says of locked pages, and of advice that it does not know. */
const EINVAL = 22;

/** The functions of the system's library; a call returns 0, or the number of its error. */
export interface MemoryCalls {
  readonly by: "koffi" | "node:ffi";
  /** Bytes of a page of the system. */
  readonly systemPage: number;
  madvise(region: Uint8Array, sizeBytes: number, advice: number): number;
  mlock2(region: Uint8Array, sizeBytes: number, flags: number): number;
}

/** Loads a module by its name. */
type Load = (name: string) => unknown;
type Call = (...args: unknown[]) => unknown;

/** The used part of `koffi`. */
interface Koffi {
  load(path: null): { func(declaration: string): Call };
  errno(): number;
}

/** The used part of `node:ffi`. */
interface NodeFfi {
  dlopen(path: null, functions: object): { readonly functions: Readonly<Record<string, Call>> };
  getInt32(pointer: unknown): number;
}

let loaded: MemoryCalls | Error | undefined;

/**
 * The calls, loaded once for a thread.
 * @throws Error with the reason why there are none
 */
export function memoryCalls(): MemoryCalls {
  if (loaded === undefined) {
    try {
      loaded = loadMemoryCalls();
    } catch (error) {
      loaded = error as Error;
    }
  }
  if (loaded instanceof Error) throw loaded;
  return loaded;
}

/**
 * @param load loads a module, for tests
 * @throws Error with the reason why the calls can't be made here
 */
export function loadMemoryCalls(
  load: Load = requireOptional,
  platform: string = process.platform,
): MemoryCalls {
  if (platform !== "linux") throw new Error(`there are no such calls for ${platform}`);
  const reasons: string[] = [];
  for (const open of [openKoffi, openNodeFfi]) {
    try {
      return open(load);
    } catch (error) {
      reasons.push(firstLine(error));
    }
  }
  throw new Error(reasons.join("; "));
}

function openKoffi(load: Load): MemoryCalls {
  const koffi = load("koffi") as Koffi;
  const library = koffi.load(null);
  const getpagesize = library.func("int getpagesize()");
  const madvise = library.func("int madvise(void *region, size_t size, int advice)");
  const mlock2 = library.func("int mlock2(void *region, size_t size, unsigned int flags)");
  const resultOf = (result: unknown) => (result === 0 ? 0 : koffi.errno());
  return {
    by: "koffi",
    systemPage: Number(getpagesize()),
    madvise: (region, sizeBytes, advice) => resultOf(madvise(region, sizeBytes, advice)),
    mlock2: (region, sizeBytes, flags) => resultOf(mlock2(region, sizeBytes, flags)),
  };
}

function openNodeFfi(load: Load): MemoryCalls {
  const ffi = load("node:ffi") as NodeFfi;
  const call = (parameters: readonly string[], result: string) => {
    return { arguments: parameters, return: result };
  };
  const { functions } = ffi.dlopen(null, {
    getpagesize: call([], "int32"),
    madvise: call(["pointer", "uint64", "int32"], "int32"),
    mlock2: call(["pointer", "uint64", "uint32"], "int32"),
    __errno_location: call([], "pointer"),
  });
  const errnoAt = functions["__errno_location"]!();
  const resultOf = (result: unknown) => (result === 0 ? 0 : ffi.getInt32(errnoAt));
  const { getpagesize, madvise, mlock2 } = functions;
  return {
    by: "node:ffi",
    systemPage: Number(getpagesize!()),
    madvise: (region, size, advice) => resultOf(madvise!(region, BigInt(size), advice)),
    mlock2: (region, size, flags) => resultOf(mlock2!(region, BigInt(size), flags)),
  };
}

/** The calls for one arena. Each first checks that its region lies in the arena. */
export class ArenaMemory {
  readonly #bytes: Uint8Array;
  readonly #calls: MemoryCalls;
  /** The call that failed last, and its error number. */
  failure: string | undefined;
  #dontNeed = MADV_DONTNEED;

  /** @param bytes the whole arena */
  constructor(bytes: Uint8Array, calls: MemoryCalls) {
    assert(bytes.length % calls.systemPage === 0, "an arena consists of whole pages");
    this.#bytes = bytes;
    this.#calls = calls;
  }

  get by(): MemoryCalls["by"] {
    return this.#calls.by;
  }

  get systemPage(): number {
    return this.#calls.systemPage;
  }

  /**
   * Returns the memory of a region to the system; the region then reads as zeros.
   * @returns whether the call succeeded
   */
  release(at: Address, sizeBytes: number): boolean {
    if (this.#madvise(at, sizeBytes, this.#dontNeed)) return true;
    if (this.#dontNeed === MADV_DONTNEED_LOCKED || this.failure !== failureOf("madvise", EINVAL)) {
      return false;
    }
    // So the system refuses locked pages.
    this.#dontNeed = MADV_DONTNEED_LOCKED;
    return this.#madvise(at, sizeBytes, MADV_DONTNEED_LOCKED);
  }

  /** Asks for huge pages in a region, where it is touched from here on. @returns as `release` */
  useHugePages(at: Address, sizeBytes: number): boolean {
    return this.#madvise(at, sizeBytes, MADV_HUGEPAGE);
  }

  /** Locks the pages of a region in memory, each when it is touched. @returns as `release` */
  lockTouched(at: Address, sizeBytes: number): boolean {
    const region = this.#regionOf(at, sizeBytes);
    return this.#isDone("mlock2", this.#calls.mlock2(region, sizeBytes, MLOCK_ONFAULT));
  }

  #madvise(at: Address, sizeBytes: number, advice: number): boolean {
    const region = this.#regionOf(at, sizeBytes);
    return this.#isDone("madvise", this.#calls.madvise(region, sizeBytes, advice));
  }

  #isDone(name: string, errno: number): boolean {
    this.failure = errno === 0 ? undefined : failureOf(name, errno);
    return errno === 0;
  }

  #regionOf(at: Address, sizeBytes: number): Uint8Array {
    const { systemPage } = this.#calls;
    const isWhole = (bytes: number) => Number.isSafeInteger(bytes) && bytes % systemPage === 0;
    assert(isWhole(at) && isWhole(sizeBytes), "a region consists of whole pages");
    assert(at >= 0 && sizeBytes > 0, "a region is not empty");
    assert(at + sizeBytes <= this.#bytes.length, "a region lies in its arena");
    return this.#bytes.subarray(at, at + sizeBytes);
  }
}

function failureOf(name: string, errno: number): string {
  return `${name} failed with error number ${errno}`;
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!;
}
