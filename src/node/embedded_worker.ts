// Worker threads run scripts that the build embeds (scripts/embed.mjs) instead of files. So no
// bundler has to find a worker, and a process can start one after its files were replaced.
import { inflateRawSync } from "node:zlib";
import { ZSTD_WASM } from "./codecs/zstd_wasm.binary.ts";
import { PACKAGE_URL } from "./optional_packages.ts";

/** A worker's module with its dependencies, as one script: packed, in base64. */
export type EmbeddedWorker = string;

/** @returns CommonJS source, with the constants that the script takes from the thread it is in */
export function unpackWorker(worker: EmbeddedWorker): string {
  const shared = `const zcacheUrl=${JSON.stringify(PACKAGE_URL)},zcacheZstdWasm="${ZSTD_WASM}";\n`;
  return shared + inflateRawSync(Buffer.from(worker, "base64")).toString();
}
