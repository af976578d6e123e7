// The entry point `zcache/codec`. Which codecs there are depends on the platform, so a registry
// starts empty: on Node, `nodeCodecs()` fills one with all of them.
export type { Address } from "../base/brand.ts";
export type { Codec, CodecMemory, CodecOptions } from "./contract.ts";
export { createLz4 } from "./lz4.ts";
export { createNone, NONE_DRIVER } from "./none.ts";
export {
  type CodecDriver,
  type CodecLevels,
  type CodecListing,
  CodecRegistry,
  type MissingCodec,
} from "./registry.ts";
export { type ZstdModule, zstdWasmDriver } from "./zstd_wasm.ts";
