// zstd in WebAssembly, which the build embeds (scripts/embed.mjs); `codec/zstd_wasm.ts` calls it.
import { inflateRawSync } from "node:zlib";
import type { CodecDriver } from "../../codec/registry.ts";
import { type ZstdModule, zstdWasmDriver } from "../../codec/zstd_wasm.ts";
import { Wasm, type WasmInstance, type WasmModule } from "../../wasm/platform.ts";
import { createZstdModule, ZSTD_VERSION, ZSTD_WASM } from "./zstd_wasm.binary.ts";

/** The package's module before its initialization, as Emscripten makes it. */
interface Loader extends ZstdModule {
  /** Replaces Emscripten's own instantiation, which does not report failures. */
  instantiateWasm: (imports: never, receive: (instance: WasmInstance) => void) => object;
  init(binary: Uint8Array): void;
}

/** Compiled once; each registry has an instance of its own. */
let compiled: WasmModule | undefined;

/** @throws Error if WebAssembly can't be instantiated here */
export function loadZstdWasm(): CodecDriver {
  compiled ??= new Wasm.Module(inflateRawSync(Buffer.from(ZSTD_WASM, "base64")));
  const binary = compiled;
  const module = createZstdModule() as Loader;
  let instantiated = false;
  module.instantiateWasm = (imports, receive) => {
    receive(new Wasm.Instance(binary, imports));
    instantiated = true;
    return {};
  };
  module.init(new Uint8Array());
  if (!instantiated) throw new Error(`@bokuweb/zstd-wasm ${ZSTD_VERSION} can't be instantiated`);
  return zstdWasmDriver(module, ZSTD_VERSION);
}
