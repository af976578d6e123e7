// The simulation of memcached's items with a remote tier: two threads, some connections of each,
// messages to and from the cluster, and failures in an order that the seed chooses; the same seed
// gives the same run.
//
// A request that waits for other machines is executed when they have answered: the model is
// compared at that moment. A list of keys is answered key by key, so each key may have any value
// that it had since the list was sent: the model keeps the history of each key.
import assert from "node:assert/strict";
import { Xorshift32 } from "../../src/base/random.ts";
import { openValues } from "../../src/cache/engine.ts";
import { ItemHash, type ItemShards } from "../../src/memcached/items/shards.ts";
import { ItemsShared } from "../../src/memcached/items/shared.ts";
import { Session } from "../../src/memcached/session.ts";
import { nodePlatform } from "../../src/node/platform.ts";
import { ShardGroup } from "../../src/shard/shard_group.ts";
import { RemoteSweep } from "../../src/store/remote_sweep.ts";
import { RemoteTier } from "../../src/store/remote_tier.ts";
import { RemoteTrim } from "../../src/store/remote_trim.ts";
import { Repatriation } from "../../src/store/repatriation.ts";
import { stateOf } from "../../src/store/store.ts";
import { seedsOf, valuesStateOf } from "../../src/values/format.ts";
import { Values } from "../../src/values/values.ts";
import {
  NO_REMOTE_FAULTS,
  RemoteCluster,
  RemoteDouble,
  type RemoteFaults,
} from "../doubles/remote.ts";
import { EngineFixture, NOW_S } from "./fixture.ts";

export interface RemoteItemsOptions {
  readonly seed: number;
  readonly steps: number;
  readonly shards: 1 | 3;
  /** Whether items may be forgotten; if not, two nodes have each of them. */
  readonly evicts: boolean;
  readonly faults: boolean;
  readonly crashes: boolean;
  readonly leases: boolean;
}

interface Item {
  flags: number;
  value: string;
  /** Seconds since 1970, 0 never. */
  expires: number;
  /** As the server has told it. */
  cas: string | undefined;
}

/** What a key was, one after the other; undefined: not stored. */
type History = (Item | undefined)[];

/** A request on its way: `check` takes its whole reply. */
interface Client {
  readonly fixture: EngineFixture;
  readonly session: Session;
  out: string;
  check: ((reply: string) => void) | undefined;
  isReady: boolean;
}

const FAULTS: RemoteFaults = {
  loseRequest: 40,
  loseAnswer: 40,
  duplicate: 30,
  damage: 80,
  full: 60,
};
const MIB = 2 ** 20;
const NO_ANSWER = "SERVER_ERROR other machines have not answered\r\n";
const NO_MEMORY = "SERVER_ERROR out of memory storing object\r\n";
const KEYS = 150;
const COUNTERS = 8;
const CLIENTS = 3;

export class RemoteItemsSimulation {
  readonly cluster: RemoteCluster;
  readonly #options: RemoteItemsOptions;
  readonly #random: Xorshift32;
  readonly #groups: ShardGroup[];
  readonly #remote: RemoteDouble;
  readonly #tier: RemoteTier;
  readonly #sweep: RemoteSweep;
  readonly #repatriation: Repatriation;
  readonly #trim: RemoteTrim;
  readonly #clients: Client[] = [];
  readonly #histories = new Map<string, History>();
  readonly #tally: Record<string, number> = {};
  #nowS = NOW_S;
  #serial = 0;
  #isHealthy = false;

  constructor(options: RemoteItemsOptions) {
    const { seed, shards, evicts } = options;
    this.#options = options;
    this.#random = new Xorshift32(seed * 7919);
    this.cluster = new RemoteCluster({ seed });
    this.#remote = new RemoteDouble(this.cluster, { copies: evicts ? 1 : 2, batchMax: 8 });
    const remote = this.#remote;
    const settings = { content: "values", memoryMax: shards * MIB, shards, remote } as const;
    const { group } = openValues(settings, undefined, { front: "items", stays: !evicts });
    this.#tier = new RemoteTier(group.stores.map(stateOf), remote);
    this.#sweep = new RemoteSweep(this.#tier);
    this.#repatriation = new Repatriation(this.#tier);
    this.#trim = new RemoteTrim(this.#tier);
    this.#sweep.allow();
    const other = ShardGroup.attach(group.share(), nodePlatform());
    for (const [nth, store] of other.stores.entries()) {
      stateOf(store).remoteReader = (name) => this.#tier.read(stateOf(group.stores[nth]!), name);
    }
    this.#groups = [group, other];
    const shared = ItemsShared.create().share();
    for (const one of this.#groups) {
      const items = itemShardsOf(one, this.#random);
      const fixture = new EngineFixture({ itemShards: items, shared: ItemsShared.attach(shared) });
      for (let nth = 0; nth < CLIENTS; nth++) {
        const session = new Session();
        this.#clients.push({ fixture, session, out: "", check: undefined, isReady: false });
      }
    }
  }

  /** @returns what happened how often */
  async run(): Promise<Record<string, number>> {
    await this.#tier.acquire();
    if (this.#options.faults) this.cluster.faults = FAULTS;
    for (let step = 0; step < this.#options.steps; step++) {
      await this.#step();
      if (step % 100 === 99) for (const group of this.#groups) group.verify();
    }
    await this.#heal();
    for (const key of this.#histories.keys()) await this.#getNow(key);
    this.#groups[0]!.verify();
    await this.#empty();
    const { counters } = this.#groups[0]!.stats();
    this.#tier.stop();
    for (const group of this.#groups) group.detach();
    const { remote_eph_pages_succ_get: read, remote_pers_pages_succ_get: persistent } = counters;
    return { ...this.#tally, ...this.cluster.tally, read: read + persistent };
  }

  /** All nodes work, all messages arrive, nothing is under way. */
  async #heal(): Promise<void> {
    this.cluster.faults = NO_REMOTE_FAULTS;
    for (const [nth] of this.cluster.nodes.entries()) this.cluster.restart(nth);
    if (!this.#tier.hasLease) await this.#tier.acquire();
    await this.#quiet(() => this.#clients.every(({ check }) => check === undefined));
    this.#isHealthy = true;
  }

  /** Removes all items: nothing may be left in the cluster. */
  async #empty(): Promise<void> {
    for (const key of this.#histories.keys()) {
      const [client] = this.#clients;
      this.#delete(client!, key);
      await this.#quiet(() => client!.check === undefined);
    }
    await this.#quiet(() => {
      const { in_transit, removals_waiting } = this.#groups[0]!.stats().remote!;
      return in_transit + removals_waiting === 0 && !this.#sweep.isPending;
    });
    assert.deepEqual(this.cluster.names, [], "nothing is left in the cluster");
  }

  async #getNow(key: string): Promise<void> {
    const [client] = this.#clients;
    this.#get(client!, [key]);
    await this.#quiet(() => client!.check === undefined);
  }

  async #quiet(isQuiet: () => boolean): Promise<void> {
    for (let turns = 0; !isQuiet(); turns++) {
      assert.ok(turns < 20_000, "what is under way ends");
      this.#work();
      await this.cluster.settle();
      this.#resume();
    }
  }

  /** What the serving thread does by its timer. */
  #work(): void {
    this.#tier.pump();
    this.#sweep.step();
    this.#repatriation.step();
    this.#trim.step();
  }

  async #step(): Promise<void> {
    const idle = this.#clients.filter(({ check }) => check === undefined);
    const client = idle[this.#random.below(Math.max(1, idle.length))];
    const dice = this.#random.below(100);
    if (client !== undefined && dice < 92) this.#request(client);
    else this.#rare(dice);
    if (this.#random.below(25) === 0) await this.#sendOut();
    for (let n = this.#random.below(4); n > 0; n--) this.cluster.step();
    if (this.#random.below(4) === 0) this.#work();
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#resume();
  }

  #rare(dice: number): void {
    const { crashes, leases, evicts } = this.#options;
    const node = this.#random.below(this.cluster.nodes.length);
    if (dice < 94) this.#groups[0]!.maintain();
    else if (dice < 95 && evicts) this.cluster.evictOne();
    else if (dice < 96 && crashes) this.cluster.crash(node);
    else if (dice < 98 && crashes) {
      if (this.#random.below(2) === 0) this.cluster.failOver(node);
      else this.cluster.restart(node);
    } else if (dice < 99 && leases) {
      if (this.#tier.hasLease) this.#remote.loseLease();
      else this.#tier.acquire();
    } else this.#nowS += this.#random.below(3);
  }

  /** Makes most items leave memory, hot ones too. */
  async #sendOut(): Promise<void> {
    for (let round = 0; round < 20; round++) {
      if (!this.#options.evicts || this.#tier.hasLease) {
        for (const store of this.#groups[0]!.stores) store.shrink(8);
      }
      this.#work();
      for (let n = 0; n < 20; n++) this.cluster.step();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  #request(client: Client): void {
    // Half of all requests are for few keys, so that they meet each other.
    const nth = this.#random.below(this.#random.below(2) === 0 ? 6 : KEYS);
    const key = `key${nth}`;
    const counter = `counter${nth % COUNTERS}`;
    const dice = this.#random.below(100);
    if (dice < 40) this.#set(client, "set", key);
    else if (dice < 64) this.#get(client, this.#someKeys(key));
    else if (dice < 68) this.#set(client, "add", key);
    else if (dice < 71) this.#set(client, "replace", key);
    else if (dice < 74) this.#set(client, "append", key);
    else if (dice < 78) this.#cas(client, key);
    else if (dice < 83) this.#delete(client, key);
    else if (dice < 88) this.#touch(client, key);
    else if (dice < 91)
      this.#send(client, setOf("set", counter, "5"), this.#isStored(counter, "5"));
    else if (dice < 98) this.#incr(client, counter);
    else if (dice === 98 && this.#random.below(10) === 0) this.#flushAll(client);
    else this.#get(client, [counter]);
  }

  #someKeys(key: string): string[] {
    const more = this.#random.below(3) === 0 ? this.#random.below(8) : 0;
    return [
      ...new Set([key, ...Array.from({ length: more }, () => `key${this.#random.below(12)}`)]),
    ];
  }

  /** Sends a request; `check` is called once its reply is whole. */
  #send(client: Client, request: string, check: (reply: string) => void): void {
    client.check = check;
    client.out = "";
    const { fixture, session } = client;
    fixture.items.tick(this.#nowS * 1000);
    fixture.engine.begin();
    fixture.receiveBuffer.receivedCopy(session, Buffer.from(request, "latin1"));
    this.#continue(client);
  }

  /** Continues all requests whose records have come. */
  #resume(): void {
    for (const client of this.#clients) {
      if (!client.isReady) continue;
      client.isReady = false;
      this.#nextTurn(client);
      this.#continue(client);
    }
  }

  #nextTurn({ fixture, session }: Client): void {
    fixture.items.tick(this.#nowS * 1000);
    fixture.engine.begin();
    fixture.receiveBuffer.resume(session);
  }

  #continue(client: Client): void {
    const { fixture, session } = client;
    while (fixture.engine.paused && session.remote?.isPending !== true) this.#nextTurn(client);
    client.out += fixture.take().toString("latin1");
    const { remote } = session;
    if (remote?.isPending === true) {
      this.#count("waits");
      remote.read().then(() => {
        client.isReady = true;
      });
      return;
    }
    assert.equal(session.pendingBytes, 0, "the request is used up");
    assert.equal(remote, undefined, "no records are held without need");
    const { check, out } = client;
    client.check = undefined;
    if (out === NO_ANSWER || out.endsWith(NO_ANSWER)) {
      const { evicts, faults, crashes, leases } = this.#options;
      assert.ok(!evicts, "an item that may be forgotten is a miss");
      assert.ok(!this.#isHealthy && (faults || crashes || leases), out);
      this.#count("no answer");
      return;
    }
    check!(out);
  }

  #historyOf(key: string): History {
    const known = this.#histories.get(key);
    if (known !== undefined) return known;
    const history: History = [undefined];
    this.#histories.set(key, history);
    return history;
  }

  /** The item that a key has, or may have. */
  #itemOf(key: string): Item | undefined {
    const item = this.#historyOf(key).at(-1);
    return item !== undefined && this.#isGone(item) ? undefined : item;
  }

  #isGone({ expires }: Item, nowS = this.#nowS): boolean {
    return expires !== 0 && expires <= nowS;
  }

  #now(key: string, item: Item | undefined): void {
    this.#historyOf(key).push(item);
  }

  /** Whether an item that the model has may be missing. */
  #mayMiss(key: string): void {
    this.#count("miss");
    assert.ok(this.#options.evicts || this.#itemOf(key) === undefined, `${key} is lost`);
  }

  #isStored(key: string, value: string, flags = 0, expires = 0): (reply: string) => void {
    return (reply) => {
      this.#count(reply.trim());
      if (reply === NO_MEMORY) this.#now(key, undefined);
      else {
        assert.equal(reply, "STORED\r\n");
        this.#now(key, { flags, value, expires, cas: undefined });
      }
    };
  }

  #newValue(): string {
    const dice = this.#random.below(20);
    const bytes =
      dice === 0 ? 9000 + this.#random.below(9000) : this.#random.below(dice < 8 ? 4500 : 900);
    let value = `${++this.#serial} `;
    // Mostly noise, which does not become smaller.
    while (value.length < bytes) value += String.fromCharCode(33 + this.#random.below(200));
    return value;
  }

  #set(client: Client, how: string, key: string): void {
    const value = this.#newValue();
    const flags = this.#random.below(2 ** 16);
    const expires = this.#random.below(4) === 0 ? this.#nowS + 1 + this.#random.below(20) : 0;
    this.#send(client, setOf(how, key, value, { flags, expires }), (reply) => {
      const old = this.#itemOf(key);
      if (reply === "NOT_STORED\r\n") {
        this.#count(reply.trim());
        assert.ok(how !== "set");
        if (how === "add") assert.ok(old !== undefined, `there is no ${key}`);
        else this.#mayMiss(key);
        return;
      }
      if (how === "append" && reply === "STORED\r\n") {
        assert.ok(old !== undefined, `there is no ${key}`);
        this.#isStored(key, old.value + value, old.flags, old.expires)(reply);
        return;
      }
      if (how === "replace" && reply === "STORED\r\n") assert.ok(old !== undefined);
      if (how === "add" && reply === "STORED\r\n") this.#mayMiss(key);
      this.#isStored(key, value, flags, expires)(reply);
    });
  }

  #get(client: Client, keys: readonly string[]): void {
    const begins = keys.map((key) => this.#historyOf(key).length - 1);
    const begunS = this.#nowS;
    this.#send(client, `gets ${keys.join(" ")}\r\n`, (reply) => {
      let left = reply;
      for (const [nth, key] of keys.entries()) {
        const match = new RegExp(`^VALUE ${key} (\\d+) (\\d+) (\\d+)\r\n`).exec(left);
        const since = this.#historyOf(key).slice(begins[nth]!);
        const alive = since.filter((item) => item !== undefined && !this.#isGone(item, begunS));
        if (match === null) {
          this.#count("miss");
          const isSure =
            alive.length === since.length && !alive.some((item) => this.#isGone(item!));
          assert.ok(this.#options.evicts || !isSure, `${key} is lost`);
          continue;
        }
        this.#count("hit");
        const value = left.slice(match[0].length, match[0].length + Number(match[2]));
        const [, flags, , cas] = match;
        const same = alive.filter(
          (item) => item!.value === value && item!.flags === Number(flags),
        ) as Item[];
        assert.ok(same.length > 0, `${key} has an older value, or that of another key`);
        // A counter may have had this value twice since the request began.
        const found = same.find((item) => item.cas === cas) ?? same.find(({ cas }) => !cas);
        assert.ok(found !== undefined, `${key} has the cas number that it had`);
        found.cas = cas;
        left = left.slice(match[0].length + value.length + 2);
      }
      assert.equal(left, "END\r\n");
    });
  }

  #cas(client: Client, key: string): void {
    const value = this.#newValue();
    const given = this.#itemOf(key)?.cas ?? "1";
    this.#send(client, setOf("cas", key, value, { flags: 1, cas: given }), (reply) => {
      const old = this.#itemOf(key);
      this.#count(`cas ${reply.trim()}`);
      if (reply === "NOT_FOUND\r\n") this.#mayMiss(key);
      else if (reply === "EXISTS\r\n") {
        assert.ok(old !== undefined && old.cas !== given, `${key} has another cas number`);
      } else {
        if (reply === "STORED\r\n") assert.ok(old?.cas === given || old?.cas === undefined);
        this.#isStored(key, value, 1)(reply);
      }
    });
  }

  #delete(client: Client, key: string): void {
    this.#send(client, `delete ${key}\r\n`, (reply) => {
      this.#count(reply.trim());
      if (reply === "NOT_FOUND\r\n") this.#mayMiss(key);
      else {
        assert.equal(reply, "DELETED\r\n");
        assert.ok(this.#itemOf(key) !== undefined, `there is no ${key}`);
      }
      this.#now(key, undefined);
    });
  }

  #touch(client: Client, key: string): void {
    const expires = this.#random.below(2) === 0 ? 0 : this.#nowS + 1 + this.#random.below(20);
    this.#send(client, `touch ${key} ${expires}\r\n`, (reply) => {
      this.#count(reply.trim());
      if (reply === "NOT_FOUND\r\n") {
        this.#mayMiss(key);
        // There may have been no room for an item that came from another machine.
        if (!this.#options.evicts) this.#now(key, undefined);
        return;
      }
      assert.equal(reply, "TOUCHED\r\n");
      const old = this.#itemOf(key);
      assert.ok(old !== undefined, `there is no ${key}`);
      this.#now(key, { ...old, expires });
    });
  }

  #incr(client: Client, key: string): void {
    this.#send(client, `incr ${key} 3\r\n`, (reply) => {
      const old = this.#itemOf(key);
      if (reply === "NOT_FOUND\r\n") this.#mayMiss(key);
      else if (reply === NO_MEMORY) this.#now(key, undefined);
      else {
        this.#count("incremented");
        assert.ok(old !== undefined, `there is no ${key}`);
        const value = String(Number(old.value) + 3);
        assert.equal(reply, `${value}\r\n`);
        this.#now(key, { ...old, value, cas: undefined });
      }
    });
  }

  #flushAll(client: Client): void {
    this.#send(client, "flush_all\r\n", (reply) => {
      assert.equal(reply, "OK\r\n");
      this.#count("flush_all");
      for (const key of this.#histories.keys()) this.#now(key, undefined);
    });
  }

  #count(what: string): void {
    this.#tally[what] = (this.#tally[what] ?? 0) + 1;
  }
}

export function itemShardsOf(group: ShardGroup, random: Xorshift32): ItemShards {
  const hash = new ItemHash(...seedsOf(valuesStateOf(group.stores[0]!)));
  const shared = group.stores.length === 1 ? undefined : hash;
  const values = group.stores.map(
    (store) =>
      new Values(
        store,
        () => Date.now(),
        () => random.next() | 0,
        shared,
      ),
  );
  return { group, limitMax: group.limitMax, values, hash, samplers: [] };
}

/** A command that stores a value. */
function setOf(how: string, key: string, value: string, facts: SetFacts = {}): string {
  const { flags = 0, expires = 0, cas } = facts;
  const number = cas === undefined ? "" : ` ${cas}`;
  return `${how} ${key} ${flags} ${expires} ${value.length}${number}\r\n${value}\r\n`;
}

interface SetFacts {
  readonly flags?: number;
  readonly expires?: number;
  readonly cas?: string;
}
