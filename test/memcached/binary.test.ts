// The binary protocol: every operation and its quiet form, statuses, malformed requests, SASL.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Credentials } from "../../src/memcached/auth.ts";
import * as Op from "../../src/memcached/protocol/binary.ts";
import { Session } from "../../src/memcached/session.ts";
import { EngineFixture, type FixtureOptions, SHARDS } from "./fixture.ts";

interface Parts {
  readonly key?: string;
  readonly extras?: Buffer;
  readonly value?: string;
  readonly cas?: bigint;
}

/** A request as a client builds it. */
function request(opcode: number, { key = "", extras, value = "", cas = 0n }: Parts = {}): Buffer {
  const body = Buffer.concat([extras ?? Buffer.alloc(0), Buffer.from(key), Buffer.from(value)]);
  const header = Buffer.alloc(24);
  header[0] = 0x80;
  header[1] = opcode;
  header.writeUInt16BE(key.length, 2);
  header[4] = extras?.length ?? 0;
  header.writeUInt32BE(body.length, 8);
  header.writeUInt32BE(0xdead_beef, 12);
  header.writeBigUInt64BE(cas, 16);
  return Buffer.concat([header, body]);
}

interface Response {
  readonly opcode: number;
  readonly status: number;
  readonly key: string;
  readonly extras: Buffer;
  readonly value: string;
  readonly cas: bigint;
}

function responses(bytes: Buffer): Response[] {
  const all: Response[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.equal(bytes[at], 0x81);
    assert.equal(bytes.readUInt32BE(at + 12), 0xdead_beef);
    const keyBytes = bytes.readUInt16BE(at + 2);
    const extrasBytes = bytes[at + 4]!;
    const end = at + 24 + bytes.readUInt32BE(at + 8);
    const keyAt = at + 24 + extrasBytes;
    all.push({
      opcode: bytes[at + 1]!,
      status: bytes.readUInt16BE(at + 6),
      extras: bytes.subarray(at + 24, keyAt),
      key: bytes.toString("latin1", keyAt, keyAt + keyBytes),
      value: bytes.toString("latin1", keyAt + keyBytes, end),
      cas: bytes.readBigUInt64BE(at + 16),
    });
    at = end;
  }
  return all;
}

class BinaryFixture extends EngineFixture {
  readonly session = new Session();

  all(...requests: readonly Buffer[]): Response[] {
    return responses(this.send(this.session, Buffer.concat(requests)));
  }

  one(opcode: number, parts: Parts = {}): Response {
    const all = this.all(request(opcode, parts));
    assert.equal(all.length, 1);
    return all[0]!;
  }

  status(opcode: number, parts: Parts = {}): number {
    return this.one(opcode, parts).status;
  }
}

function storing(flags: number, expiry: number): Buffer {
  const extras = Buffer.alloc(8);
  extras.writeUInt32BE(flags, 0);
  extras.writeUInt32BE(expiry, 4);
  return extras;
}

function counting(delta: bigint, initial: bigint, expiry: number): Buffer {
  const extras = Buffer.alloc(20);
  extras.writeBigUInt64BE(delta, 0);
  extras.writeBigUInt64BE(initial, 8);
  extras.writeUInt32BE(expiry, 16);
  return extras;
}

const PLAIN = storing(0, 0);

for (const shards of SHARDS)
  describe(`binary, ${shards} shard(s)`, () => {
    test("set, get, getk, add, replace, delete", () => {
      const fixture = new BinaryFixture({ shards });
      assert.equal(fixture.status(Op.GET, { key: "a" }), Op.KEY_NOT_FOUND);
      assert.equal(fixture.one(Op.GETK, { key: "a" }).key, "a");
      assert.equal(fixture.status(Op.REPLACE, { key: "a", extras: PLAIN }), Op.KEY_NOT_FOUND);
      const stored = fixture.one(Op.SET, { key: "a", extras: storing(7, 0), value: "va" });
      assert.equal(stored.status, Op.OK);
      assert.equal(stored.cas, 1n);
      const got = fixture.one(Op.GETK, { key: "a" });
      assert.deepEqual(
        [got.key, got.value, got.extras.readUInt32BE(0), got.cas],
        ["a", "va", 7, 1n],
      );
      assert.equal(fixture.status(Op.ADD, { key: "a", extras: PLAIN, value: "x" }), Op.KEY_EXISTS);
      assert.equal(fixture.status(Op.REPLACE, { key: "a", extras: PLAIN, value: "y" }), Op.OK);
      assert.equal(fixture.status(Op.APPEND, { key: "a", value: "z" }), Op.OK);
      assert.equal(fixture.status(Op.PREPEND, { key: "a", value: "x" }), Op.OK);
      assert.equal(fixture.one(Op.GET, { key: "a" }).value, "xyz");
      assert.equal(fixture.status(Op.APPEND, { key: "b", value: "z" }), Op.NOT_STORED);
      assert.equal(fixture.status(Op.DELETE, { key: "a", cas: 99n }), Op.KEY_EXISTS);
      assert.equal(fixture.status(Op.DELETE, { key: "a" }), Op.OK);
      assert.equal(fixture.status(Op.DELETE, { key: "a" }), Op.KEY_NOT_FOUND);
    });

    test("cas", () => {
      const fixture = new BinaryFixture({ shards });
      const set = { key: "a", extras: PLAIN, value: "1" };
      assert.equal(fixture.status(Op.SET, { ...set, cas: 5n }), Op.KEY_NOT_FOUND);
      assert.equal(fixture.one(Op.SET, set).cas, 1n);
      assert.equal(fixture.status(Op.SET, { ...set, cas: 2n ** 60n }), Op.KEY_EXISTS);
      assert.equal(fixture.status(Op.REPLACE, { ...set, cas: 1n }), Op.OK);
      assert.equal(fixture.status(Op.APPEND, { key: "a", value: "2", cas: 1n }), Op.KEY_EXISTS);
    });

    test("incr and decr: 64 bits, items created if requested", () => {
      const fixture = new BinaryFixture({ shards });
      const number = (value: Response) => Buffer.from(value.value, "latin1").readBigUInt64BE();
      const none = counting(1n, 0n, 0xffff_ffff);
      assert.equal(fixture.status(Op.INCREMENT, { key: "n", extras: none }), Op.KEY_NOT_FOUND);
      const made = counting(5n, 2n ** 64n - 2n, 0);
      assert.equal(number(fixture.one(Op.INCREMENT, { key: "n", extras: made })), 2n ** 64n - 2n);
      assert.equal(number(fixture.one(Op.INCREMENT, { key: "n", extras: made })), 3n);
      assert.equal(number(fixture.one(Op.DECREMENT, { key: "n", extras: made })), 0n);
      fixture.status(Op.SET, { key: "n", extras: PLAIN, value: "x" });
      assert.equal(fixture.status(Op.INCREMENT, { key: "n", extras: none }), Op.NOT_NUMBER);
    });

    test("quiet operations reply only errors, or items that were found", () => {
      const fixture = new BinaryFixture({ shards });
      const all = fixture.all(
        request(0x11, { key: "a", extras: PLAIN, value: "1" }),
        request(0x12, { key: "a", extras: PLAIN, value: "2" }),
        request(0x09, { key: "b" }),
        request(0x0d, { key: "a" }),
        request(0x19, { key: "a", value: "2" }),
        request(0x15, { key: "a", extras: counting(1n, 0n, 0) }),
        request(0x14, { key: "a" }),
        request(0x14, { key: "a" }),
        request(0x18),
        request(Op.NOOP),
      );
      assert.deepEqual(
        all.map(({ opcode, status }) => [opcode, status]),
        [
          [0x12, Op.KEY_EXISTS],
          [0x0d, Op.OK],
          [0x14, Op.KEY_NOT_FOUND],
          [Op.NOOP, Op.OK],
        ],
      );
    });

    test("touch, gat and expiry", () => {
      const fixture = new BinaryFixture({ shards });
      const ten = Buffer.from([0, 0, 0, 10]);
      fixture.status(Op.SET, { key: "a", extras: storing(3, 5), value: "va" });
      assert.equal(fixture.one(Op.TOUCH, { key: "a", extras: ten }).extras.readUInt32BE(0), 3);
      fixture.nowS += 7;
      assert.equal(fixture.one(Op.GAT, { key: "a", extras: ten }).value, "va");
      assert.equal(fixture.one(Op.GATK, { key: "a", extras: ten }).key, "a");
      fixture.nowS += 10;
      assert.equal(fixture.status(Op.GAT, { key: "a", extras: ten }), Op.KEY_NOT_FOUND);
      assert.deepEqual(fixture.all(request(0x1e, { key: "a", extras: ten })), []);
    });

    test("flush, version, stat, quit", () => {
      const fixture = new BinaryFixture({ shards });
      fixture.status(Op.SET, { key: "a", extras: PLAIN, value: "1" });
      assert.equal(fixture.status(Op.FLUSH, { extras: Buffer.from([0, 0, 0, 9]) }), Op.OK);
      assert.equal(fixture.one(Op.GET, { key: "a" }).value, "1");
      fixture.nowS += 9;
      assert.equal(fixture.status(Op.GET, { key: "a" }), Op.KEY_NOT_FOUND);
      assert.match(fixture.one(Op.VERSION).value, /^1\.6/);
      const stats = fixture.all(request(Op.STAT));
      assert.equal(stats.at(-1)?.key, "");
      assert.equal(stats.find(({ key }) => key === "cmd_flush")?.value, "1");
      assert.equal(fixture.status(Op.STAT, { key: "nothing" }), Op.KEY_NOT_FOUND);
      assert.equal(fixture.all(request(Op.QUIT)).length, 1);
      assert.equal(fixture.session.closing, true);
    });

    test("a value that is too large is skipped, and the old item is removed", () => {
      const fixture = new BinaryFixture({ shards });
      fixture.status(Op.SET, { key: "a", extras: PLAIN, value: "1" });
      const value = "x".repeat(1 << 20);
      const all = fixture.all(
        request(Op.SET, { key: "a", extras: PLAIN, value }),
        request(Op.NOOP),
      );
      assert.deepEqual(
        all.map(({ status }) => status),
        [Op.VALUE_TOO_LARGE, Op.OK],
      );
      assert.equal(fixture.status(Op.GET, { key: "a" }), Op.KEY_NOT_FOUND);
    });

    test("unknown operations are skipped; malformed ones end the connection", () => {
      const unknown = new BinaryFixture({ shards });
      const all = unknown.all(request(0x77, { key: "abc", value: "xyz" }), request(Op.NOOP));
      assert.deepEqual(
        all.map(({ status }) => status),
        [Op.UNKNOWN_COMMAND, Op.OK],
      );
      for (const bad of [
        request(Op.GET),
        request(Op.SET, { key: "a", value: "b" }),
        request(Op.GET, { key: "k".repeat(251) }),
        request(Op.NOOP, { key: "a" }),
      ]) {
        const fixture = new BinaryFixture({ shards });
        assert.equal(fixture.all(bad).length, 1);
        assert.equal(fixture.session.closing, true);
      }
      const garbage = new BinaryFixture({ shards });
      garbage.send(garbage.session, Buffer.concat([request(Op.NOOP), Buffer.alloc(30, 0x42)]));
      assert.equal(garbage.session.closing, true);
    });

    test("SASL PLAIN accepts the names and passwords of the auth file", () => {
      const folder = mkdtempSync(join(tmpdir(), "zcache-auth-"));
      writeFileSync(join(folder, "auth"), "foo:bar\n");
      const options: FixtureOptions = { credentials: Credentials.read(join(folder, "auth")) };
      rmSync(folder, { recursive: true });
      const stranger = new BinaryFixture(options);
      assert.equal(stranger.status(Op.GET, { key: "a" }), Op.AUTH_ERROR);
      assert.equal(stranger.session.closing, true);
      const fixture = new BinaryFixture(options);
      assert.equal(fixture.one(Op.SASL_LIST).value, "PLAIN");
      const plain = (value: string) => fixture.status(Op.SASL_AUTH, { key: "PLAIN", value });
      assert.equal(plain("\0foo\0no"), Op.AUTH_ERROR);
      assert.equal(plain("foo bar"), Op.AUTH_ERROR);
      assert.equal(plain("\0foo\0bar"), Op.OK);
      assert.equal(fixture.status(Op.GET, { key: "a" }), Op.KEY_NOT_FOUND);
      assert.equal(new BinaryFixture({ shards }).status(Op.SASL_LIST), Op.UNKNOWN_COMMAND);
    });
  });
