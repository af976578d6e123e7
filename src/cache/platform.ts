// What a cache needs of Node, put together.
import { AsyncLocalStorage } from "node:async_hooks";
import { Buffer } from "node:buffer";
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { packError, unpackError } from "./packed_error.ts";
import { textIn } from "./text.ts";

/** 32 random bits come as a number below 2³². */
const RANDOM_END = 2 ** 32;

const loading = new AsyncLocalStorage<object>();

/** Fulfils `CachePlatform` (cache/contract.ts). */
export const cachePlatform = {
  now: () => Date.now(),
  random: () => randomInt(RANDOM_END) | 0,
  textIn,
  sleep: async (ms: number) => {
    await sleep(ms);
  },
  isBuffer: (bytes: Uint8Array) => Object.getPrototypeOf(bytes) === Buffer.prototype,
  bufferOf: (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
  encodeText: (text: string, asLatin1: boolean): Uint8Array =>
    Buffer.from(text, asLatin1 ? "latin1" : "utf8"),
  decodeText: (bytes: Uint8Array, asLatin1: boolean) =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
      asLatin1 ? "latin1" : "utf8",
    ),
  loading: {
    run: <T>(scope: object, loader: () => T): T => loading.run(scope, loader),
    current: () => loading.getStore(),
  },
  packError,
  unpackError,
};
