// The entry point `zcache`: the arena, the pools over it, and the codecs that Node has.
export { AssertionError, type ErrorCode, ZcacheError } from "./base/errors.ts";
export { formatBytes, GIB, KIB, MIB, parseSize } from "./base/units.ts";
export * from "./codec/index.ts";
export { nodeCodecs } from "./node/codecs.ts";
export * from "./pool/index.ts";
