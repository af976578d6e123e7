// The NBD protocol without a socket: messages are written and parsed again; a handshake and a
// transmission get random bytes in random pieces, and must give the same replies for any pieces,
// never throw, and never write outside of their buffers.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Address } from "../../src/base/brand.ts";
import type { NbdExport } from "../../src/nbd/exports.ts";
import { Negotiation } from "../../src/nbd/negotiation.ts";
import {
  greeting,
  optionReply,
  parseClientFlags,
  parseInfoRequest,
  parseMetaRequest,
  parseOptionHeader,
} from "../../src/nbd/protocol/handshake.ts";
import { Command, CommandFlag, Option, Reply } from "../../src/nbd/protocol/protocol.ts";
import { Request, writeRequest } from "../../src/nbd/protocol/transmission.ts";
import { blockBytes, type Link, makeBlock, SendQueue } from "../../src/nbd/send_queue.ts";
import { Transmission } from "../../src/nbd/transmission.ts";
import { Zram } from "../../src/zram/zram.ts";
import { string, u32 } from "../doubles/nbd_client.ts";
import { openStore } from "../doubles/store_fixture.ts";

const SIZE = 40 * 4096 + 512;

test("the greeting and a reply equal those of the specification", () => {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  assert.equal(hex(greeting()), "4e42444d4147494349484156454f50540003");
  assert.equal(
    hex(optionReply(Option.GO, Reply.ERR_UNKNOWN, "no")),
    "0003e889045565a90000000780000006000000026e6f",
  );
  assert.deepEqual(parseClientFlags(Buffer.from("00000003", "hex")), { noZeroes: true });
  assert.deepEqual(parseClientFlags(Buffer.from("00000001", "hex")), { noZeroes: false });
  for (const wrong of ["00000000", "00000002", "00000007", "80000001"]) {
    assert.equal(parseClientFlags(Buffer.from(wrong, "hex")), null, wrong);
  }
});

test("a request is parsed as it was written", () => {
  const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const half = fc.integer({ min: 0, max: 2 ** 16 - 1 });
  const fields = fc.record({
    ...{ flags: half, command: half, cookieHigh: word, cookieLow: word },
    ...{ offset: fc.integer({ min: 0, max: 2 ** 53 - 1 }), lengthBytes: word },
  });
  fc.assert(
    fc.property(fields, fc.nat(7), (values, at) => {
      const bytes = new Uint8Array(40);
      writeRequest(bytes, at, Object.assign(new Request(), values));
      const read = new Request();
      assert.ok(read.parse(bytes, at));
      assert.deepEqual({ ...read }, { ...values });
      bytes[at] = bytes[at]! ^ 1;
      assert.equal(read.parse(bytes, at), false, "another magic");
    }),
  );
});

test("options of random bytes are parsed or refused, never misread", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      for (const parse of [parseInfoRequest, parseMetaRequest]) {
        const parsed = parse(bytes);
        if (parsed !== null) assert.ok(parsed.name.length <= bytes.length);
      }
      if (bytes.length >= 16) parseOptionHeader(bytes);
    }),
    { numRuns: 500 },
  );
  // Counts and lengths that promise more than there is.
  assert.equal(parseInfoRequest(u32(0xffffffff)), null);
  assert.equal(parseMetaRequest(Buffer.concat([string("a"), u32(0xffffffff)])), null);
});

/** Where `bytes` are to be cut, as shares of what is left. */
const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 });

function* pieces(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = sizes[n % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const optionData = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constant(Buffer.concat([string("disk"), Buffer.alloc(2)])),
  fc.constant(Buffer.concat([string("disk"), u32(1), string("base:allocation")])),
  fc.constant(Buffer.alloc(0)),
  fc.constant(Buffer.alloc(20_000)),
);
const option = fc
  .record({ option: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.nat()), data: optionData })
  .map(({ option: number, data }) =>
    Buffer.concat([Buffer.from("IHAVEOPT"), u32(number >>> 0), u32(data.length), data]),
  );
const handshake = fc
  .tuple(
    fc.array(fc.oneof({ weight: 5, arbitrary: option }, fc.uint8Array()), { maxLength: 8 }),
    fc.boolean(),
  )
  .map(([options, isSound]) => Buffer.concat([u32(isSound ? 3 : 1), ...options]));

test("a handshake of any bytes has the same replies in any pieces, and none after its end", () => {
  const store = openStore();
  const device = Zram.create(store, SIZE);
  const exports: NbdExport[] = [{ name: "disk", description: "", readOnly: false, device }];
  const run = (bytes: Uint8Array, sizes: readonly number[], tls: "none" | "required") => {
    const sent: Uint8Array[] = [];
    const negotiation = new Negotiation(exports, tls, (answer) => sent.push(answer));
    let consumed = 0;
    for (const piece of pieces(bytes, sizes)) {
      consumed += piece.length;
      const outcome = negotiation.feed(piece);
      if (outcome === undefined) continue;
      const used = consumed - negotiation.rest.length;
      return { sent: Buffer.concat(sent).toString("hex"), next: outcome.next, used };
    }
    return { sent: Buffer.concat(sent).toString("hex"), next: "more", used: bytes.length };
  };
  fc.assert(
    fc.property(handshake, cuts, fc.constantFrom("none", "required"), (bytes, sizes, tls) => {
      assert.deepEqual(run(bytes, sizes, tls), run(bytes, [1 << 20], tls));
    }),
    { numRuns: 300 },
  );
  store.close();
});

/** A link to a client that reads when it likes. */
class FakeLink implements Link {
  readonly taken: Buffer[] = [];
  readonly #waiting: { bytes: Uint8Array; before: Buffer }[] = [];
  isClosed = false;
  isResumed = false;
  isSlow = false;

  send(bytes: Uint8Array): boolean {
    if (!this.isSlow && this.#waiting.length === 0) this.taken.push(Buffer.from(bytes));
    else this.#waiting.push({ bytes, before: Buffer.from(bytes) });
    return this.#waiting.length === 0;
  }

  drain(): boolean {
    const waited = this.#waiting.splice(0);
    for (const { bytes, before } of waited) {
      assert.ok(before.equals(bytes), "what is out stays as it was until it is taken");
      this.taken.push(before);
    }
    return waited.length > 0;
  }

  resume(): void {
    this.isResumed = true;
  }

  close(): void {
    this.isClosed = true;
  }

  fail(error: unknown): void {
    throw error;
  }
}

const command = fc.oneof(
  fc.constantFrom(...Object.values(Command).filter((one) => one !== Command.DISC)),
  fc.integer({ min: 8, max: 100 }),
);
const request = fc.record({
  command,
  offset: fc.oneof(fc.nat(SIZE + 5000), fc.constantFrom(2 ** 40, 2 ** 53, 0)),
  lengthBytes: fc.oneof(fc.nat(30_000), fc.constantFrom(0, 4096, 512, 1)),
  flags: fc.constantFrom(0, 0, 0, CommandFlag.FUA, CommandFlag.NO_HOLE, CommandFlag.DF, 8, 16, 64),
  seed: fc.integer({ min: 1, max: 255 }),
});
type AnyRequest = typeof request extends fc.Arbitrary<infer T> ? T : never;

function bytesOf(requests: readonly AnyRequest[]): Buffer {
  const parts = requests.map((one, nth) => {
    const head = Buffer.alloc(28);
    const values = { ...one, cookieHigh: nth, cookieLow: nth };
    writeRequest(head, 0, Object.assign(new Request(), values));
    return one.command === Command.WRITE
      ? Buffer.concat([head, Buffer.alloc(one.lengthBytes, one.seed)])
      : head;
  });
  return Buffer.concat(parts);
}

/** Feeds requests to a transmission over a fresh device. */
async function transmit(bytes: Buffer, sizes: readonly number[], slow: readonly boolean[]) {
  const store = openStore({ memoryMax: "4MiB" });
  const device = Zram.create(store, SIZE);
  const one: NbdExport = { name: "", description: "", readOnly: false, device };
  const link = new FakeLink();
  const shared = [makeBlock(device)];
  const input = device.reserve(blockBytes(4096));
  const outbox = new SendQueue(link, makeBlock(device), shared);
  const agreed = { export: one, structured: true, allocation: true };
  const held = device.reserve(4096);
  const transmission = new Transmission({
    ...{ agreed, link, queue: outbox, held, times: undefined },
    input: input as Address,
  });
  const settle = async () => {
    for (let turn = 0; turn < 1000 && !link.isResumed && !link.isClosed; turn++) {
      await new Promise((done) => setImmediate(done));
      link.isSlow = slow[turn % slow.length]!;
      if (link.drain()) transmission.drained();
    }
    assert.ok(link.isResumed || link.isClosed, "it goes on when the client reads");
  };
  let n = 0;
  for (const piece of pieces(bytes, sizes)) {
    link.isSlow = slow[n++ % slow.length]!;
    link.isResumed = false;
    device.bytes.set(piece, input);
    if (!transmission.receive(piece.length) && !link.isClosed) await settle();
  }
  link.drain();
  transmission.drained();
  outbox.end();
  assert.equal(shared.length, 1, "what was borrowed is back");
  const content = new Uint8Array(SIZE);
  device.read(0, content);
  store.verify();
  store.close();
  return { sent: Buffer.concat(link.taken), content: Buffer.from(content), closed: link.isClosed };
}

test("a transmission in any pieces, to a client that reads at any time", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 6 });
  const slow = fc.array(fc.boolean(), { minLength: 1, maxLength: 5 });
  const requests = fc.array(request, { minLength: 1, maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(requests, sizes, slow, async (all, cut, reads) => {
      const bytes = bytesOf(all);
      const once = await transmit(bytes, [blockBytes(4096)], [false]);
      const model = new Uint8Array(SIZE);
      for (const { command: what, offset, lengthBytes, flags, seed } of all) {
        const isFine = flags === 0 || flags === CommandFlag.FUA;
        const zeroes = what === Command.WRITE_ZEROES || what === Command.TRIM;
        const isZeroFine = isFine || (what === Command.WRITE_ZEROES && flags !== 64 && flags < 20);
        const isFlagged = zeroes ? isZeroFine && flags !== 4 && flags !== 8 : isFine;
        if (!isFlagged || lengthBytes === 0 || offset + lengthBytes > SIZE) continue;
        if (what === Command.WRITE) model.fill(seed, offset, offset + lengthBytes);
        else if (zeroes) model.fill(0, offset, offset + lengthBytes);
      }
      assert.ok(once.content.equals(model), "the device holds what was written");
      const inPieces = await transmit(bytes, cut, [...reads, false]);
      assert.ok(inPieces.content.equals(model), "in pieces too");
      assert.ok(inPieces.sent.equals(once.sent), "and the answers are the same");
      assert.equal(once.closed, false);
    }),
    { numRuns: 40 },
  );
});

test("random bytes end a transmission and have no other effect", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 28, maxLength: 300 }), cuts, async (bytes, cut) => {
      fc.pre(bytes[0] !== 0x25);
      const { closed, sent, content } = await transmit(Buffer.from(bytes), cut, [false]);
      assert.ok(closed, "a foreign magic hangs up");
      assert.equal(sent.length, 0);
      assert.ok(content.every((byte) => byte === 0));
    }),
    { numRuns: 30 },
  );
});
