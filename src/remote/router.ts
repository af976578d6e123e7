// Sends requests to the nodes that have their slots: grouped into one batch for each node, and
// again where a cluster asks for it.
//
//   MOVED               the slot has another owner: asked at once, and the map is read anew
//   ASK                 the slot is being moved, and the key is at its new owner already
//   TRYAGAIN, LOADING, CLUSTERDOWN, MASTERDOWN, READONLY, or no answer
//                       asked again after a pause, once the map is read anew, until the deadline
//
// One attempt waits for a third of the time of a request, and ends before that if the other nodes
// say that the node has failed. So a node that has stopped is left for its replica within the same
// request.
//
// Whether a request may be repeated depends on what it does. Records are immutable, so a put or a
// remove that is executed twice does no harm.
import { ZcacheError } from "../base/errors.ts";
import {
  type Command,
  ConnectionFailure,
  type ConnectionSettings,
  splitAddress,
} from "./connection.ts";
import type { EnginePackage, Reply } from "./engine_package.ts";
import { EngineNode, type PrepareConnection, type Purpose } from "./node.ts";
import { SLOTS } from "./slots.ts";
import { type ClusterNode, parseNodes, SlotMap } from "./topology.ts";

export interface Request {
  readonly slot: number;
  readonly command: Command;
}

export interface Plan {
  readonly purpose: Purpose;
  /** Whether to go on asking, until the deadline, while a node is down. */
  readonly isPatient: boolean;
  /** Replicas that have to acknowledge what was written (WAIT). */
  readonly replicas: number;
  readonly timeoutMs: number;
}

/** What a server has answered, which may be an error of its own; ZcacheError: no answer. */
export type Outcome = Reply | ZcacheError;

/** A request on its way. */
interface Pending extends Request {
  readonly nth: number;
  /** The node to ask instead of the slot's owner: the importing node of a slot being moved. */
  askAt: string | undefined;
  redirections: number;
}

/** What became of a round. */
interface Round {
  /** Requests to be sent again. */
  readonly again: Pending[];
  /** Why, if they have to wait; undefined: at once. */
  reason: string | undefined;
}

/** Answers that ask for patience. */
const TRY_LATER = /^(TRYAGAIN|LOADING|CLUSTERDOWN|MASTERDOWN|READONLY|BUSY) /;
const REDIRECTION = /^(MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})$/;
/** Redirections that are followed without a pause. */
const REDIRECTIONS_MAX = 5;
const ATTEMPTS = 3;
/** No attempt begins in the last part of the time: it would hide why the others have failed. */
const LAST_ATTEMPT = 12;
const PAUSE_MS = 20;
const PAUSE_MS_MAX = 500;
const NO_CLUSTER = /cluster support disabled/;

export class Router {
  readonly slots = new SlotMap();
  redirections = 0;
  /** Whether the only server is no cluster. */
  isSingle = false;
  readonly #engine: EnginePackage;
  readonly #seeds: readonly string[];
  readonly #settings: ConnectionSettings;
  readonly #onWriter: PrepareConnection;
  readonly #nodes = new Map<string, EngineNode>();
  #refreshing: Promise<string | undefined> | undefined;
  #refreshes = 0;
  /** Why the map could not be read the last time that a node was asked for it. */
  #lastReason = "no node has been asked yet";
  #reconnects = 0;
  #isClosed = false;
  /** Wakes requests that pause, when the router closes. */
  readonly #sleepers = new Set<() => void>();

  /**
   * @param seeds host:port of some nodes
   * @param onWriter prepares each connection that writes before it is used
   */
  constructor(
    engine: EnginePackage,
    seeds: readonly string[],
    settings: ConnectionSettings,
    onWriter: PrepareConnection = async () => {},
  ) {
    this.#onWriter = onWriter;
    this.#engine = engine;
    this.#seeds = seeds;
    this.#settings = settings;
    for (const seed of seeds) this.nodeAt(seed);
  }

  get nodes(): readonly EngineNode[] {
    return [...this.#nodes.values()];
  }

  get reconnects(): number {
    return this.nodes.reduce((sum, node) => sum + node.reconnects, this.#reconnects);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The owners of all slots. */
  masters(): EngineNode[] {
    const addresses = new Set<string>();
    for (let slot = 0; slot < SLOTS; slot++) {
      const owner = this.slots.ownerOf(slot);
      if (owner !== undefined) addresses.add(owner);
    }
    return [...addresses].sort().map((address) => this.nodeAt(address));
  }

  nodeAt(address: string): EngineNode {
    let node = this.#nodes.get(address);
    if (node === undefined) {
      node = new EngineNode(this.#engine, address, this.#settings, this.#onWriter);
      this.#nodes.set(address, node);
    }
    return node;
  }

  /**
   * Sends requests, and waits for their answers.
   * @returns one outcome for each, in their order
   */
  async run(requests: readonly Request[], plan: Plan): Promise<Outcome[]> {
    const deadlineMs = performance.now() + plan.timeoutMs;
    const outcomes = new Array<Outcome>(requests.length).fill(null);
    let pending: Pending[] = requests.map(({ slot, command }, nth) => {
      return { slot, command, nth, askAt: undefined, redirections: 0 };
    });
    for (let pauseMs = PAUSE_MS; pending.length > 0; ) {
      const { again, reason } = await this.#round(pending, outcomes, plan, deadlineMs);
      pending = again;
      if (pending.length === 0) break;
      const leftMs = deadlineMs - performance.now();
      const isOver = leftMs < (reason === undefined ? 0 : plan.timeoutMs / LAST_ATTEMPT);
      if (this.#isClosed || isOver || (reason !== undefined && !plan.isPatient)) {
        const error = failure(this.#isClosed ? "closed" : (reason ?? "too many redirections"));
        for (const { nth } of pending) outcomes[nth] = error;
        break;
      }
      if (reason === undefined) continue;
      await this.sleep(Math.min(pauseMs, leftMs));
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
      await this.refresh(deadlineMs);
    }
    return outcomes;
  }

  /** Sends what is pending once. */
  async #round(
    pending: readonly Pending[],
    outcomes: Outcome[],
    plan: Plan,
    deadlineMs: number,
  ): Promise<Round> {
    const round: Round = { again: [], reason: undefined };
    const groups = new Map<EngineNode, Pending[]>();
    for (const one of pending) {
      const address = one.askAt ?? this.slots.ownerOf(one.slot);
      if (address === undefined) {
        round.again.push(one);
        round.reason = `no node is known for slot ${one.slot}`;
        continue;
      }
      const node = this.nodeAt(address);
      const group = groups.get(node);
      if (group === undefined) groups.set(node, [one]);
      else group.push(one);
    }
    const attemptMs = performance.now() + plan.timeoutMs / ATTEMPTS;
    const untilMs = plan.isPatient ? Math.min(deadlineMs, attemptMs) : deadlineMs;
    const sends = Array.from(groups, ([node, group]) =>
      this.#send(node, group, { outcomes, plan, untilMs, round }),
    );
    await Promise.all(sends);
    return round;
  }

  async #send(
    node: EngineNode,
    group: readonly Pending[],
    context: {
      readonly outcomes: Outcome[];
      readonly plan: Plan;
      readonly untilMs: number;
      readonly round: Round;
    },
  ): Promise<void> {
    const { outcomes, plan, untilMs, round } = context;
    const commands: Command[] = [];
    for (const { command, askAt } of group) {
      if (askAt !== undefined) commands.push(["asking"]);
      commands.push(command);
    }
    if (plan.replicas > 0) {
      // The answer comes before the attempt ends.
      const waitMs = Math.max(1, Math.floor((untilMs - performance.now()) * 0.8));
      commands.push(["wait", plan.replicas, waitMs]);
    }
    let replies: readonly Reply[];
    try {
      replies = await node.exchange(plan.purpose, commands, untilMs);
    } catch (error) {
      if (!(error instanceof ConnectionFailure)) throw error;
      round.again.push(...group);
      round.reason = error.message;
      return;
    }
    const copied = plan.replicas > 0 ? replies.at(-1) : 0;
    const isCopied = typeof copied === "number" && copied >= plan.replicas;
    let at = 0;
    for (const one of group) {
      if (one.askAt !== undefined) at++;
      const reply = replies[at++]!;
      if (reply instanceof Error) this.#refused(one, reply, outcomes, round);
      else if (isCopied) outcomes[one.nth] = reply;
      else {
        round.again.push(one);
        round.reason = `${node.address}: ${Number(copied)} of ${plan.replicas} replicas have it`;
      }
    }
  }

  #refused(one: Pending, reply: Error, outcomes: Outcome[], round: Round): void {
    const { message } = reply;
    one.askAt = undefined;
    const match = REDIRECTION.exec(message);
    if (match !== null && Number(match[2]) < SLOTS) {
      this.redirections++;
      const address = `${match[3] || this.#hostOf(one.slot)}:${match[4]}`;
      if (match[1] === "ASK") one.askAt = address;
      else this.slots.move(Number(match[2]), address);
      round.again.push(one);
      if (match[1] === "MOVED") void this.refresh(performance.now() + PAUSE_MS_MAX);
      if (++one.redirections > REDIRECTIONS_MAX) round.reason = message;
    } else if (TRY_LATER.test(message)) {
      round.again.push(one);
      round.reason = message;
    } else {
      outcomes[one.nth] = reply;
    }
  }

  /** The host of a node that names itself without one. */
  #hostOf(slot: number): string {
    return splitAddress(this.slots.ownerOf(slot) ?? this.#seeds[0]!).host;
  }

  /**
   * Reads the map of slots anew; calls meanwhile wait for the same answer.
   * @returns why it could not be read; undefined: it was
   */
  refresh(deadlineMs: number): Promise<string | undefined> {
    this.#refreshing ??= this.#refresh(deadlineMs).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(deadlineMs: number): Promise<string | undefined> {
    let reason = this.#lastReason;
    for (const node of this.#candidates()) {
      const nowMs = performance.now();
      if (this.#isClosed || nowMs >= deadlineMs) return reason;
      // Half of the time that is left for each, so that one silent node does not take all of it.
      const untilMs = nowMs + (deadlineMs - nowMs) / 2;
      try {
        const [reply] = await node.exchange("read", [["cluster", "NODES"]], untilMs);
        reason = this.#learn(node, reply ?? null) ?? "";
        if (reason === "") return undefined;
      } catch (error) {
        if (!(error instanceof ConnectionFailure)) throw error;
        reason = error.message;
      }
      this.#lastReason = reason;
    }
    return reason;
  }

  /** All nodes, another one first each time; those that are known to be down come last. */
  #candidates(): EngineNode[] {
    const nodes = this.nodes;
    const first = this.#refreshes++ % Math.max(1, nodes.length);
    const turned = [...nodes.slice(first), ...nodes.slice(0, first)];
    return turned.sort((a, b) => Number(b.isUp) - Number(a.isUp));
  }

  /** @returns what is wrong with an answer to CLUSTER NODES */
  #learn(node: EngineNode, reply: Reply): string | undefined {
    if (reply instanceof Error && NO_CLUSTER.test(reply.message)) {
      if (this.#seeds.length > 1) return `${node.address} is no node of a cluster`;
      this.isSingle = true;
      node.role = "master";
      this.slots.setSingle(node.address);
      return undefined;
    }
    if (reply instanceof Error) return `${node.address}: ${reply.message}`;
    const text = reply === null ? "" : String(reply);
    const nodes = parseNodes(text, splitAddress(node.address).host);
    if (nodes === undefined) return `${node.address}: its answer to CLUSTER NODES is malformed`;
    this.slots.update(nodes);
    this.#adopt(nodes);
    return undefined;
  }

  /** Nodes come and go. */
  #adopt(nodes: readonly ClusterNode[]): void {
    for (const { address, role, hasFailed } of nodes) {
      const node = this.nodeAt(address);
      const isReplaced = node.role === "master" && role === "replica";
      node.role = role;
      // What waits for a failed node is sent to its replica.
      if (hasFailed || isReplaced) node.interrupt();
    }
    const known = new Set([...nodes.map(({ address }) => address), ...this.#seeds]);
    for (const node of this.nodes) {
      if (known.has(node.address)) continue;
      this.#reconnects += node.reconnects;
      this.#nodes.delete(node.address);
      node.close();
    }
  }

  /** Waits; ends at once when the router is closed. */
  async sleep(ms: number): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#sleepers.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#sleepers.add(end);
    });
  }

  /** Ends all connections; requests in flight fail. */
  close(): void {
    this.#isClosed = true;
    for (const node of this.nodes) node.close();
    for (const wake of [...this.#sleepers]) wake();
  }
}

/** The outcome of a request without an answer. */
export function failure(reason: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_REMOTE", `the cluster has not answered: ${reason}`, {
    context: { reason },
    cause,
  });
}
