// Which commands count as hits and as misses: the same as in memcached 1.6.18.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { C, type CounterName } from "../../src/memcached/items/counters.ts";
import { SHARDS, TextFixture } from "./fixture.ts";

const LOOKS: readonly CounterName[] = [
  ...(["cmd_get", "get_hits", "get_misses", "get_expired", "get_flushed"] as const),
  ...(["cmd_touch", "touch_hits", "touch_misses", "cmd_meta"] as const),
];

/** `x` exists, `n` does not exist, `e` has expired. */
const CASES: readonly (readonly [text: string, counts: Partial<Record<CounterName, number>>])[] = [
  ["get x n e\r\n", { cmd_get: 3, get_hits: 1, get_misses: 2, get_expired: 1 }],
  ["gets e\r\n", { cmd_get: 1, get_misses: 1, get_expired: 1 }],
  ["gat 0 x n e\r\n", { cmd_touch: 3, touch_hits: 1, touch_misses: 2, get_expired: 1 }],
  ["mg x v\r\nmg n v\r\nmg e v\r\n", { cmd_get: 3, get_hits: 1, get_misses: 2, get_expired: 1 }],
  ["mg x T5\r\n", { cmd_touch: 1, touch_hits: 1 }],
  ["mg n T5\r\n", { cmd_get: 1, get_misses: 1 }],
  ["mg n N5\r\n", { cmd_get: 1, get_hits: 1 }],
  ["md x I\r\nmg x v\r\n", { cmd_get: 1, get_hits: 1 }],
  ["set e 0 0 1\r\nx\r\n", {}],
  ["flush_all\r\nget x\r\n", { cmd_get: 1, get_misses: 1, get_flushed: 1 }],
  ["me x\r\nme n\r\n", { cmd_meta: 2 }],
];

for (const shards of SHARDS)
  describe(`counters, ${shards} shard(s)`, () => {
    for (const [text, counts] of CASES) {
      test(`${JSON.stringify(text)} is ${JSON.stringify(counts)}`, () => {
        const fixture = new TextFixture({ shards });
        fixture.ask("set x 0 0 1\r\n1\r\nset e 0 -1 1\r\n1\r\n");
        fixture.counters.own.fill(0);
        fixture.ask(text);
        const counted = LOOKS.filter((name) => fixture.counters.own[C[name]] !== 0).map((name) => [
          name,
          fixture.counters.own[C[name]],
        ]);
        assert.deepEqual(Object.fromEntries(counted), counts);
      });
    }

    test("of commands with a value that is too large, only set and ms remove the old item", () => {
      const fixture = new TextFixture({ shards, itemBytesMax: 1024 });
      const value = "w".repeat(2000);
      for (const how of ["add", "replace", "append", "prepend", "set"]) {
        fixture.ask("set x 0 0 1\r\n1\r\n");
        const refused = fixture.ask(`${how} x 0 0 2000\r\n${value}\r\n`);
        assert.equal(refused, "SERVER_ERROR object too large for cache\r\n");
        assert.equal(fixture.ask("mg x v\r\n"), how === "set" ? "EN\r\n" : "VA 1\r\n1\r\n", how);
      }
    });
  });
