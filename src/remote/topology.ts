// Which node has which slot, from the answer to CLUSTER NODES.
//
// Nodes do not agree at all times: one that was paused or cut off believes for a while that it is
// still the master of slots that another node has taken over. So each slot is kept with the
// configuration epoch of its owner, which grows with each failover and each move, and an owner of a
// lower epoch is not believed.
//
//   ID HOST:PORT@BUSPORT[,HOSTNAME…] FLAGS MASTER PING PONG EPOCH LINK RANGE…
import { SLOTS } from "./slots.ts";

export interface ClusterNode {
  readonly id: string;
  /** host:port; the node that was asked may not know its own host. */
  readonly address: string;
  readonly role: "master" | "replica";
  /** Whether most nodes can't reach it. */
  readonly hasFailed: boolean;
  readonly epoch: number;
  /** First and last slot of each range. */
  readonly ranges: readonly (readonly [first: number, last: number])[];
}

/** More are not believed. */
const NODES_MAX = 2000;

/**
 * Reads the answer to CLUSTER NODES.
 * @param host of the node that was asked, for nodes without an address
 * @returns undefined for text that is no such answer
 */
export function parseNodes(text: string, host: string): ClusterNode[] | undefined {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  if (lines.length === 0 || lines.length > NODES_MAX) return undefined;
  const nodes: ClusterNode[] = [];
  for (const line of lines) {
    const words = line.trim().split(" ");
    const [id = "", place = "", flags = "", , , , epoch = "", link] = words;
    if (link === undefined || !/^\d{1,15}$/.test(epoch)) return undefined;
    const match = /^(.*):(\d{1,5})(@\d+)?(,.*)?$/.exec(place);
    if (match === null) return undefined;
    const names = flags.split(",");
    const isMaster = names.includes("master");
    // Nodes that have only been heard of.
    if (!isMaster && !names.includes("slave")) continue;
    if (names.includes("handshake") || names.includes("noaddr")) continue;
    const ranges = rangesOf(words.slice(8));
    if (ranges === undefined) return undefined;
    nodes.push({
      id,
      address: `${match[1] || host}:${match[2]}`,
      role: isMaster ? "master" : "replica",
      hasFailed: names.includes("fail"),
      epoch: Number(epoch),
      ranges,
    });
  }
  return nodes;
}

function rangesOf(words: readonly string[]): [number, number][] | undefined {
  const ranges: [number, number][] = [];
  for (const word of words) {
    // A slot that is being moved: [93-<-ID] or [77->-ID].
    if (word.startsWith("[")) continue;
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(word);
    if (match === null) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first > last || last >= SLOTS) return undefined;
    ranges.push([first, last]);
  }
  return ranges;
}

/** The owner of each slot. */
export class SlotMap {
  /** Address of the owner; undefined: none is known. */
  readonly #owners: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined);
  readonly #epochs = new Float64Array(SLOTS);
  #unowned = SLOTS;

  ownerOf(slot: number): string | undefined {
    return this.#owners[slot];
  }

  /** Whether each slot has an owner. */
  get isComplete(): boolean {
    return this.#unowned === 0;
  }

  /** All slots of one server that is no cluster. */
  setSingle(address: string): void {
    this.#owners.fill(address);
    this.#unowned = 0;
  }

  /** A node has answered that another one has the slot now. */
  move(slot: number, address: string): void {
    if (this.#owners[slot] === undefined) this.#unowned--;
    this.#owners[slot] = address;
  }

  /** Takes over what a node says of the cluster. @returns whether an owner has changed */
  update(nodes: readonly ClusterNode[]): boolean {
    const masters = new Set(
      nodes.filter(({ role }) => role === "master").map((one) => one.address),
    );
    let hasChanged = false;
    for (const { address, role, epoch, ranges } of nodes) {
      if (role !== "master") continue;
      for (const [first, last] of ranges) {
        for (let slot = first; slot <= last; slot++) {
          const owner = this.#owners[slot];
          const isOlder = epoch < this.#epochs[slot]!;
          if (isOlder && owner !== undefined && masters.has(owner)) continue;
          this.#epochs[slot] = epoch;
          if (owner === address) continue;
          this.move(slot, address);
          hasChanged = true;
        }
      }
    }
    return hasChanged;
  }
}
