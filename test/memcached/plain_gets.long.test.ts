// Gets answered by the kernels (memcached/plain_gets.as.ts) against the same gets answered by the
// engine: for all items and all forms of the request, replies and counters are the same.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Session } from "../../src/memcached/session.ts";
import { EngineFixture, SHARDS, TextFixture } from "./fixture.ts";

const noise = (bytes: number, seed: number) =>
  Array.from({ length: bytes }, (_, i) =>
    String.fromCharCode(33 + ((Math.imul(i + 1, 2654435761 ^ seed) >>> 9) % 90)),
  ).join("");
const words = (bytes: number) => "the quick brown fox ".repeat(bytes / 20 + 1).slice(0, bytes);

/** Values that are stored raw, compressed, in two page frames, in several pages, and empty. */
const VALUES = ["", "1", noise(40, 1), noise(1500, 2), words(90), words(3000), noise(9000, 3)];

const KEYS = ["a", "b", "k".repeat(31), "x".repeat(32), "l".repeat(250), "\xe9\xff"];
const keys = fc.constantFrom(...KEYS);
const flagSets = fc.subarray([
  "v",
  "f",
  "c",
  "s",
  "t",
  "k",
  "q",
  "O12",
  "T30",
  "N30",
  "R45",
  "u",
  "b",
]);

const stored = fc
  .tuple(keys, fc.constantFrom(...VALUES), fc.constantFrom(0, 7, 4294967295), fc.nat({ max: 2 }))
  .map(([key, value, flags, expiry]) => {
    const exptime = [0, 0, 50][expiry]!;
    return `set ${key} ${flags} ${exptime} ${value.length}\r\n${value}\r\n`;
  });
const changed = fc
  .tuple(keys, fc.constantFrom("touch", "delete", "md", "stale", "ms", "append", "flush", "me"))
  .map(([key, how]) => {
    if (how === "touch") return `touch ${key} 40\r\n`;
    if (how === "delete") return `delete ${key}\r\n`;
    if (how === "stale") return `md ${key} I T30\r\n`;
    if (how === "ms") return `ms ${key} 2 T20 c\r\nhi\r\n`;
    if (how === "append") return `append ${key} 0 0 1\r\n+\r\n`;
    if (how === "flush") return "flush_all\r\n";
    return `${how} ${key}\r\n`;
  });
const ends = fc.constantFrom("\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", " \r\n");
const asked = fc.oneof(
  fc
    .tuple(fc.constantFrom("get", "get", "gets"), fc.array(keys, { maxLength: 4 }), ends)
    .map(([verb, some, end]) => `${[verb, ...some].join(" ")}${end}`),
  fc
    .tuple(keys, fc.shuffledSubarray(["v", "f", "c", "s", "t", "k", "q", "Oabc"]), ends)
    .map(([key, flags, end]) => `${["mg", key, ...flags].join(" ")}${end}`),
  fc.tuple(keys, flagSets).map(([key, flags]) => `${["mg", key, ...flags].join(" ")}\r\n`),
  fc.constantFrom("mn\r\n", "mg a v v\r\n", "mg  a v\r\n", `mg a O${"1".repeat(40)}\r\n`, "mg\r\n"),
);
/** Sets and gets every key once, so that the kernels find the items from then on. */
const begins = fc.tuple(...KEYS.map(() => fc.constantFrom(...VALUES))).map((values) =>
  KEYS.map((key, i) => {
    const value = values[i]!;
    return `set ${key} ${i} 0 ${value.length}\r\n${value}\r\nget ${key}\r\n`;
  }).join(""),
);
/** One read of a connection, and the seconds since the previous read. */
const reads = fc.tuple(
  fc.array(fc.oneof(stored, { arbitrary: asked, weight: 8 }, changed), { maxLength: 12 }),
  fc.constantFrom(0, 0, 0, 1, 30, 61),
);

function bothAnswer(options: { shards: number; codec: string }) {
  return fc.property(begins, fc.array(reads, { maxLength: 12 }), (begin, turns) => {
    const fixtures = [true, false].map((isQuick) => new TextFixture({ ...options, isQuick }));
    for (const fixture of fixtures) fixture.ask(begin);
    for (const [lines, seconds] of turns) {
      for (const fixture of fixtures) fixture.nowS += seconds;
      const [quick, slow] = fixtures.map((fixture) => fixture.ask(lines.join("")));
      assert.equal(quick, slow);
    }
    const [quick, slow] = fixtures.map(({ counters }) => [...counters.own]);
    assert.deepEqual(quick, slow);
    quickHits += fixtures[0]!.quickHits;
    assert.equal(fixtures[1]!.quickHits, 0);
  });
}

let quickHits = 0;

/** Sends a stream in pieces that end at the given places. @returns all replies */
function askInPieces(fixture: TextFixture, stream: string, cuts: readonly number[]): string {
  const ends = [...cuts.filter((cut) => cut < stream.length), stream.length].sort((a, b) => a - b);
  let from = 0;
  let replies = "";
  for (const end of ends) {
    replies += fixture.ask(stream.slice(from, end));
    from = end;
  }
  return replies;
}

/** Streams of many short gets and of few, cut anywhere, to stores of one and of several shards. */
function sameOfShards(codec: string) {
  const cuts = fc.array(fc.nat({ max: 3000 }), { maxLength: 12 });
  const streams = fc.array(fc.tuple(reads, cuts, cuts), { minLength: 1, maxLength: 8 });
  return fc.property(begins, streams, (begin, all) => {
    const fixtures = SHARDS.map((shards) => new TextFixture({ codec, shards }));
    for (const fixture of fixtures) fixture.ask(begin);
    for (const [[lines, seconds], ...places] of all) {
      const replies = fixtures.map((fixture, nth) => {
        fixture.nowS += seconds;
        return askInPieces(fixture, lines.join(""), places[nth]!);
      });
      assert.equal(replies[1], replies[0]);
    }
    const counts = fixtures.map(({ counters }) => [...counters.own]);
    assert.deepEqual(counts[1], counts[0]);
    for (const { items } of fixtures) items.shards.group.verify();
    quickHits += fixtures[1]!.quickHits;
  });
}

for (const codec of ["lz4", "none"]) {
  test(`${codec}: any stream, cut anywhere, gets the same bytes from one and three shards`, () => {
    quickHits = 0;
    fc.assert(sameOfShards(codec), { numRuns: 150 });
    assert.ok(quickHits > 100, `only ${quickHits} items were found by the kernels`);
  });
}

for (const shards of SHARDS)
  describe(`plain gets, ${shards} shard(s)`, () => {
    for (const codec of ["lz4", "none", "zstd"]) {
      test(`${codec}: kernels and engine give the same replies`, () => {
        quickHits = 0;
        // A process has addresses for some 13,000 arenas, and those that are dropped keep theirs
        // until the garbage collector comes.
        fc.assert(bothAnswer({ shards, codec }), { numRuns: Math.ceil(400 / shards) });
        const least = 500 / shards;
        assert.ok(quickHits > least, `only ${quickHits} items were found by the kernels`);
      });
    }

    /** A fixture whose items have been read once, so that the kernels find them. */
    function fixtureWith(lines: string): TextFixture {
      const fixture = new TextFixture({ shards });
      fixture.ask(lines);
      fixture.ask("get a\r\nget b\r\n");
      fixture.quickHits = 0;
      return fixture;
    }
    const A = "set a 5 0 3\r\nabc\r\n";
    const B = `set b 0 100 200\r\n${words(200)}\r\n`;

    test("the kernels answer these requests", () => {
      const lines: readonly (readonly [asked: string, hits: number])[] = [
        ["get a\r\n", 1],
        ["gets a b a\r\nmn\r\n", 3],
        ["mg a v\r\nmg b s t f c k q Oxyz v\r\nmg a\r\n", 3],
        [`get ${Array(80).fill("a").join(" ")}\r\n`, 80],
      ];
      for (const [asked, hits] of lines) {
        const fixture = fixtureWith(A + B);
        fixture.ask(asked);
        assert.equal(fixture.quickHits, hits, asked);
        assert.equal(fixture.counters.sum("get_hits"), 2 + hits, asked);
      }
    });

    test("the engine answers these requests", () => {
      const many = `get ${Array(81).fill("a").join(" ")}\r\n`;
      const long = `get a ${"k".repeat(251)}\r\n`;
      const lines: readonly (readonly [asked: string, hits: number])[] = [
        ["get c\r\n", 0],
        ["get a c\r\n", 0],
        ["get a b c a\r\n", 0],
        ["get c a\r\n", 0],
        ["get a b\n", 0],
        ["get a b \r\n", 0],
        ["get a b\rb\r\n", 0],
        ["get a\n", 0],
        ["mg a v T30\r\n", 0],
        ["mg a v v\r\n", 0],
        ["mg YQ== b v\r\n", 0],
        [many, 0],
        [long, 0],
      ];
      for (const [asked, hits] of lines) {
        const fixture = fixtureWith(A + B);
        const reply = fixture.ask(asked);
        assert.equal(fixture.quickHits, hits, asked);
        const slow = new TextFixture({ shards, isQuick: false });
        slow.ask(A + B);
        assert.equal(reply, slow.ask(asked), asked);
      }
      const value = noise(70_000, 9);
      const chunked = fixtureWith(`set a 0 0 70000\r\n${value}\r\n`);
      assert.equal(chunked.ask("get a\r\n"), `VALUE a 0 70000\r\n${value}\r\nEND\r\n`);
      assert.equal(chunked.quickHits, 0, "the value has several pages");
      const late = fixtureWith(A + B);
      late.nowS += 61;
      late.ask("get a\r\n");
      assert.equal(late.quickHits, 0, "the engine first records the time of the read");
      late.ask("get a\r\n");
      assert.equal(late.quickHits, 1);
      const watched = fixtureWith(A + B);
      watched.send(new Session(), "watch fetchers\r\n");
      watched.ask("get a\r\n");
      assert.equal(watched.quickHits, 0, "a watcher gets a line for each get");
      const detailed = fixtureWith(A + B);
      detailed.ask("stats detail on\r\nget a\r\n");
      assert.equal(detailed.quickHits, 0, "prefixes are counted");
    });

    test("replies that do not fit into the buffer are sent in several turns", () => {
      const fixture = fixtureWith(`set a 0 0 4000\r\n${noise(4000, 5)}\r\n`);
      const one = fixture.ask("get a\r\n");
      assert.equal(fixture.ask("get a\r\n".repeat(64)), one.repeat(64));
      assert.ok(fixture.quickHits > 50, `${fixture.quickHits} by the kernels`);
    });

    test("the kernels use a dictionary in place", () => {
      const fixture = new TextFixture({ shards, dictionary: false });
      for (const { dictionaries } of fixture.items.shards.values) {
        assert.equal(dictionaries.add(new Uint8Array(Buffer.from(words(4096)))), 1);
      }
      const value = `${words(300)}!`;
      const one = `VALUE a 0 301\r\n${value}\r\nEND\r\n`;
      assert.equal(fixture.ask(`set a 0 0 301\r\n${value}\r\nget a\r\n`), `STORED\r\n${one}`);
      assert.equal(fixture.ask("get a\r\n"), one);
      assert.equal(fixture.quickHits, 1);
      const { compr_data_size } = fixture.memory.more;
      assert.ok(Number(compr_data_size) < 100, `compressed with it to ${compr_data_size}`);
    });

    test("hits of the kernels count in the statistics of the store", () => {
      const counts = [true, false].map((isQuick) => {
        const fixture = new EngineFixture({ shards, isQuick });
        const session = new Session();
        fixture.send(session, A + B);
        for (let i = 0; i < 3000; i++) fixture.send(session, "mg a v\r\nget b\r\n");
        const { gets, hits, misses } = fixture.memory.more as Record<string, number>;
        return { gets, hits, misses };
      });
      assert.ok(counts[0]!.hits! > 5000, JSON.stringify(counts));
      // The kernels add their hits to the counters in batches.
      assert.ok(Math.abs(counts[0]!.hits! - counts[1]!.hits!) <= 1024, JSON.stringify(counts));
      assert.equal(counts[0]!.misses, counts[1]!.misses);
    });
  });
