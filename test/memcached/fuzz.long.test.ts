// Random bytes, and requests that arrive in pieces: the server goes on, memory is freed, and the
// replies to a stream do not depend on where the stream was cut.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Session } from "../../src/memcached/session.ts";
import { EngineFixture, NOW_S } from "./fixture.ts";

const words = fc.constantFrom(
  ...["get", "gets", "gat", "gats", "set", "add", "replace", "append", "prepend", "cas", "incr"],
  ...["decr", "delete", "touch", "mg", "ms", "md", "ma", "mn", "me", "stats", "flush_all"],
  ...["version", "verbosity", "noreply", "a", "b", "key", "0", "1", "5", "-1", "4294967296"],
  ...["v", "t", "q", "k", "b", "I", "N30", "R30", "T5", "C1", "MA", "F9", "Oabc", "D3", "J7"],
  ...["18446744073709551615", "x".repeat(251), "\0", "\t", "detail", "on", "dump", "settings"],
);
const lines = fc
  .tuple(fc.array(words, { maxLength: 8 }), fc.constantFrom("\r\n", "\n", " \r\n", ""))
  .map(([some, end]) => Buffer.from(`${some.join(" ")}${end}`, "latin1"));

/** A set or ms whose value has the stated length. */
const stores = fc
  .tuple(
    fc.constantFrom("set", "add", "append", "prepend", "replace"),
    fc.constantFrom("a", "b", "k".repeat(250)),
    fc.uint8Array({ maxLength: 3000 }),
    fc.boolean(),
  )
  .map(([how, key, value, meta]) => {
    const head = meta ? `ms ${key} ${value.length} T0 c` : `${how} ${key} 3 0 ${value.length}`;
    return Buffer.concat([Buffer.from(`${head}\r\n`), value, Buffer.from("\r\n")]);
  });

const reads = fc
  .constantFrom(
    ...["get a b\r\n", "gets a\r\n", "mg a v k t c\r\n", "mg b v O1 s\r\n", "incr a 1\r\n"],
    ...["delete b\r\n", "touch a 100\r\n", "mn\r\n", "gat 0 a b\r\n", "me a\r\n", "bogus\r\n"],
    ...[`get ${"a ".repeat(1500)}b\r\n`, `get ${"z".repeat(300)}\r\n`, "set a 0 0 99999999\r\n"],
    ...[`get ${"a ".repeat(1100)}${"z".repeat(400)} b\r\n`, `gat 9 ${"a ".repeat(1100)}b\r\n`],
    ...[`gats x ${"a ".repeat(1100)}b\r\n`, `gets ${"a ".repeat(1100)}${"z".repeat(6000)}\r\n`],
  )
  .map((text) => Buffer.from(text));

const binary = fc
  .tuple(
    fc.integer({ min: 0, max: 0x30 }),
    fc.constantFrom("", "a", "b"),
    fc.constantFrom(0, 4, 8, 20),
    fc.uint8Array({ maxLength: 200 }),
  )
  .map(([opcode, key, extras, value]) => {
    const header = Buffer.alloc(24 + extras);
    header[0] = 0x80;
    header[1] = opcode;
    header.writeUInt16BE(key.length, 2);
    header[4] = extras;
    header.writeUInt32BE(extras + key.length + value.length, 8);
    return Buffer.concat([header, Buffer.from(key), value]);
  });

/** One request of each kind, also for a value that is too large. */
function binaryStream(): Buffer {
  const parts: Buffer[] = [];
  const add = (
    opcode: number,
    extras: number,
    key: string,
    valueBytes: number,
    sent = valueBytes,
  ) => {
    const header = Buffer.alloc(24 + extras);
    header[0] = 0x80;
    header[1] = opcode;
    header.writeUInt16BE(key.length, 2);
    header[4] = extras;
    header.writeUInt32BE(extras + key.length + valueBytes, 8);
    parts.push(header, Buffer.from(key), Buffer.alloc(sent, "v"));
  };
  add(1, 8, "a", 20);
  add(0, 0, "a", 0);
  add(12, 0, "none", 0);
  add(14, 0, "a", 3);
  add(5, 20, "n", 0);
  add(0x55, 3, "key", 40);
  add(28, 4, "a", 0);
  add(4, 0, "a", 0);
  add(1, 8, "big", 2_000_000, 1000);
  return Buffer.concat(parts);
}

function answer(pieces: readonly Uint8Array[]): {
  readonly out: string;
  readonly fixture: EngineFixture;
} {
  const fixture = new EngineFixture({ pendingBytesMax: 1 << 20 });
  const session = new Session();
  const out = pieces.map((piece) => fixture.send(session, piece));
  return { out: Buffer.concat(out).toString("latin1"), fixture };
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort(
    (a, b) => a - b,
  );
  return [0, ...ends].map((from, i) => bytes.subarray(from, ends[i] ?? bytes.length));
}

const places = fc.array(fc.nat({ max: 100_000 }), { maxLength: 12 });

describe("fuzz", () => {
  test("a text stream cut anywhere gets the same replies as in one piece", () => {
    const streams = fc.array(fc.oneof(stores, reads), { maxLength: 12 });
    fc.assert(
      fc.property(streams, places, (parts, at) => {
        const bytes = Buffer.concat(parts);
        const { out, fixture } = answer(cut(bytes, at));
        assert.equal(out, answer([bytes]).out);
        assert.ok(fixture.receiveBuffer.pendingBytes <= 1 << 20);
      }),
      { numRuns: 300 },
    );
  });

  test("a command of every kind, cut at every position, gets the same replies", () => {
    const streams: Buffer[] = [
      `get ${"k ".repeat(1100)}${"x".repeat(6200)}y\r\nmn\r\n`,
      `gat 100 ${"key ".repeat(600)}${"x".repeat(251)} a\r\nmn\r\n`,
      `gat ${"1".repeat(3000)} a\r\nmn\r\n`,
      `${" ".repeat(99)}gets ${"a ".repeat(1100)}\r\nmn\r\n`,
      "set a 0 0 5\r\nhello\r\nget a b\r\nappend a 0 0 1\r\n!\r\nmg a v t\r\n",
      "set a 0 0 9999999 noreply\r\nget a\r\n",
      "ms a S5 c\r\nhello\r\nms a 5 T0 c\r\nhello\r\nmg a k O1 v\r\nma a\r\nmd a\r\nme a\r\n",
      "set a 0 0 2\r\nhello\r\nget a\r\nbogus\r\nstats detail on\r\nlru x\r\n",
    ].map((text) => Buffer.from(text));
    streams.push(binaryStream());
    for (const bytes of streams) {
      const whole = answer([bytes]).out;
      // All places far inside a long line are alike.
      const step = (place: number) => (place < 300 || bytes.length - place < 300 ? 1 : 97);
      for (let at = 0; at < bytes.length; at += step(at)) {
        const { out, fixture } = answer([bytes.subarray(0, at), bytes.subarray(at)]);
        assert.equal(
          out,
          whole,
          `cut at ${at} of ${JSON.stringify(bytes.toString().slice(0, 60))}`,
        );
        assert.equal(fixture.receiveBuffer.pendingBytes, 0);
      }
    }
  });

  test("a list of keys that never ends is refused, however its pieces are cut", () => {
    for (const first of [1, 2040, 2049, 2300]) {
      const fixture = new EngineFixture();
      const session = new Session();
      const list = Buffer.from(`get ${"k ".repeat(1100)}${"x".repeat(200)}`);
      let out = fixture.send(session, list.subarray(0, first)).toString();
      out += fixture.send(session, list.subarray(first)).toString();
      for (let i = 0; i < 20; i++) {
        out += fixture.send(session, "x".repeat(6000)).toString();
        assert.ok(fixture.receiveBuffer.pendingBytes < 4096);
      }
      assert.equal(out, "CLIENT_ERROR bad command line format\r\n");
      assert.equal(fixture.send(session, "\r\nmn\r\n").toString(), "MN\r\n");
    }
  });

  test("a stream sent byte by byte gets the same replies", () => {
    const some = "set a 1 0 5\r\nhello\r\nget a\r\nms b 3 c k\r\nabc\r\nmg b v\r\n";
    const bytes = Buffer.from(`${some}get ${"a ".repeat(1300)}\r\n`);
    const single = [...bytes].map((byte) => Uint8Array.of(byte));
    const { out, fixture } = answer(single);
    assert.equal(out, answer([bytes]).out);
    assert.equal(fixture.receiveBuffer.pendingBytes, 0);
  });

  test("a binary stream cut anywhere gets the same replies as in one piece", () => {
    fc.assert(
      fc.property(fc.array(binary, { minLength: 1, maxLength: 12 }), places, (parts, at) => {
        // Statistics depend on the number of reads, so they are not requested.
        const asked = parts.filter((part) => part[1] !== 0x10);
        const bytes = Buffer.concat(asked);
        assert.equal(answer(cut(bytes, at)).out, answer([bytes]).out);
      }),
      { numRuns: 300 },
    );
  });

  test("random lines and random bytes do no harm", () => {
    const any = fc.oneof(
      lines,
      binary,
      stores,
      fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    );
    fc.assert(
      fc.property(fc.array(any, { maxLength: 30 }), (parts) => {
        const fixture = new EngineFixture({ pendingBytesMax: 1 << 20 });
        const session = new Session();
        for (const part of parts) fixture.send(session, part);
        // Another connection is served in any case.
        const other = new Session();
        const out = fixture.send(other, "set sane 0 0 2\r\nok\r\nget sane\r\n").toString();
        assert.equal(out, "STORED\r\nVALUE sane 0 2\r\nok\r\nEND\r\n");
        assert.ok(fixture.items.now >= NOW_S);
      }),
      { numRuns: 500 },
    );
  });
});
