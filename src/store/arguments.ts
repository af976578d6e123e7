// Checks the arguments of a store's methods: options of tmem pools, pages.
import { byteCountOf, bytesOf, isBytes } from "../base/bytes.ts";
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { KEEPS_OLD, PERSISTENT, SHARED } from "../tmem/pools.ts";

export interface TmemPoolOptions {
  /** Pages stay until they are flushed (default false: the store may evict them). */
  readonly persistent?: boolean;
  /** A refused put leaves the old page (default false: it is removed, because it is outdated). */
  readonly keepsOld?: boolean;
  /** 16 bytes that name a pool shared by all clients (default: a private pool). */
  readonly uuid?: Uint8Array;
  /** The client that creates the pool, 0 … 2³¹ − 1: for statistics (default 0). */
  readonly client?: number;
}

/** As `TmemIndex.createPool` takes them. */
export interface ResolvedPoolOptions {
  readonly client: number;
  readonly flags: number;
  readonly uuid: Uint8Array | null;
}

const NAMES: readonly (keyof TmemPoolOptions)[] = ["persistent", "keepsOld", "uuid", "client"];
export const UUID_BYTES = 16;
const CLIENT_MAX = 2 ** 31 - 1;

/** @throws ZcacheError ERR_OPTION */
export function resolvePoolOptions(options: TmemPoolOptions): ResolvedPoolOptions {
  checkOptionNames(options, NAMES, "a tmem pool");
  const { persistent = false, keepsOld = false, uuid, client = 0 } = options;
  for (const [name, value] of Object.entries({ persistent, keepsOld })) {
    if (typeof value === "boolean") continue;
    throw new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be true or false`);
  }
  if (!(Number.isInteger(client) && client >= 0 && client <= CLIENT_MAX)) {
    const allowed = `must be a whole number from 0 to ${CLIENT_MAX}`;
    throw new ZcacheError("ERR_OPTION", `client ${describe(client)}: ${allowed}`);
  }
  const kind = (persistent ? PERSISTENT : 0) | (keepsOld ? KEEPS_OLD : 0);
  if (uuid === undefined) return { client, flags: kind, uuid: null };
  return { client, flags: kind | SHARED, uuid: bytesOf(uuid, "uuid", UUID_BYTES) };
}

/** @throws ZcacheError ERR_OPTION unless `page` is a Uint8Array of pageSize bytes */
export function checkPage(page: unknown, pageSize: number): asserts page is Uint8Array {
  if (isBytes(page) && byteCountOf(page) === pageSize) return;
  const found = isBytes(page) ? byteCountOf(page) : describe(page);
  throw new ZcacheError("ERR_OPTION", `a page is a Uint8Array of ${pageSize} bytes, not ${found}`);
}
