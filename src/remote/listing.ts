// Lists the records under a prefix, node after node, with SCAN.
//
// A cursor of SCAN is good for one node only, and records move with their slots. So a listing names
// the masters and what they own, by a hash; if that changes, the listing begins anew: each record
// is listed at least once. The cursor of a listing is text of the form HASH NODE CURSOR.
import { Buffer } from "node:buffer";
import type { RemoteKey, RemoteKeys } from "../backing/remote_contract.ts";
import type { ZcacheError } from "../base/errors.ts";
import { checksum } from "./checksum.ts";
import { ConnectionFailure } from "./connection.ts";
import type { Reply } from "./engine_package.ts";
import { parseRecordKey, recordPattern } from "./keys.ts";
import { failure, type Router } from "./router.ts";
import { SLOTS } from "./slots.ts";

/** Keys that a server looks at for one call. */
const SCAN_COUNT = 500;
const CURSOR = /^([0-9]{1,10}) (\d{1,4}) (\d{1,20})$/;

export class Listing {
  readonly #router: Router;
  readonly #prefix: string;
  readonly #timeoutMs: number;

  constructor(router: Router, prefix: string, timeoutMs: number) {
    this.#router = router;
    this.#prefix = prefix;
    this.#timeoutMs = timeoutMs;
  }

  async next(cursor: string | undefined): Promise<RemoteKeys | ZcacheError> {
    const deadlineMs = performance.now() + this.#timeoutMs;
    const masters = this.#router.masters();
    const view = this.#viewOf(masters.map(({ address }) => address));
    const [, hash, nth, at] = CURSOR.exec(cursor ?? "") ?? [];
    const goesOn = hash === view;
    const index = goesOn ? Number(nth) : 0;
    const node = masters[index];
    if (node === undefined) return failure("no node is known");
    let reply: Reply;
    try {
      const words = ["MATCH", recordPattern(this.#prefix), "COUNT", SCAN_COUNT] as const;
      const command = ["scan", goesOn ? at! : "0", ...words] as const;
      [reply = null] = await node.exchange("read", [command], deadlineMs);
    } catch (error) {
      if (error instanceof ConnectionFailure) return failure(error.message);
      throw error;
    }
    const page = this.#parse(reply);
    if (page === undefined) return failure(`${node.address}: its answer to SCAN is malformed`);
    if (page.next !== "0") return { keys: page.keys, cursor: `${view} ${index} ${page.next}` };
    const isLast = index + 1 >= masters.length;
    return { keys: page.keys, cursor: isLast ? undefined : `${view} ${index + 1} 0` };
  }

  #parse(reply: Reply): { next: string; keys: RemoteKey[] } | undefined {
    if (!Array.isArray(reply)) return undefined;
    const [next, names] = reply as readonly Reply[];
    if (!Buffer.isBuffer(next) || !Array.isArray(names)) return undefined;
    const text = next.toString("latin1");
    if (!/^\d{1,20}$/.test(text)) return undefined;
    const keys: RemoteKey[] = [];
    for (const name of names as readonly Reply[]) {
      if (!Buffer.isBuffer(name)) return undefined;
      // Keys that zcache has not written are left as they are.
      const key = parseRecordKey(this.#prefix, name.toString("latin1"));
      if (key !== undefined) keys.push(key);
    }
    return { next: text, keys };
  }

  /** A hash of which node has which slots. */
  #viewOf(addresses: readonly string[]): string {
    const places = new Map(addresses.map((address, nth) => [address, nth]));
    const owners = new Uint8Array(SLOTS * 2);
    for (let slot = 0; slot < SLOTS; slot++) {
      const place = places.get(this.#router.slots.ownerOf(slot) ?? "") ?? 0xffff;
      owners[slot * 2] = place;
      owners[slot * 2 + 1] = place >> 8;
    }
    const names = Buffer.from(addresses.join(" "), "latin1");
    return String((checksum(owners) ^ checksum(names)) >>> 0);
  }
}
