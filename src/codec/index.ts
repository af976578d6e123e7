// The entry point `zcache/codec`. Which codecs exist depends on the platform, so a registry starts
// empty; on Node, `nodeCodecs()` fills one with all of them.
/// <reference types="node" preserve="true" />
export type { Address, Brand } from "../base/brand.ts";
export type { Kernels } from "../wasm/kernels.ts";
export type { Codec, CodecMemory, CodecOptions } from "./contract.ts";
export { trainDictionary, trainDictionaryInSteps } from "./dictionary/train.ts";
export { finalizeZstdDictionary, ZSTD_TABLES_BYTES_MAX } from "./dictionary/zstd_dictionary.ts";
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
