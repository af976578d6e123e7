// Items against a model, a Map of plain objects: any sequence of commands, with time passing in
// between, gets the same replies from both.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { NOW_S, SHARDS, TextFixture } from "./fixture.ts";

interface ModelItem {
  flags: number;
  value: string;
  expires: number;
  cas: number;
}

const TWO_64 = 2n ** 64n;

/** A minimal implementation of memcached's rules. */
class Model {
  readonly items = new Map<string, ModelItem>();
  now = NOW_S;
  #cas = 0;
  #flushAt = 0;

  advance(seconds: number): void {
    this.now += seconds;
    if (this.#flushAt === 0 || this.#flushAt > this.now) return;
    this.items.clear();
    this.#flushAt = 0;
  }

  find(key: string): ModelItem | undefined {
    const item = this.items.get(key);
    return item === undefined || (item.expires !== 0 && item.expires <= this.now)
      ? undefined
      : item;
  }

  expiry(given: number): number {
    if (given === 0) return 0;
    if (given < 0) return 1;
    return given > 30 * 86_400 ? given : this.now + given;
  }

  put(key: string, flags: number, expires: number, value: string): string {
    this.items.set(key, { flags, expires, value, cas: ++this.#cas });
    return "STORED\r\n";
  }

  store(how: string, key: string, flags: number, exptime: number, value: string): string {
    const old = this.find(key);
    const expires = this.expiry(exptime);
    if (how === "add" ? old !== undefined : how !== "set" && old === undefined) {
      return "NOT_STORED\r\n";
    }
    if (how === "append") return this.put(key, old!.flags, old!.expires, old!.value + value);
    if (how === "prepend") return this.put(key, old!.flags, old!.expires, value + old!.value);
    return this.put(key, flags, expires, value);
  }

  cas(key: string, value: string, cas: number): string {
    const old = this.find(key);
    if (old === undefined) return "NOT_FOUND\r\n";
    return old.cas === cas ? this.put(key, 0, 0, value) : "EXISTS\r\n";
  }

  get(key: string, withCas: boolean): string {
    const item = this.find(key);
    if (item === undefined) return "END\r\n";
    const cas = withCas ? ` ${item.cas}` : "";
    return `VALUE ${key} ${item.flags} ${item.value.length}${cas}\r\n${item.value}\r\nEND\r\n`;
  }

  touch(key: string, exptime: number): ModelItem | undefined {
    const item = this.find(key);
    if (item !== undefined) item.expires = this.expiry(exptime);
    return item;
  }

  count(key: string, delta: bigint, up: boolean): string {
    const item = this.find(key);
    if (item === undefined) return "NOT_FOUND\r\n";
    const digits = item.value.trim().split(" ")[0]!;
    if (!/^\d{1,20}$/.test(digits) || BigInt(digits) >= TWO_64) {
      return "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    }
    const old = BigInt(digits);
    const value = up ? (old + delta) % TWO_64 : old > delta ? old - delta : 0n;
    this.put(key, item.flags, item.expires, String(value).padEnd(item.value.length));
    return `${value}\r\n`;
  }

  flush(delay: number): void {
    if (delay > 0) this.#flushAt = this.now + delay;
    else {
      this.items.clear();
      this.#flushAt = 0;
    }
  }
}

type Step = (fixture: TextFixture, model: Model) => void;

function compare(fixture: TextFixture, sent: string, expected: string): void {
  assert.equal(fixture.ask(sent), expected, JSON.stringify(sent));
}

const keys = fc.constantFrom("a", "b", "c", "d", "e");
const values = fc.oneof(
  fc.string({ maxLength: 40 }).map((text) => Buffer.from(text).toString("latin1")),
  fc.bigInt({ min: 0n, max: TWO_64 - 1n }).map(String),
  fc.constantFrom("9", "10", "18446744073709551615", "18446744073709551616", "1 2", ""),
);
const exptimes = fc.constantFrom(0, 0, 0, 1, 3, -1, 2_592_000, NOW_S - 5, NOW_S + 4, 2_592_001);
const flags = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom("set", "set", "add", "replace", "append", "prepend"),
      keys,
      flags,
      exptimes,
      values,
    )
    .map(
      ([how, key, flag, exptime, value]): Step =>
        (fixture, model) => {
          const sent = `${how} ${key} ${flag} ${exptime} ${value.length}\r\n${value}\r\n`;
          compare(fixture, sent, model.store(how, key, flag, exptime, value));
        },
    ),
  fc.tuple(keys, values, fc.integer({ min: 0, max: 20 })).map(
    ([key, value, cas]): Step =>
      (fixture, model) => {
        // Mostly the right cas number, otherwise hardly any command would succeed.
        const given = cas > 10 ? (model.find(key)?.cas ?? 0) : cas;
        const sent = `cas ${key} 0 0 ${value.length} ${given}\r\n${value}\r\n`;
        compare(fixture, sent, model.cas(key, value, given));
      },
  ),
  fc.tuple(keys, fc.boolean()).map(
    ([key, withCas]): Step =>
      (fixture, model) => {
        compare(fixture, `${withCas ? "gets" : "get"} ${key}\r\n`, model.get(key, withCas));
      },
  ),
  fc.tuple(keys, exptimes).map(
    ([key, exptime]): Step =>
      (fixture, model) => {
        const found = model.touch(key, exptime);
        compare(fixture, `touch ${key} ${exptime}\r\n`, found ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
      },
  ),
  fc.tuple(keys, exptimes).map(
    ([key, exptime]): Step =>
      (fixture, model) => {
        const shown = model.get(key, true);
        model.touch(key, exptime);
        compare(fixture, `gats ${exptime} ${key}\r\n`, shown);
      },
  ),
  keys.map(
    (key): Step =>
      (fixture, model) => {
        const found = model.find(key) !== undefined;
        model.items.delete(key);
        compare(fixture, `delete ${key}\r\n`, found ? "DELETED\r\n" : "NOT_FOUND\r\n");
      },
  ),
  fc.tuple(keys, fc.bigInt({ min: 0n, max: TWO_64 - 1n }), fc.boolean()).map(
    ([key, delta, up]): Step =>
      (fixture, model) => {
        compare(
          fixture,
          `${up ? "incr" : "decr"} ${key} ${delta}\r\n`,
          model.count(key, delta, up),
        );
      },
  ),
  fc.constantFrom(0, 2, 5).map(
    (delay): Step =>
      (fixture, model) => {
        model.flush(delay);
        compare(fixture, `flush_all ${delay}\r\n`, "OK\r\n");
      },
  ),
  fc.integer({ min: 0, max: 4 }).map(
    (seconds): Step =>
      (fixture, model) => {
        fixture.nowS += seconds;
        model.advance(seconds);
      },
  ),
);

for (const shards of SHARDS)
  describe(`items, ${shards} shard(s)`, () => {
    test("any sequence of commands gets the replies of the model", () => {
      fc.assert(
        fc.property(fc.array(steps, { maxLength: 60 }), (sequence) => {
          const fixture = new TextFixture({ shards });
          const model = new Model();
          for (const step of sequence) step(fixture, model);
        }),
        { numRuns: 300 },
      );
    });
  });
