// Sets done by the kernel (memcached/plain_sets.as.ts) against the same sets done by the engine:
// for any stream, in any pieces, replies, counters and items are the same.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Xorshift32 } from "../../src/base/random.ts";
import { openValues } from "../../src/cache/engine.ts";
import { storeOptionsOf } from "../../src/cache/options.ts";
import { stateOf } from "../../src/store/store.ts";
import { TextFixture } from "./fixture.ts";
import { itemShardsOf } from "./remote_simulation.ts";

const noise = (bytes: number, seed: number) =>
  Array.from({ length: bytes }, (_, i) =>
    String.fromCharCode(33 + ((Math.imul(i + 1, 2654435761 ^ seed) >>> 9) % 90)),
  ).join("");
const words = (bytes: number) => "the quick brown fox ".repeat(bytes / 20 + 1).slice(0, bytes);

/** Values that are stored raw, compressed, in several pages, and empty. */
const VALUES = ["", "1", noise(40, 1), noise(1500, 2), words(90), words(3000), noise(9000, 3)];
const MORE = Array.from({ length: 24 }, (_, i) => (i % 2 === 0 ? noise : words)(i * 71 + 1, i));
const values = fc.constantFrom(...VALUES, ...MORE, ...MORE);

const KEYS = ["a", "b", "k".repeat(31), "x".repeat(32), "l".repeat(250), "\xe9\xff"];
const keys = fc.oneof(
  fc.constantFrom(...KEYS),
  fc.nat(60).map((nth) => `key:${nth}`),
);

const numbers = fc.constantFrom(
  "0",
  "0",
  "0",
  "7",
  "50",
  "4294967295",
  "4294967296",
  "01",
  "-1",
  "x",
);
const times = fc.constantFrom(
  "0",
  "0",
  "0",
  "0",
  "50",
  "2592000",
  "2592001",
  "1790000050",
  "-1",
  "x",
);
const ends = fc.constantFrom(...Array<string>(30).fill("\r\n"), "\n", " \r\n", " noreply\r\n");
const set = fc.tuple(keys, numbers, times, values, ends).map(([key, flags, time, value, end]) => {
  return `set ${key} ${flags} ${time} ${value.length}${end}${value}\r\n`;
});
const metaFlags = fc.shuffledSubarray(["T50", "F7", "T0", "c", "q", "b", "MS", "ME", "I", "C1"], {
  maxLength: 2,
});
const meta = fc.tuple(keys, metaFlags, values).map(([key, flags, value]) => {
  return `${["ms", key, value.length, ...flags].join(" ")}\r\n${value}\r\n`;
});
const bad = fc.constantFrom(
  "set a 0 0 5\r\nlonger\r\n",
  "set a 0 0 1 1\r\n1\r\n",
  "set\r\n",
  "ms\r\n",
  "ms a\r\n",
  "ms a 1 T\r\n1\r\n",
  `set ${"l".repeat(251)} 0 0 1\r\n1\r\n`,
  "set a 0 0 3000000\r\n",
);
const other = fc
  .tuple(keys, fc.constantFrom("touch", "delete", "md", "stale", "append", "incr", "cas", "flush"))
  .map(([key, how]) => {
    if (how === "touch") return `touch ${key} 40\r\n`;
    if (how === "stale") return `md ${key} I T30\r\n`;
    if (how === "append") return `append ${key} 0 0 1\r\n+\r\n`;
    if (how === "incr") return `incr ${key} 2\r\n`;
    if (how === "cas") return `gets ${key}\r\ncas ${key} 0 0 1 3\r\n+\r\n`;
    return how === "flush" ? "flush_all\r\n" : `${how} ${key}\r\n`;
  });
const asked = keys.map((key) => `mg ${key} v f c s t h l\r\n`);
const line = fc.oneof(
  { arbitrary: set, weight: 12 },
  { arbitrary: meta, weight: 4 },
  { arbitrary: asked, weight: 3 },
  { arbitrary: other, weight: 2 },
  { arbitrary: bad, weight: 1 },
);
/** Lines of a connection, where they are cut, and the seconds since the previous ones. */
const streams = fc.tuple(
  fc.array(line, { maxLength: 30, size: "max" }),
  fc.array(fc.nat(9000), { maxLength: 3 }),
  fc.constantFrom(0, 0, 0, 1, 30, 61),
);

const BEGIN = Array.from({ length: 120 }, (_, nth) => {
  const value = MORE[nth % MORE.length]!;
  return `set key:${nth % 60} 0 0 ${value.length}\r\n${value}\r\n`;
}).join("");

let stored = 0;

interface Options {
  readonly codec: string;
  readonly memoryMax: number;
  readonly casEnabled: boolean;
  readonly dictionary: boolean;
  readonly policy: string;
}

/** A server over a store with this eviction policy. */
function fixtureOf({ policy, ...settings }: Options, isQuick: boolean): TextFixture {
  const { codec, memoryMax, dictionary } = settings;
  const options = storeOptionsOf({ codec, memoryMax, dictionary, policy, shards: 1 });
  const { group } = openValues(options, undefined, { front: "items", stays: false });
  assert.equal(stateOf(group.stores[0]!).policies[0]!.name, policy);
  const itemShards = itemShardsOf(group, new Xorshift32(1));
  return new TextFixture({ ...settings, itemShards, isQuick });
}

function bothStore(options: Options) {
  return fc.property(fc.array(streams, { maxLength: 6 }), (all) => {
    const fixtures = [true, false].map((isQuick) => fixtureOf(options, isQuick));
    // From then on, most sets find what they need.
    const [first, same] = fixtures.map((fixture) => fixture.ask(BEGIN) + fixture.ask(BEGIN));
    assert.equal(first, same);
    for (const [lines, cuts, seconds] of all) {
      const stream = lines.join("");
      const replies = fixtures.map((fixture) => {
        fixture.nowS += seconds;
        let from = 0;
        let reply = "";
        for (const cut of [...cuts, Number.POSITIVE_INFINITY].sort((a, b) => a - b)) {
          reply += fixture.ask(stream.slice(from, cut));
          from = Math.min(cut, stream.length);
        }
        return reply;
      });
      assert.equal(replies[0], replies[1]);
    }
    const [quick, slow] = fixtures.map(({ counters }) => [...counters.own]);
    assert.deepEqual(quick, slow);
    const [held, heldToo] = fixtures.map(({ memory }) => [memory.items, memory.logicalBytes]);
    assert.deepEqual(held, heldToo);
    for (const fixture of fixtures) fixture.items.shards.group.verify();
    stored += fixtures[0]!.quickSets;
    assert.equal(fixtures[1]!.quickSets, 0);
    for (const fixture of fixtures) fixture.items.shards.group.close();
  });
}

for (const options of [
  { codec: "lz4", memoryMax: 32 << 20, casEnabled: true, dictionary: false, policy: "adaptive" },
  { codec: "lz4", memoryMax: 32 << 20, casEnabled: false, dictionary: false, policy: "tinylfu" },
]) {
  test(`kernel and engine store alike: ${JSON.stringify(options)}`, () => {
    stored = 0;
    fc.assert(bothStore(options), { numRuns: 40 });
    assert.ok(stored > 1000, `only ${stored} items were stored by the kernel`);
  });
}
