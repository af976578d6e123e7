// The meta commands: flags, their order in replies, recaching, staleness, base64 keys.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SHARDS, TextFixture } from "./fixture.ts";

type Steps = readonly (readonly [sent: string, reply: string])[];

const TESUTO = "44OG44K544OI";

const CONVERSATIONS: Readonly<Record<string, Steps>> = {
  "mg: hits, misses, values, flags in the client's order": [
    ["mg a\r\n", "EN\r\n"],
    ["mg a k Oxyz\r\n", "EN ka Oxyz\r\n"],
    ["mg a q\r\nmn\r\n", "MN\r\n"],
    ["set a 5 90 2\r\nhi\r\n", "STORED\r\n"],
    ["mg a\r\n", "HD\r\n"],
    ["mg a v\r\n", "VA 2\r\nhi\r\n"],
    ["mg a s v f c t k O1\r\n", "VA 2 s2 f5 c1 t90 ka O1\r\nhi\r\n"],
    ["mg a O1 k t c f s\r\n", "HD O1 ka t90 c1 f5 s2\r\n"],
    ["mg a t T30\r\n", "HD t90\r\n"],
    ["mg a T20 t\r\n", "HD t20\r\n"],
    ["mg a T0 t\r\n", "HD t-1\r\n"],
  ],
  "ms: modes, cas, quiet": [
    ["ms a 2\r\nhi\r\n", "HD\r\n"],
    ["ms a 2 c\r\nho\r\n", "HD c2\r\n"],
    ["ms a 2 c C9\r\nxx\r\n", "EX c0\r\n"],
    ["ms a 2 C2 c k Oo\r\nyy\r\n", "HD c3 ka Oo\r\n"],
    ["ms b 1 C2\r\nx\r\n", "NF\r\n"],
    ["ms a 1 ME\r\nx\r\n", "NS\r\n"],
    ["ms b 1 ME T30 F7\r\nb\r\n", "HD\r\n"],
    ["mg b v f t\r\n", "VA 1 f7 t30\r\nb\r\n"],
    ["ms b 1 MA\r\nc\r\n", "HD\r\n"],
    ["ms b 1 MP\r\na\r\n", "HD\r\n"],
    ["mg b v f t\r\n", "VA 3 f7 t30\r\nabc\r\n"],
    ["ms c 1 MR\r\nx\r\n", "NS\r\n"],
    ["ms c 1 MA\r\nx\r\n", "NS\r\n"],
    ["ms c 1 MA N60\r\nx\r\n", "HD\r\n"],
    ["mg c v t\r\n", "VA 1 t60\r\nx\r\n"],
    ["ms a 1 q\r\nz\r\nmn\r\n", "MN\r\n"],
    ["ms a 1 q C1\r\nz\r\n", "EX\r\n"],
    ["ms a 1 E77\r\nz\r\n", "HD\r\n"],
    ["mg a c\r\n", "HD c77\r\n"],
    ["ms a 1 E18446744073709551615\r\nz\r\n", "HD\r\n"],
    ["mg a c\r\n", "HD c18446744073709551615\r\n"],
  ],
  "md: cas, quiet, without its value": [
    ["md a\r\n", "NF\r\n"],
    ["ms a 2 F9\r\nhi\r\n", "HD\r\n"],
    ["md a C5 k\r\n", "EX ka\r\n"],
    ["md a x\r\n", "HD\r\n"],
    ["mg a v f\r\n", "VA 0 f0\r\n\r\n"],
    ["md a q\r\nmn\r\n", "MN\r\n"],
    ["md a Oq\r\n", "NF Oq\r\n"],
  ],
  "ma: numbers, cas, making what is not there": [
    ["ma n\r\n", "NF\r\n"],
    ["ma n N90 J13 v t\r\n", "VA 2 t90\r\n13\r\n"],
    ["ma n v\r\n", "VA 2\r\n14\r\n"],
    ["ma n MD D4 v\r\n", "VA 2\r\n10\r\n"],
    ["ma n M- D100 v\r\n", "VA 1\r\n0\r\n"],
    ["ma n C99 v\r\n", "EX\r\n"],
    ["ma n T30 t c\r\n", "HD t30 c5\r\n"],
    ["ma n q\r\nmn\r\n", "MN\r\n"],
    ["ma n MX\r\n", "CLIENT_ERROR invalid mode for ma M token\r\n"],
    ["ms n 1\r\nx\r\n", "HD\r\n"],
    ["ma n\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"],
  ],
  "one client wins, and only one": [
    ["mg a N30 v t\r\n", "VA 0 t30 W\r\n\r\n"],
    ["mg a N30 v t\r\n", "VA 0 t30 Z\r\n\r\n"],
    ["ms a 1 T100\r\na\r\n", "HD\r\n"],
    ["mg a R30 t\r\n", "HD t100\r\n"],
    ["mg a R120 t\r\n", "HD t100 W\r\n"],
    ["mg a R120 t\r\n", "HD t100 Z\r\n"],
  ],
  "stale items": [
    ["ms a 1 c\r\na\r\n", "HD c1\r\n"],
    ["md a I T30\r\n", "HD\r\n"],
    ["mg a v t c\r\n", "VA 1 t30 c2 X W\r\na\r\n"],
    ["mg a v t c\r\n", "VA 1 t30 c2 Z X\r\na\r\n"],
    // Too late: the value is stored as stale and keeps its time.
    ["ms a 1 I C1 T300\r\nb\r\n", "HD\r\n"],
    ["mg a v t\r\n", "VA 1 t30 Z X\r\nb\r\n"],
    ["ms a 1 I C99\r\nc\r\n", "EX\r\n"],
    ["ms a 1\r\nd\r\n", "HD\r\n"],
    ["mg a v\r\n", "VA 1\r\nd\r\n"],
  ],
  "a stale number": [
    ["ms n 2\r\n98\r\n", "HD\r\n"],
    ["md n I\r\n", "HD\r\n"],
    ["incr n 1\r\n", "99\r\n"],
    ["mg n\r\n", "HD X W\r\n"],
    // A number that has become longer is a new item.
    ["incr n 1\r\n", "100\r\n"],
    ["mg n v\r\n", "VA 3\r\n100\r\n"],
  ],
  "keys in base64": [
    [`ms ${TESUTO} 2 b\r\npo\r\n`, "HD\r\n"],
    [`mg ${TESUTO} v\r\n`, "EN\r\n"],
    [`mg ${TESUTO} b k v\r\n`, `VA 2 k${TESUTO} b\r\npo\r\n`],
    [
      `get \xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88\r\n`,
      "VALUE \xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88 0 2\r\npo\r\nEND\r\n",
    ],
    ["mg abc b v\r\n", "CLIENT_ERROR error decoding key\r\n"],
    [`md ${TESUTO} b k\r\n`, `HD k${TESUTO} b\r\n`],
  ],
  "what is wrong is said, and its value passed over": [
    ["mg\r\n", "ERROR\r\n"],
    ["mg a v v\r\n", "CLIENT_ERROR duplicate flag\r\n"],
    ["mg a !\r\n", "CLIENT_ERROR invalid flag\r\n"],
    ["mg a Tx\r\n", "CLIENT_ERROR bad token in command line format\r\n"],
    [`mg a O${"x".repeat(33)}\r\n`, "CLIENT_ERROR opaque token too long\r\n"],
    [`mg ${"k".repeat(251)}\r\n`, "CLIENT_ERROR bad command line format\r\n"],
    ["ms a\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["ms a x\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["ms a 2 MZ\r\nmn\r\nmn\r\n", "CLIENT_ERROR invalid mode for ms M token\r\nMN\r\n"],
    ["ms a 2 Cx\r\nmn\r\nmn\r\n", "CLIENT_ERROR bad token in command line format\r\nMN\r\n"],
    ["ms a 1\r\nxyz\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n"],
    ["ma a Dx\r\n", "CLIENT_ERROR invalid or duplicate flag\r\n"],
    ["ms a 1 Dx\r\nx\r\n", "CLIENT_ERROR invalid numeric delta value\r\n"],
    ["me\r\n", "CLIENT_ERROR bad command line format\r\n"],
    ["me none\r\n", "EN\r\n"],
    ["mx a\r\n", "ERROR\r\n"],
  ],
};

for (const shards of SHARDS)
  describe(`meta, ${shards} shard(s)`, () => {
    for (const [name, steps] of Object.entries(CONVERSATIONS)) {
      test(name, () => {
        const fixture = new TextFixture({ shards });
        for (const [sent, reply] of steps)
          assert.equal(fixture.ask(sent), reply, JSON.stringify(sent));
      });
    }

    test("h, l and u: state before the request, and reads that leave no trace", () => {
      const fixture = new TextFixture({ shards });
      fixture.ask("ms a 1\r\na\r\n");
      fixture.nowS += 5;
      assert.equal(fixture.ask("mg a h l u\r\n"), "HD h0 l5\r\n");
      assert.equal(fixture.ask("mg a h l\r\n"), "HD h0 l5\r\n");
      fixture.nowS += 2;
      assert.equal(fixture.ask("mg a h l\r\n"), "HD h1 l2\r\n");
      assert.equal(fixture.ask("me a\r\n"), "ME a exp=-1 la=0 cas=1 fetch=yes cls=1 size=2\r\n");
    });
  });
