// The lease of a prefix: one process at a time owns the records under it.
//
// The lease is a key that ends by itself; its holder renews it. With each lease comes a fencing
// epoch, which is a part of the key of each record: what a paused owner writes after its lease has
// ended has an epoch that the next owner never asks for. An epoch is larger than every earlier one,
// and not smaller than the time in seconds; so it grows even if the cluster has lost its counter.
//
// The holder counts the time of its lease from before the renewal was sent, on two clocks, because
// one of them stands still while the machine sleeps and the other one can be set back.
//
// A process of this machine that has ended, or been killed, keeps no lease: its successor sees that
// it does not run any more. Processes of different containers do not see each other, so the name of
// the namespace of process numbers is a part of the holder's name.
import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { ZcacheError } from "../base/errors.ts";
import { identityOf, isAlive } from "../node/process_identity.ts";
import type { Command } from "./connection.ts";
import type { Reply } from "./engine_package.ts";
import { type LeaseKeys, leaseKeys } from "./keys.ts";
import { failure, type Plan, type Router } from "./router.ts";
import { slotOf } from "./slots.ts";

/**
 * Takes the lease if it is free, or held by this process or by the one that ARGV[3] names. The
 * epoch is also larger than the last one of this process, ARGV[4].
 */
const ACQUIRE = `local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then return held end
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local epoch = math.max(last, tonumber(ARGV[4]), tonumber(redis.call('TIME')[1]) - 1) + 1
redis.call('SET', KEYS[2], string.format('%d', epoch))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {epoch, last}`;

/**
 * 1: renewed. If the lease has ended but nobody has taken it since, it is taken again. 0: another
 * process has it. -1: the cluster has lost the epoch.
 */
const RENEW = `local held = redis.call('GET', KEYS[1])
local last = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then return 0 end
if not last then return -1 end
if tonumber(last) ~= tonumber(ARGV[3]) then return 0 end
if held then redis.call('PEXPIRE', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1`;

/** Ends the lease. The epoch goes after a day, for which no older process can be alive. */
const RELEASE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1`;

/**
 * Lets a script write into a server that is full: a service must find its records there again. Only
 * servers from version 7 on know it.
 */
const ALLOW_FULL = "#!lua flags=allow-oom\n";
const NOT_COMPILED = /compil/i;

const EPOCH_KEPT_MS = 86_400_000;
const EPOCH_END = 2 ** 32;
const RENEWED = 1;
const EMPTIED = -1;

export class Lease {
  readonly #router: Router;
  readonly #keys: LeaseKeys;
  readonly #prefix: string;
  readonly #leaseMs: number;
  readonly #plan: Plan;
  #holder = "";
  #epoch = 0;
  #lastEpoch = 0;
  #untilMs = 0;
  #untilDateMs = 0;

  constructor(
    router: Router,
    prefix: string,
    { leaseMs, timeoutMs, copies }: { leaseMs: number; timeoutMs: number; copies: number },
  ) {
    this.#router = router;
    this.#keys = leaseKeys(prefix);
    this.#prefix = prefix;
    this.#leaseMs = leaseMs;
    this.#plan = {
      ...{ purpose: "write", isPatient: true },
      ...{ replicas: copies - 1, timeoutMs },
    };
  }

  /** 0 without a lease. */
  get epoch(): number {
    if (this.#epoch === 0) return 0;
    const isOver = performance.now() >= this.#untilMs || Date.now() >= this.#untilDateMs;
    return isOver ? 0 : this.#epoch;
  }

  /**
   * @returns the epoch, and whether the cluster knew the prefix already
   * @throws ZcacheError ERR_REMOTE, ERR_REMOTE_OWNED
   */
  async acquire(): Promise<{ epoch: number; isKnown: boolean }> {
    this.#holder = `${randomBytes(8).toString("hex")} ${identityText()}`;
    let ended = "";
    for (;;) {
      const startMs = performance.now();
      const startDateMs = Date.now();
      const words = [this.#holder, this.#leaseMs, ended, this.#lastEpoch];
      const reply = await this.#run(ACQUIRE, words, this.#plan);
      if (Array.isArray(reply)) {
        const [epoch, last] = reply as readonly Reply[];
        if (!(typeof epoch === "number" && epoch > 0 && epoch < EPOCH_END)) throw strange(reply);
        this.#epoch = epoch;
        this.#lastEpoch = epoch;
        this.#extend(startMs, startDateMs);
        return { epoch, isKnown: last !== 0 };
      }
      const holder = String(reply);
      if (holder === ended || !hasEnded(holder)) throw ownedError(this.#prefix, holder);
      ended = holder;
    }
  }

  /**
   * Renews the lease.
   * @returns what is wrong; undefined: it is renewed
   */
  async renew(timeoutMs: number): Promise<string | undefined> {
    const epoch = this.#epoch;
    if (epoch === 0) return "the lease of the prefix has ended";
    const startMs = performance.now();
    const startDateMs = Date.now();
    let reply: Reply;
    try {
      const words = [this.#holder, this.#leaseMs, epoch];
      reply = await this.#run(RENEW, words, { ...this.#plan, timeoutMs });
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      return `the lease of the prefix can't be renewed: ${error.message}`;
    }
    if (this.#epoch !== epoch) return undefined;
    if (reply === RENEWED) {
      this.#extend(startMs, startDateMs);
      return undefined;
    }
    this.#epoch = 0;
    return reply === EMPTIED
      ? "the cluster has lost the epoch of the prefix: it was emptied"
      : "another process has taken the prefix";
  }

  #extend(startMs: number, startDateMs: number): void {
    this.#untilMs = startMs + this.#leaseMs;
    this.#untilDateMs = startDateMs + this.#leaseMs;
  }

  /** Ends the lease, if a node answers in time. */
  async release(timeoutMs: number): Promise<void> {
    if (this.#epoch === 0) return;
    this.#epoch = 0;
    try {
      const plan = { ...this.#plan, timeoutMs, replicas: 0 };
      await this.#run(RELEASE, [this.#holder, EPOCH_KEPT_MS], plan);
    } catch (error) {
      // The lease ends by itself.
      if (!(error instanceof ZcacheError)) throw error;
    }
  }

  async #run(script: string, words: readonly (string | number)[], plan: Plan): Promise<Reply> {
    const { owner, epoch } = this.#keys;
    const slot = slotOf(Buffer.from(owner, "latin1"));
    for (const first of [ALLOW_FULL, ""]) {
      const command: Command = ["eval", first + script, 2, owner, epoch, ...words];
      const [reply = null] = await this.#router.run([{ slot, command }], plan);
      if (reply instanceof ZcacheError) throw reply;
      if (!(reply instanceof Error)) return reply;
      if (first === "" || !NOT_COMPILED.test(reply.message)) throw failure(reply.message);
    }
    return null;
  }
}

function identityText(): string {
  const { pid, start, boot } = identityOf(process.pid);
  return `${hostname()} ${pid} ${start} ${boot} ${pidNamespace()}`;
}

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

/** Whether a holder was a process of this machine that does not run any more. */
function hasEnded(holder: string): boolean {
  const [, , pid = "", start = "", boot = "", namespace = ""] = holder.split(" ");
  const own = identityOf(process.pid);
  if (boot === "" || boot !== own.boot || namespace === "" || namespace !== pidNamespace()) {
    return false;
  }
  return !isAlive({ pid: Number(pid), start, boot });
}

function ownedError(prefix: string, holder: string): ZcacheError {
  const [, host = "?", pid = "?"] = holder
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, 300)
    .split(" ");
  return new ZcacheError(
    "ERR_REMOTE_OWNED",
    `prefix ${prefix} is in use by process ${pid} of ${host}: ` +
      "use another prefix, or end that process",
    { context: { prefix, host, pid } },
  );
}

function strange(reply: Reply): ZcacheError {
  return failure(`its answer for the lease is malformed: ${JSON.stringify(reply).slice(0, 100)}`);
}
