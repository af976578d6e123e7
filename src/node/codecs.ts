// The codecs on Node, and the choice among implementations of one codec.
//
//  lz4       in WebAssembly, inside the shared memory        always
//  zstd      zstd-napi, else WebAssembly, else node:zlib     always
//  deflate   node:zlib                                       always
//  lzo       the package `lzo`                               if the user has installed it
//  none      a copy                                          always
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { createLz4 } from "../codec/lz4.ts";
import { NONE_DRIVER } from "../codec/none.ts";
import { type CodecDriver, CodecRegistry, type MissingCodec } from "../codec/registry.ts";
import { loadDeflate } from "./codecs/deflate.ts";
import { loadDeflateCalls } from "./codecs/deflate_calls.ts";
import { loadLzo } from "./codecs/lzo.ts";
import { loadZstdNative } from "./codecs/zstd_native.ts";
import { loadZstdWasm } from "./codecs/zstd_wasm.ts";
import { loadZstdZlib } from "./codecs/zstd_zlib.ts";

/** Forces an implementation, for tests and comparisons (default: the fastest that loads). */
export interface NodeCodecsOptions {
  readonly zstd?: keyof typeof ZSTD;
  readonly deflate?: keyof typeof DEFLATE;
}

type Implementations = Readonly<Record<string, () => CodecDriver>>;

/** Implementations of a codec, the fastest first. */
const ZSTD = { native: loadZstdNative, wasm: loadZstdWasm, zlib: loadZstdZlib };
const DEFLATE = { handle: loadDeflate, calls: loadDeflateCalls };

const LZ4_DRIVER: CodecDriver = {
  name: "lz4",
  implementation: "zcache's own (WebAssembly)",
  dictionaries: true,
  open: (memory, options) => createLz4(memory, options),
};

/**
 * A registry of all codecs for the calling thread; a missing codec is listed with the reason.
 * Codecs that need packages or contexts are loaded at first use, since a store uses two at most.
 * Loading is synchronous, because opening a store is: compiling the WebAssembly zstd takes
 * milliseconds, and is needed only without `zstd-napi`.
 * @throws ZcacheError ERR_OPTION for an unknown implementation
 */
export function nodeCodecs(options: NodeCodecsOptions = {}): CodecRegistry {
  checkOptionNames(options, ["zstd", "deflate"], "nodeCodecs");
  const zstd = narrow("zstd", ZSTD, options.zstd);
  const deflate = narrow("deflate", DEFLATE, options.deflate);
  return new CodecRegistry()
    .register(LZ4_DRIVER)
    .registerLater("zstd", () => firstThatLoads("zstd", zstd, "npm install zstd-napi"))
    .registerLater("deflate", () => firstThatLoads("deflate", deflate, "use another codec"))
    .registerLater("lzo", () => firstThatLoads("lzo", { lzo: loadLzo }, "npm install lzo"))
    .register(NONE_DRIVER);
}

/** The implementations to try: all, or the forced one. */
function narrow(codec: string, implementations: Implementations, forced?: string): Implementations {
  if (forced === undefined) return implementations;
  const load = Object.entries(implementations).find(([name]) => name === forced)?.[1];
  if (load === undefined) {
    const known = Object.keys(implementations).join(", ");
    throw new ZcacheError(
      "ERR_OPTION",
      `${codec} by ${describe(forced)}: the implementations are ${known}`,
    );
  }
  return { [forced]: load };
}

/** Tries implementations in turn. @returns the first that loads, or the reasons why none does */
function firstThatLoads(
  name: string,
  implementations: Implementations,
  remedy: string,
): CodecDriver | MissingCodec {
  const reasons: string[] = [];
  for (const [label, load] of Object.entries(implementations)) {
    try {
      return load();
    } catch (cause) {
      // Any error while a package loads means that it can't be used here.
      const message = cause instanceof Error ? cause.message : String(cause);
      // Node appends the chain of files that required the module.
      const [what] = message.split("\nRequire stack:");
      reasons.push(`${label}: ${what!.replaceAll("\n", " ")}`);
    }
  }
  return { name, reason: reasons.join("; "), remedy };
}
