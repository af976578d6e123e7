// The npm packages that the codecs are compared with. A package is used if it is installed, by the
// call that its documentation shows; the time includes the result that it allocates.
import { deflateRawSync, inflateRawSync } from "node:zlib";

/** A codec in the form that packages have: a buffer in, a new buffer out. */
export interface Peer {
  readonly name: string;
  compress(page: Buffer): Uint8Array;
  decompress(block: Uint8Array, pageSize: number): Uint8Array;
}

interface PeerSource {
  readonly packageName: string;
  /** @param module the imported package: its default export if it has one */
  open(module: never): Peer;
}

interface ByteCalls {
  compress(data: Uint8Array, setting?: unknown): Uint8Array;
  decompress(data: Uint8Array, sizeBytes?: number): Uint8Array;
}

const SOURCES: readonly PeerSource[] = [
  {
    packageName: "lz4-napi",
    open(module: {
      compressSync(data: Uint8Array): Uint8Array;
      uncompressSync(data: Uint8Array): Uint8Array;
    }) {
      return {
        name: "npm lz4-napi",
        compress: (page) => module.compressSync(page),
        decompress: (block) => module.uncompressSync(block),
      };
    },
  },
  {
    packageName: "lz4",
    open(module: {
      encodeBlock(data: Uint8Array, target: Uint8Array): number;
      decodeBlock(data: Uint8Array, target: Uint8Array): number;
    }) {
      return {
        name: "npm lz4",
        compress(page) {
          const block = Buffer.allocUnsafe(page.length + (page.length >> 7) + 32);
          return block.subarray(0, module.encodeBlock(page, block));
        },
        decompress(block, pageSize) {
          const page = Buffer.allocUnsafe(pageSize);
          module.decodeBlock(block, page);
          return page;
        },
      };
    },
  },
  {
    packageName: "zstd-napi",
    open(module: ByteCalls) {
      const parameters = { compressionLevel: 1 };
      return {
        name: "npm zstd-napi -1",
        compress: (page) => module.compress(page, parameters),
        decompress: (block) => module.decompress(block),
      };
    },
  },
  {
    packageName: "lzo",
    open(module: ByteCalls) {
      return {
        name: "npm lzo",
        compress: (page) => module.compress(page),
        decompress: (block, pageSize) => module.decompress(block, pageSize),
      };
    },
  },
  {
    packageName: "node:zlib",
    open() {
      const settings = { level: 1 };
      return {
        name: "node:zlib deflate -1",
        compress: (page) => deflateRawSync(page, settings),
        decompress: (block) => inflateRawSync(block),
      };
    },
  },
];

/** @returns the peers that are installed, and the names of those that are not */
export async function openPeers(): Promise<{ peers: Peer[]; missing: string[] }> {
  const peers: Peer[] = [];
  const missing: string[] = [];
  for (const { packageName, open } of SOURCES) {
    try {
      const module = (await import(packageName)) as { default?: unknown };
      peers.push(open((module.default ?? module) as never));
    } catch {
      missing.push(packageName);
    }
  }
  return { peers, missing };
}
