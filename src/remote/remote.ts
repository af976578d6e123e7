// Pages on other machines: the contract of the remote tier (backing/remote_contract.ts) over a
// Valkey or Redis cluster, or over one server.
//
//  1. options.ts         options: defaults and checks; passwords
//  2. engine_package.ts  loads the package ioredis; connection.ts, node.ts: connections to a node
//  3. topology.ts, slots.ts   which node has which slot
//  4. router.ts          batches by node, redirections, retries, deadlines
//  5. keys.ts            names of keys; record.ts, record.layout.ts, checksum.ts: what they hold
//  6. lease.ts           one owner for each prefix; markers.ts: nodes that were emptied
//  7. listing.ts         lists records, for a sweep of orphans
//  8. shared_values.ts   values of a cache that several machines share (cache/fleet.ts)
//
// Concurrency: one thread owns a remote, and its methods may overlap. While it has the lease, a
// timer renews it, reads the map of slots, and checks the memory of the nodes.
//
// Limits: 256 items in a call, records of at most 64 KiB uncompressed, 1,000 nodes.
import { Buffer } from "node:buffer";
import type {
  Remote,
  RemoteFigures,
  RemoteGetResult,
  RemoteKey,
  RemoteKeys,
  RemotePutResult,
  RemoteRecord,
  RemoteRemoveResult,
} from "../backing/remote_contract.ts";
import { ZcacheError } from "../base/errors.ts";
import { loadEnginePackage } from "./engine_package.ts";
import { recordKey } from "./keys.ts";
import { Lease } from "./lease.ts";
import { Listing } from "./listing.ts";
import { emptiedText, Markers } from "./markers.ts";
import { dropsPersistent, parseMemoryInfo } from "./node_info.ts";
import { type RemoteOptions, type ResolvedRemote, resolveRemote } from "./options.ts";
import { decodeRecord, encodeRecord } from "./record.ts";
import { failure, type Outcome, type Plan, type Request, Router } from "./router.ts";
import { SLOTS, slotOf } from "./slots.ts";

const BATCH_MAX = 256;
const PAGE_BYTES_MAX = 65536;
/** Between two looks at the cluster; the lease is renewed more often if it is short. */
const TICK_MS = 2000;
const RENEWALS_PER_LEASE = 4;
const CLOSE_MS = 1000;
const FULL = /^OOM /;

/**
 * A remote tier, for the option `remote` of a store. Nothing is connected before `acquire`.
 * @throws ZcacheError ERR_OPTION; ERR_REMOTE if the package ioredis is not installed
 */
export function createRemote(options: RemoteOptions): Remote {
  const resolved = resolveRemote(options);
  return new ClusterRemote(
    resolved,
    new Router(loadEnginePackage(), resolved.nodes, resolved.connection),
  );
}

class ClusterRemote implements Remote {
  readonly batchMax = BATCH_MAX;
  readonly timeoutMs: number;
  readonly copies: number;
  readonly ephemeral: boolean;
  readonly #prefix: string;
  readonly #ttlMs: number;
  readonly #tickMs: number;
  readonly #router: Router;
  readonly #lease: Lease;
  readonly #markers: Markers;
  readonly #listing: Listing;
  /** Numbers of the nodes that have had a slot, by their addresses. */
  readonly #numbers = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  /** What is wrong: with the lease, with the nodes' settings, with their content. */
  #leaseProblem: string | undefined;
  #policyProblem: string | undefined;
  #contentProblem: string | undefined;
  /** Nodes that have refused a record for want of memory, and have taken none since. */
  readonly #full = new Set<string>();

  constructor(options: ResolvedRemote, router: Router) {
    const { prefix, timeoutMs, copies, ephemeral, ttlMs, leaseMs } = options;
    this.timeoutMs = timeoutMs;
    this.copies = copies;
    this.ephemeral = ephemeral;
    this.#prefix = prefix;
    this.#ttlMs = ttlMs;
    this.#tickMs = Math.min(TICK_MS, leaseMs / RENEWALS_PER_LEASE);
    this.#router = router;
    this.#lease = new Lease(router, prefix, { leaseMs, timeoutMs, copies });
    this.#markers = new Markers(router, prefix);
    this.#listing = new Listing(router, prefix, timeoutMs);
  }

  get epoch(): number {
    return this.#lease.epoch;
  }

  async acquire(): Promise<number> {
    clearTimeout(this.#timer);
    const deadlineMs = performance.now() + this.timeoutMs;
    await this.#connect(deadlineMs);
    await this.#checkMemory(deadlineMs);
    if (this.#policyProblem !== undefined) throw refused(this.#policyProblem);
    const { epoch, isKnown } = await this.#lease.acquire();
    const emptied = await this.#markers.renew(this.timeoutMs);
    if (emptied === undefined) throw failure("not every node answers");
    this.#contentProblem = isKnown && emptied.length > 0 ? emptiedText(emptied) : undefined;
    this.#leaseProblem = undefined;
    this.#schedule();
    return epoch;
  }

  /** Reads the map of slots. @throws ZcacheError ERR_REMOTE: no node answers in time */
  async #connect(deadlineMs: number): Promise<void> {
    for (;;) {
      const reason = await this.#router.refresh(deadlineMs);
      if (reason === undefined && this.#router.slots.isComplete) return;
      if (this.#router.isClosed || performance.now() >= deadlineMs) {
        throw failure(reason ?? "not every slot of the cluster has a node");
      }
      await this.#router.sleep(50);
    }
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#router.isClosed) return;
    this.#timer = setTimeout(() => void this.#tick(), this.#tickMs);
    this.#timer.unref();
  }

  async #tick(): Promise<void> {
    const problem = await this.#lease.renew(Math.max(this.#tickMs, this.timeoutMs));
    this.#leaseProblem = problem;
    if (this.#lease.epoch === 0) {
      this.#leaseProblem ??= "the lease of the prefix has ended";
      return;
    }
    const deadlineMs = performance.now() + this.#tickMs;
    await this.#router.refresh(deadlineMs);
    await this.#checkMemory(deadlineMs);
    const emptied = await this.#markers.renew(this.timeoutMs);
    if (emptied !== undefined && emptied.length > 0) this.#contentProblem = emptiedText(emptied);
    this.#schedule();
  }

  /** Reads the memory and the policy of all masters. */
  async #checkMemory(deadlineMs: number): Promise<void> {
    let problem: string | undefined;
    await Promise.all(
      this.#router.masters().map(async (node) => {
        const replies = await node
          .exchange("read", [["info", "memory"]], deadlineMs)
          .catch(() => []);
        const info = parseMemoryInfo(replies[0] ?? null);
        if (info === undefined) return;
        node.usedBytes = info.usedBytes;
        node.limitBytes = info.limitBytes;
        if (!dropsPersistent(info.policy)) return;
        problem =
          `${node.address} has the maxmemory-policy ${info.policy}, which may drop persistent ` +
          "records: set it to volatile-lru or noeviction";
      }),
    );
    this.#policyProblem = problem;
  }

  nodeOf({ run }: RemoteKey): number {
    const slot = slotOf(Buffer.from(run, "latin1"));
    const address = this.#router.slots.ownerOf(slot) ?? "";
    let number = this.#numbers.get(address);
    if (number === undefined) {
      number = this.#numbers.size;
      this.#numbers.set(address, number);
    }
    return number;
  }

  async put(records: readonly RemoteRecord[]): Promise<readonly RemotePutResult[]> {
    const { epoch } = this;
    if (epoch === 0) return this.#withoutLease(records);
    const requests = records.map((record) => this.#putRequest(record));
    const results = new Array<RemotePutResult>(records.length);
    const runs = [true, false].map(async (isPersistent) => {
      const nths = records.flatMap((one, nth) => (one.isPersistent === isPersistent ? [nth] : []));
      if (nths.length === 0) return;
      const replicas = isPersistent ? this.copies - 1 : 0;
      const plan = this.#plan({ purpose: "write", replicas });
      const outcomes = await this.#router.run(
        nths.map((nth) => requests[nth]!),
        plan,
      );
      for (const [at, nth] of nths.entries()) {
        const result = putResult(outcomes[at]!);
        results[nth] = result;
        if (result === "full" || this.#full.size > 0) this.#noteRoom(requests[nth]!, result);
      }
    });
    await Promise.all(runs);
    return results;
  }

  /** Remembers which nodes are full, for the figures. */
  #noteRoom({ slot }: Request, result: RemotePutResult): void {
    const owner = this.#router.slots.ownerOf(slot);
    if (owner === undefined) return;
    if (result === "full") this.#full.add(owner);
    else if (result === "stored") this.#full.delete(owner);
  }

  #fullProblem(): string | undefined {
    if (this.#full.size === 0) return undefined;
    return `${[...this.#full].join(", ")}: full, and refuses records`;
  }

  /** Copies the data. */
  #putRequest(record: RemoteRecord): Request {
    const key = this.#keyOf(record.key);
    const bytes = encodeRecord({ epoch: record.key.epoch, key }, record);
    const ends = record.isPersistent ? [] : ["PX", this.#ttlMs];
    return { slot: slotOf(key), command: ["set", key, bytes, ...ends] };
  }

  async get(keys: readonly RemoteKey[], isPatient: boolean): Promise<readonly RemoteGetResult[]> {
    if (this.epoch === 0) return this.#withoutLease(keys);
    const plan = this.#plan({ purpose: "read", isPatient });
    const names = keys.map((key) => this.#keyOf(key));
    const requests: Request[] = names.map((key) => ({ slot: slotOf(key), command: ["get", key] }));
    const owners = requests.map(({ slot }) => this.#router.slots.ownerOf(slot));
    const outcomes = await this.#router.run(requests, plan);
    if (plan.isPatient) await this.#confirm(requests, owners, outcomes, plan);
    return outcomes.map((outcome, nth) => getResult(outcome, names[nth]!));
  }

  /**
   * A node that was paused or cut off may say that there is no record, because it does not know yet
   * that another node has its slots. So what is missing is asked for again if, after another look,
   * the slot has another owner.
   */
  async #confirm(
    requests: readonly Request[],
    owners: readonly (string | undefined)[],
    outcomes: Outcome[],
    plan: Plan,
  ): Promise<void> {
    if (!outcomes.includes(null) || this.#router.isSingle) return;
    await this.#router.refresh(performance.now() + plan.timeoutMs);
    const { slots } = this.#router;
    const again = requests.flatMap(({ slot }, nth) =>
      outcomes[nth] === null && slots.ownerOf(slot) !== owners[nth] ? [nth] : [],
    );
    if (again.length === 0) return;
    const seconds = await this.#router.run(
      again.map((nth) => requests[nth]!),
      plan,
    );
    for (const [at, nth] of again.entries()) outcomes[nth] = seconds[at]!;
  }

  async remove(keys: readonly RemoteKey[]): Promise<readonly RemoteRemoveResult[]> {
    if (this.epoch === 0) return this.#withoutLease(keys);
    const requests = keys.map((remoteKey): Request => {
      const key = this.#keyOf(remoteKey);
      return { slot: slotOf(key), command: ["unlink", key] };
    });
    const outcomes = await this.#router.run(requests, this.#plan({ purpose: "write" }));
    return outcomes.map((outcome) => (outcome instanceof Error ? failed(outcome) : "done"));
  }

  async list(cursor: string | undefined): Promise<RemoteKeys | ZcacheError> {
    if (this.epoch === 0) return this.#noLease();
    return this.#listing.next(cursor);
  }

  figures(): RemoteFigures {
    const nodes = this.#router.nodes.map((node) => node.figures());
    return {
      health: this.#health(),
      problem:
        this.#leaseProblem ?? this.#contentProblem ?? this.#policyProblem ?? this.#fullProblem(),
      nodes,
      reconnects: this.#router.reconnects,
      redirections: this.#router.redirections,
    };
  }

  #health(): RemoteFigures["health"] {
    const masters = this.#router.masters();
    const up = masters.filter(({ isUp }) => isUp).length;
    if (up === 0) return "down";
    return up === masters.length && this.#router.slots.isComplete ? "up" : "partial";
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#router.isClosed) return;
    if (this.epoch > 0) {
      await this.#markers.release(CLOSE_MS);
      await this.#lease.release(CLOSE_MS);
    }
    clearTimeout(this.#timer);
    this.#router.close();
  }

  #keyOf(key: RemoteKey): Buffer {
    return Buffer.from(recordKey(this.#prefix, key), "latin1");
  }

  #plan(plan: Partial<Plan>): Plan {
    return {
      ...{ purpose: "read", isPatient: true, replicas: 0 },
      ...{ timeoutMs: this.timeoutMs, ...plan },
    };
  }

  #withoutLease(items: readonly unknown[]): ZcacheError[] {
    const error = this.#noLease();
    return items.map(() => error);
  }

  #noLease(): ZcacheError {
    const reason = this.#leaseProblem ?? "this process has no lease of the prefix";
    return new ZcacheError("ERR_REMOTE", `nothing is sent to the cluster: ${reason}`, {
      context: { prefix: this.#prefix, slots: SLOTS },
    });
  }
}

function putResult(outcome: Outcome): RemotePutResult {
  if (!(outcome instanceof Error)) return "stored";
  return FULL.test(outcome.message) ? "full" : failed(outcome);
}

function getResult(outcome: Outcome, key: Buffer): RemoteGetResult {
  if (outcome === null) return "missing";
  if (outcome instanceof Error) return failed(outcome);
  if (!Buffer.isBuffer(outcome)) return "corrupt";
  const content = decodeRecord(outcome, key, PAGE_BYTES_MAX);
  if (content === "corrupt" || !("refusal" in content)) return content;
  return new ZcacheError("ERR_REMOTE", content.refusal, {
    context: { key: key.toString("latin1") },
  });
}

/** An error of a server as one of ours. */
function failed(error: Error): ZcacheError {
  return error instanceof ZcacheError ? error : failure(error.message);
}

function refused(problem: string): ZcacheError {
  return new ZcacheError("ERR_REMOTE", problem, { context: { problem } });
}
