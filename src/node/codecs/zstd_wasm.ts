// Loads the WebAssembly zstd from its package, for `codec/zstd_wasm.ts`.
//
// The package exports only slow functions over one instance for the whole process, which every
// `init()` replaces while other code may use it. So its two files are loaded by path, and its
// module is loaded separately from the one that other code may use.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { CodecDriver } from "../../codec/registry.ts";
import { type ZstdModule, zstdWasmDriver } from "../../codec/zstd_wasm.ts";
import { Wasm, type WasmInstance } from "../../wasm/platform.ts";

/** The package's module before its initialization, as Emscripten makes it. */
interface Loader extends ZstdModule {
  /** Replaces Emscripten's own instantiation, which does not report failures. */
  instantiateWasm: (imports: never, receive: (instance: WasmInstance) => void) => object;
  init(binary: Uint8Array): void;
}

/** @throws Error if the package is not installed, or has other files than the pinned version */
export function loadZstdWasm(): CodecDriver {
  const require = createRequire(import.meta.url);
  const folder = dirname(require.resolve("@bokuweb/zstd-wasm"));
  const { version } = require(join(folder, "../../package.json")) as { version: string };
  const binary = new Wasm.Module(readFileSync(join(folder, "zstd.wasm")));
  const { Module } = requireAgain(require, join(folder, "zstd.js")) as { Module: Loader };
  let instantiated = false;
  Module.instantiateWasm = (imports, receive) => {
    receive(new Wasm.Instance(binary, imports));
    instantiated = true;
    return {};
  };
  Module.init(new Uint8Array());
  if (!instantiated) throw new Error(`@bokuweb/zstd-wasm ${version} can't be instantiated`);
  return zstdWasmDriver(Module, version);
}

/** Loads a module again, and leaves the cached one as it is. */
function requireAgain(require: NodeJS.Require, path: string): unknown {
  const shared = require.cache[path];
  delete require.cache[path];
  try {
    return require(path);
  } finally {
    if (shared === undefined) delete require.cache[path];
    else require.cache[path] = shared;
  }
}
