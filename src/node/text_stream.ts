// A text file as a stream of pieces, decompressed if its name ends in .gz or .zst.
import { createReadStream, statSync } from "node:fs";
import { pipeline, type Transform } from "node:stream";
import * as zlib from "node:zlib";
import { ZcacheError } from "../base/errors.ts";
import { rawArguments, reasonOf } from "./inputs.ts";
import { requireOptional } from "./optional_packages.ts";

/** zstd of newer versions of Node, and of `zstd-napi`. */
interface ZstdStreams {
  createZstdDecompress?(): Transform;
  DecompressStream?: new () => Transform;
}

function unzstd(): Transform {
  const { createZstdDecompress } = zlib as ZstdStreams;
  if (createZstdDecompress !== undefined) return createZstdDecompress();
  try {
    const { DecompressStream } = requireOptional("zstd-napi") as ZstdStreams;
    return new DecompressStream!();
  } catch (cause) {
    const message =
      "zstd is not available: install zstd-napi, use Node 22.15 or later, or decompress the file";
    throw new ZcacheError("ERR_INPUT", message, { cause });
  }
}

/**
 * @throws ZcacheError ERR_INPUT: a file that can't be read, is not regular, or is not compressed as
 *   its name says
 */
export async function* readText(path: string): AsyncGenerator<string> {
  try {
    // Some commands read a file several times, which a FIFO does not allow.
    const [bytes] = rawArguments([path]);
    if (!statSync(bytes!).isFile()) throw new Error("not a regular file");
    const file = createReadStream(bytes!);
    const unpack = path.endsWith(".gz")
      ? zlib.createGunzip()
      : path.endsWith(".zst")
        ? unzstd()
        : undefined;
    // An error of any stream destroys the last one, and so reaches the loop.
    const last = unpack === undefined ? file : pipeline(file, unpack, () => {});
    yield* last.setEncoding("utf8") as AsyncIterable<string>;
  } catch (cause) {
    throw new ZcacheError("ERR_INPUT", `can't read ${path}: ${reasonOf(cause)}`, { cause });
  }
}
