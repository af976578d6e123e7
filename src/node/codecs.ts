// The codecs of Node: which there are, and which of several implementations does the work.
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

/** Forces an implementation, for tests and comparisons; without, the fastest that works. */
export interface NodeCodecsOptions {
  readonly zstd?: keyof typeof ZSTD;
  readonly deflate?: keyof typeof DEFLATE;
}

type Implementations = Readonly<Record<string, () => CodecDriver>>;

/** Implementations of a codec, the best first. */
const ZSTD = { native: loadZstdNative, wasm: loadZstdWasm, zlib: loadZstdZlib };
const DEFLATE = { handle: loadDeflate, calls: loadDeflateCalls };

const LZ4_DRIVER: CodecDriver = {
  name: "lz4",
  implementation: "zcache's own (WebAssembly)",
  dictionaries: true,
  open: (memory, options) => createLz4(memory, options),
};

/**
 * A registry of all codecs, those that are missing listed with the reason; one for each thread.
 * What takes packages and contexts is loaded when it is asked for: a store uses two codecs at most.
 * Synchronous, so that a store can be opened so: compiling the WebAssembly zstd takes milliseconds,
 * and happens only where `zstd-napi` is not to be had.
 * @throws ZcacheError ERR_OPTION for an implementation that doesn't exist
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

/** The implementations to try: all, or the one that is asked for. */
function narrow(codec: string, implementations: Implementations, forced?: string): Implementations {
  if (forced === undefined) return implementations;
  const load = Object.entries(implementations).find(([name]) => name === forced)?.[1];
  if (load === undefined) {
    const known = Object.keys(implementations).join(", ");
    throw new ZcacheError("ERR_OPTION", `${codec} by ${describe(forced)}: there are ${known}`);
  }
  return { [forced]: load };
}

/** Tries the implementations in turn. @returns the first that loads, or why none does */
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
      // Whatever a package throws while it loads means the same: it can't be used here.
      const message = cause instanceof Error ? cause.message : String(cause);
      // Node adds the chain of files that asked for the module.
      const [what] = message.split("\nRequire stack:");
      reasons.push(`${label}: ${what!.replaceAll("\n", " ")}`);
    }
  }
  return { name, reason: reasons.join("; "), remedy };
}
