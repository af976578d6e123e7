// Markers: keys that tell whether a node has been emptied behind our back, by FLUSHALL or because
// it was started anew without its data. They are spread evenly over the slots, so that each node
// with 256 neighbouring slots has at least one. As long as a service runs, its markers exist.
import { Buffer } from "node:buffer";
import { markerKey } from "./keys.ts";
import type { Plan, Request, Router } from "./router.ts";
import { SLOTS, slotOf, tagOfSlot } from "./slots.ts";

const MARKERS = 64;
/** After the end of a service its markers stay as long as its epoch (lease.ts). */
const KEPT_MS = 86_400_000;

interface Marker {
  readonly key: Buffer;
  readonly slot: number;
}

export class Markers {
  readonly #router: Router;
  readonly #keys: readonly Marker[];

  constructor(router: Router, prefix: string) {
    this.#router = router;
    this.#keys = Array.from({ length: MARKERS }, (_, nth) => {
      const tag = tagOfSlot((nth * SLOTS) / MARKERS);
      const key = Buffer.from(markerKey(prefix, tag), "latin1");
      return { key, slot: slotOf(key) };
    });
  }

  /**
   * Writes the markers that are missing. A full node refuses that; it is no failure.
   * @returns the nodes, as host:port, on which markers were missing; undefined if a node does not
   *   answer
   */
  async renew(timeoutMs: number): Promise<readonly string[] | undefined> {
    const found = await this.#run(timeoutMs, this.#keys, (key) => ["persist", key]);
    if (found.some((outcome) => outcome instanceof Error)) return undefined;
    // 0: without a time to live, or not there.
    const unchanged = this.#keys.filter((_, nth) => found[nth] === 0);
    const exist = await this.#run(timeoutMs, unchanged, (key) => ["exists", key]);
    if (exist.some((outcome) => outcome instanceof Error)) return undefined;
    const missing = unchanged.filter((_, nth) => exist[nth] === 0);
    await this.#run(timeoutMs, missing, (key) => ["set", key, "1"]);
    const nodes = missing.map(({ slot }) => this.#router.slots.ownerOf(slot) ?? "?");
    return [...new Set(nodes)];
  }

  /** Lets the markers end after a while. */
  async release(timeoutMs: number): Promise<void> {
    await this.#run(timeoutMs, this.#keys, (key) => ["pexpire", key, KEPT_MS]);
  }

  #run(timeoutMs: number, keys: readonly Marker[], commandOf: (key: Buffer) => Request["command"]) {
    const plan: Plan = {
      ...{ purpose: "read", isPatient: true },
      ...{ replicas: 0, timeoutMs },
    };
    const requests = keys.map(({ key, slot }) => ({ slot, command: commandOf(key) }));
    return this.#router.run(requests, plan);
  }
}

/** What to tell people about nodes without their markers. */
export function emptiedText(nodes: readonly string[]): string {
  return `${nodes.join(", ")}: emptied; its records are lost`;
}
