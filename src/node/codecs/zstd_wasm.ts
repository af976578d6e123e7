// Loads the WebAssembly zstd from its package; `codec/zstd_wasm.ts` does the work.
//
// The package exports only its slow functions, over one instance for the whole process, which every
// `init()` replaces beneath whoever is using it. So the two files that count are named by path, and
// the module that joins them is loaded apart from the one that other code may be using.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { CodecDriver } from "../../codec/registry.ts";
import { type ZstdModule, zstdWasmDriver } from "../../codec/zstd_wasm.ts";
import { Wasm, type WasmInstance } from "../../wasm/platform.ts";

/** What the package's module wants and offers before it is initialized, as Emscripten makes it. */
interface Loader extends ZstdModule {
  /** `init` calls it in place of its own instantiation, which never reports a failure. */
  instantiateWasm: (imports: never, receive: (instance: WasmInstance) => void) => object;
  init(binary: Uint8Array): void;
}

/** @throws Error if the package is not installed, or is not laid out as the pinned version is */
export function loadZstdWasm(): CodecDriver {
  const require = createRequire(import.meta.url);
  const folder = dirname(require.resolve("@bokuweb/zstd-wasm"));
  const { version } = require(join(folder, "../../package.json")) as { version: string };
  const binary = new Wasm.Module(readFileSync(join(folder, "zstd.wasm")));
  const { Module } = requireApart(require, join(folder, "zstd.js")) as { Module: Loader };
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

/** Loads a module once more, leaving the copy that others share as it was. */
function requireApart(require: NodeJS.Require, path: string): unknown {
  const shared = require.cache[path];
  delete require.cache[path];
  try {
    return require(path);
  } finally {
    if (shared === undefined) delete require.cache[path];
    else require.cache[path] = shared;
  }
}
