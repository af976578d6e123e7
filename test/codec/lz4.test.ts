// LZ4: round trips, room, malformed blocks, and blocks of other implementations.
//
// Three witnesses stand against the kernels: a plain decoder written from the format's description
// (it also holds the rules for a block's end), blocks that liblz4 1.9.4 made, and the npm package
// `lz4-napi`, whose core is neither of these.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Address } from "../../src/base/brand.ts";
import { Xorshift32 } from "../../src/base/random.ts";
import type { Codec, CodecMemory } from "../../src/codec/contract.ts";
import { createLz4 } from "../../src/codec/lz4.ts";
import { instantiateKernels } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";

const WASM_PAGE = 65536;
/** Bytes on both sides of each target that must stay as they are. */
const GUARD = 64;
const CANARY = 0xa5;
const SIZE_MAX = 65536;
/** More than LZ4 makes of 65,536 bytes of noise. */
const BOUND_MAX = SIZE_MAX + 512;

interface Fixture {
  readonly memory: CodecMemory;
  readonly codec: Codec;
  /** Places that are far from each other and from both ends. */
  readonly source: number;
  readonly block: number;
  readonly target: number;
}

function createFixture(pages: number): Fixture {
  const shared = new Wasm.Memory({ initial: pages, maximum: pages, shared: true });
  let reserved = 4 * WASM_PAGE;
  const memory: CodecMemory = {
    bytes: new Uint8Array(shared.buffer),
    kernels: instantiateKernels(shared),
    reserve(sizeBytes) {
      reserved += sizeBytes;
      return (reserved - sizeBytes) as Address;
    },
  };
  const codec = createLz4(memory, {});
  const [source, block, target] = [6 * WASM_PAGE, 8 * WASM_PAGE, 11 * WASM_PAGE];
  return { memory, codec, source, block, target };
}

const fixture = createFixture(14);

/** Runs `work` on a target between canaries and checks that they live. */
function guarded<T>(
  { memory: { bytes } }: Fixture,
  target: number,
  size: number,
  work: () => T,
): T {
  const before = bytes.subarray(Math.max(0, target - GUARD), target).fill(CANARY);
  const after = bytes.subarray(target + size, target + size + GUARD).fill(CANARY);
  try {
    return work();
  } finally {
    const untouched = before.every(isCanary) && after.every(isCanary);
    assert.ok(untouched, `${size} bytes at ${target}: written outside`);
  }
}

function isCanary(byte: number): boolean {
  return byte === CANARY;
}

/** @returns the block, or undefined if it does not fit into `limit` */
function compress(input: Uint8Array, limit = BOUND_MAX, on = fixture): Uint8Array | undefined {
  const { memory, codec, source, block } = on;
  memory.bytes.set(input, source);
  const size = guarded(on, block, limit, () =>
    codec.compress(source as Address, input.length, block as Address, limit),
  );
  assert.ok(Buffer.from(input).equals(memory.bytes.subarray(source, source + input.length)));
  return size === 0 ? undefined : memory.bytes.slice(block, block + size);
}

/** @throws what the codec throws */
function decompress(block: Uint8Array, targetBytes: number, on = fixture): Uint8Array {
  const { memory, codec, target } = on;
  memory.bytes.set(block, on.block);
  guarded(on, target, targetBytes, () =>
    codec.decompress(on.block as Address, block.length, target as Address, targetBytes),
  );
  return memory.bytes.slice(target, target + targetBytes);
}

const CORRUPT = { name: "ZcacheError", code: "ERR_CODEC_CORRUPT" };

/** Reads a length that a token's half begins, by the book. */
function readLength(block: Uint8Array, at: number, half: number): [length: number, at: number] {
  if (half < 15) return [half, at];
  let length = half;
  for (;;) {
    const byte = block[at++];
    if (byte === undefined) throw new Error("truncated length");
    length += byte;
    if (byte < 255) return [length, at];
  }
}

interface Decoded {
  readonly bytes: Uint8Array;
  readonly lastLiterals: number;
  /** Where the last match starts in the output; −1 without any. */
  readonly lastMatch: number;
}

/** Decodes a block by the book, byte by byte. @throws Error if it is malformed */
function decodePlainly(block: Uint8Array, targetBytes: number): Decoded {
  const bytes = new Uint8Array(targetBytes);
  let [at, out, lastMatch] = [0, 0, -1];
  for (;;) {
    const token = block[at++];
    if (token === undefined) throw new Error("no last literals");
    let count: number;
    [count, at] = readLength(block, at, token >> 4);
    if (at + count > block.length || out + count > targetBytes) throw new Error("literals");
    bytes.set(block.subarray(at, at + count), out);
    at += count;
    out += count;
    if (at === block.length) {
      return { bytes: bytes.subarray(0, out), lastLiterals: count, lastMatch };
    }
    if (at + 2 > block.length) throw new Error("truncated distance");
    const distance = block[at]! + block[at + 1]! * 256;
    at += 2;
    if (distance === 0 || distance > out) throw new Error("distance");
    [count, at] = readLength(block, at, token & 15);
    if (out + count + 4 > targetBytes) throw new Error("match");
    lastMatch = out;
    for (const end = out + count + 4; out < end; out++) bytes[out] = bytes[out - distance]!;
  }
}

/** The whole way there and back, with all that a block owes. @returns the block's size */
function checkRoundTrip(input: Uint8Array, on = fixture): number {
  const block = compress(input, BOUND_MAX, on);
  assert.ok(block !== undefined);
  const { bytes, lastLiterals, lastMatch } = decodePlainly(block, input.length);
  assert.ok(Buffer.from(input).equals(bytes), "the plain decoder reads the block");
  assert.ok(lastMatch < 0 || lastLiterals >= 5, "the last 5 bytes are literals");
  assert.ok(
    lastMatch < 0 || lastMatch <= input.length - 12,
    "the last match starts 12 bytes before the end",
  );
  assert.ok(Buffer.from(input).equals(decompress(block, input.length, on)), "round trip");
  return block.length;
}

const WORDS = "page frame lock list handle of the a to compressed memory 0x7f00 free , . \n".split(
  " ",
);

/** Kinds of data, each from a size and a seed. */
const KINDS: Readonly<Record<string, (size: number, seed: number) => Uint8Array>> = {
  zeros: (size) => new Uint8Array(size),
  noise(size, seed) {
    const random = new Xorshift32(seed);
    return Uint8Array.from({ length: size }, () => random.next() & 255);
  },
  text(size, seed) {
    const random = new Xorshift32(seed);
    let text = "";
    while (text.length < size) text += `${WORDS[random.below(WORDS.length)]} `;
    return Buffer.from(text.slice(0, size), "latin1");
  },
  /** Records of 24 bytes: a counter, a pointer into a small heap, a few flags. */
  records(size, seed) {
    const random = new Xorshift32(seed);
    const bytes = Buffer.alloc(size + 24);
    for (let at = 0; at < size; at += 24) {
      bytes.writeUInt32LE(at, at);
      bytes.writeUInt32LE(0x55d0_0000 + random.below(512) * 16, at + 8);
      bytes.writeUInt16LE(random.below(4), at + 16);
    }
    return bytes.subarray(0, size);
  },
  /** Literals and copies at any distance, as LZ4 itself sees the world; the vectors' inputs. */
  copies(size, seed) {
    const random = new Xorshift32(seed);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const chance = random.next();
      if (at === 0 || chance % 4 === 0) {
        const end = Math.min(size, at + 1 + ((chance >>> 2) % 8));
        while (at < end) bytes[at++] = random.next() & 255;
      } else {
        const longest = size < 1024 ? 40 : 1 + Math.floor(size / 8);
        const end = Math.min(size, at + 4 + ((chance >>> 4) % longest));
        const distance = 1 + ((chance >>> 10) % at);
        for (; at < end; at++) bytes[at] = bytes[at - distance]!;
      }
    }
    return bytes;
  },
};

for (const [kind, make] of Object.entries(KINDS)) {
  test(`${kind}: every size up to 200 and sizes up to 65536 are restored`, () => {
    for (let size = 1; size <= 200; size++) checkRoundTrip(make(size, size));
    for (const size of [511, 4095, 4096, 4097, 8192, 16384, 32768, 65535, SIZE_MAX]) {
      checkRoundTrip(make(size, size));
    }
  });
}

test("patterns of 1 … 40 bytes are compressed well and restored", () => {
  for (let period = 1; period <= 40; period++) {
    const pattern = KINDS["noise"]!(period, period);
    for (const size of [period + 30, 4096, 4096 + period]) {
      const input = Uint8Array.from({ length: size }, (_, at) => pattern[at % period]!);
      const blockBytes = checkRoundTrip(input);
      assert.ok(blockBytes <= 2 * period + size / 255 + 20, `period ${period}, ${size} bytes`);
    }
  }
});

test("a match at the largest distance of a block is restored", () => {
  const input = KINDS["noise"]!(SIZE_MAX, 7);
  const distance = SIZE_MAX - 16;
  input.copyWithin(distance, 0, 10);
  checkRoundTrip(input);
  // By hand, because the compressor may have forgotten so early a place: 65520 literals (15 + 256
  // times 255 + 225), the match of 10 bytes, 6 literals.
  const literals = [0xf6, ...Array(256).fill(255), 225, ...input.subarray(0, distance)];
  const match = [distance & 255, distance >> 8, 0x60, ...input.subarray(SIZE_MAX - 6)];
  const block = Uint8Array.from([...literals, ...match]);
  assert.ok(Buffer.from(input).equals(decompress(block, SIZE_MAX)));
});

test("any mixture is restored", () => {
  const piece = fc.record({
    kind: fc.constantFrom(...Object.keys(KINDS)),
    size: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 8192 })),
    seed: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 6 }), (pieces) => {
      const parts = pieces.map(({ kind, size, seed }) => KINDS[kind]!(size, seed));
      checkRoundTrip(Buffer.concat(parts));
    }),
    { numRuns: 150 },
  );
});

test("the result does not depend on the room, and an exact fit is enough", () => {
  const inputs = Object.values(KINDS).flatMap((make) =>
    [1, 12, 17, 40, 300, 4096].map((size) => make(size, size)),
  );
  // Long literals and long matches, so that every form of a length stands at the edge once.
  inputs.push(
    Buffer.concat([KINDS["noise"]!(700, 1), new Uint8Array(1500), KINDS["noise"]!(20, 2)]),
  );
  for (const input of inputs) {
    const block = compress(input)!;
    assert.deepEqual(compress(input, block.length), block);
    for (let short = 1; short <= Math.min(40, block.length); short++) {
      assert.equal(compress(input, block.length - short), undefined, `${short} bytes too few`);
      assert.deepEqual(compress(input, block.length + short), block, `${short} bytes to spare`);
    }
  }
});

test("no limit at all lets a byte be written outside", () => {
  for (const make of Object.values(KINDS)) {
    const input = make(600, 9);
    const block = compress(input)!;
    for (let limit = 0; limit < block.length; limit++) {
      assert.equal(compress(input, limit), undefined);
    }
  }
});

test("a target of another size than the block's is refused", () => {
  for (const make of Object.values(KINDS)) {
    for (const size of [1, 30, 4096]) {
      const block = compress(make(size, 5))!;
      for (const wrong of [size - 20, size - 1, size + 1, size + 20]) {
        if (wrong > 0) assert.throws(() => decompress(block, wrong), CORRUPT);
      }
    }
  }
});

/** Blocks that no compressor makes, each by its fault. */
const MALFORMED: Readonly<Record<string, readonly number[]>> = {
  empty: [],
  "distance 0": [0x10, 1, 0, 0, 0x50, 1, 2, 3, 4, 5],
  "distance before the start": [0x10, 1, 2, 0, 0x50, 1, 2, 3, 4, 5],
  "distance before the start, at once": [0x00, 1, 0, 0x50, 1, 2, 3, 4, 5],
  "distance far before the start": [0x10, 1, 255, 255, 0x50, 1, 2, 3, 4, 5],
  "distance cut off": [0x10, 1, 1],
  "no distance": [0x10],
  "no last literals": [0x10, 1, 1, 0],
  "literals cut off": [0x50, 1, 2, 3],
  "literal length cut off": [0xf0],
  "literal length cut off after 255": [0xf0, 255, 255],
  "match length cut off": [0x1f, 1, 1, 0],
  "match length cut off after 255": [0x1f, 1, 1, 0, 255, 255],
  "more literals than there is room": [0xf0, 200, ...Array(215).fill(7)],
  "a match longer than there is room": [0x1f, 1, 1, 0, 200, 0x50, 1, 2, 3, 4, 5],
  "a byte left over": [0x50, 1, 2, 3, 4, 5, 6],
};

test("malformed blocks are refused", () => {
  for (const [fault, block] of Object.entries(MALFORMED)) {
    // Alone, and behind sequences that take the fast path up to the fault.
    const start = [0x81, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0];
    for (const lead of [0, 1, 9]) {
      const bytes = Uint8Array.from([...Array(lead).fill(start).flat(), ...block]);
      for (const room of [64, 200]) {
        if (lead > 0 && fault.startsWith("distance") && !fault.endsWith("off")) continue;
        assert.throws(() => decompress(bytes, room), CORRUPT, `${fault}, ${lead} before it`);
      }
    }
  }
});

test("lengths that never end are refused, however long", () => {
  for (const head of [[0xf0], [0x1f, 1, 1, 0]]) {
    for (const count of [100, 5000, 2 * WASM_PAGE]) {
      const block = new Uint8Array(head.length + count).fill(255);
      block.set(head);
      assert.throws(() => decompress(block, 4096), CORRUPT);
    }
  }
  // Beyond the size that any block can have nothing is even looked at.
  assert.equal(
    fixture.memory.kernels.lz4Decompress(fixture.block, (1 << 20) + 1, fixture.target, 64),
    -1,
  );
});

test("mutated blocks: the verdict and the bytes of the plain decoder, nothing outside", () => {
  const random = new Xorshift32(2026);
  for (const [kind, make] of Object.entries(KINDS)) {
    for (let run = 0; run < 1500; run++) {
      const size = 1 + random.below(run % 10 === 0 ? 4096 : 300);
      const block = compress(make(size, run + 1))!.slice();
      for (let change = random.below(4); change >= 0; change--) {
        const value = random.below(3) === 0 ? 255 : random.below(256);
        block[random.below(block.length)] = value;
      }
      const cut = block.subarray(
        0,
        block.length - (run % 3 === 0 ? random.below(block.length) : 0),
      );
      let expected: Uint8Array | undefined;
      try {
        expected = decodePlainly(cut, size).bytes;
      } catch {
        expected = undefined;
      }
      // Every other one with both regions at an end of the memory, where reading too far traps.
      const end = fixture.memory.bytes.length;
      const atEnds = {
        ...fixture,
        block: end - cut.length,
        target: run % 4 === 1 ? 0 : fixture.target,
      };
      const place = run % 2 === 0 ? { ...fixture, target: end - size } : atEnds;
      if (expected?.length === size) {
        const restored = decompress(cut, size, place);
        assert.ok(Buffer.from(expected).equals(restored), `${kind}, run ${run}`);
      } else {
        assert.throws(() => decompress(cut, size, place), CORRUPT, `${kind}, run ${run}`);
      }
    }
  }
});

test("regions at address 0, at the memory's end and above 2 GiB", (context) => {
  let high: Fixture;
  try {
    high = createFixture(65535);
  } catch {
    return context.skip("no address space for a memory of 4 GiB");
  }
  const end = high.memory.bytes.length;
  for (const size of [1, 5, 13, 17, 18, 33, 64, 500, 4096]) {
    for (const make of Object.values(KINDS)) {
      const input = make(size, size);
      const block = compress(input)!;
      // Each region once at each place, up to its last byte; the others where they always are.
      for (const place of [(_: number) => 0, (bytes: number) => end - bytes, () => 2 ** 31 - 20]) {
        const source = { ...high, source: place(size) };
        assert.deepEqual(compress(input, BOUND_MAX, source), block);
        const tight = { ...high, block: place(block.length) };
        assert.deepEqual(compress(input, block.length, tight), block);
        if (block.length > 1) {
          const short = { ...high, block: place(block.length - 1) };
          assert.equal(compress(input, block.length - 1, short), undefined);
        }
        const target = { ...tight, target: tight.block === 0 ? high.target : place(size) };
        if (Math.abs(target.target - target.block) >= 8192) {
          assert.ok(Buffer.from(input).equals(decompress(block, size, target)));
        }
        const alone = { ...high, target: place(size) };
        assert.ok(Buffer.from(input).equals(decompress(block, size, alone)));
      }
    }
  }
});

test("malformed blocks at both ends of the memory neither trap nor write outside", (context) => {
  let high: Fixture;
  try {
    high = createFixture(65535);
  } catch {
    return context.skip("no address space for a memory of 4 GiB");
  }
  const end = high.memory.bytes.length;
  for (const block of Object.values(MALFORMED)) {
    const bytes = Uint8Array.from(block);
    for (const room of [1, 20, 64]) {
      for (const target of [0, end - room]) {
        assert.throws(() => decompress(bytes, room, { ...high, target }), CORRUPT);
      }
      for (const at of [0, end - bytes.length]) {
        assert.throws(() => decompress(bytes, room, { ...high, block: at }), CORRUPT);
      }
    }
  }
});

test("the codec's border: options, sizes, names", () => {
  assert.throws(() => createLz4(fixture.memory, { level: 1 }), { code: "ERR_OPTION" });
  assert.equal(fixture.codec.name, "lz4");
  for (const size of [0, SIZE_MAX + 1]) {
    const call = () =>
      fixture.codec.compress(fixture.source as Address, size, fixture.block as Address, 100);
    assert.throws(call, { name: "AssertionError" });
  }
});

/**
 * What liblz4 1.9.4 makes of `copies(size, seed)`: its default, and its optimal parser (level 12).
 */
const VECTORS: readonly { by: string; seed: number; size: number; hex: string }[] = [
  { by: "fast", seed: 2, size: 12, hex: "c0020202020202020202020202" },
  { by: "fast", seed: 3, size: 13, hex: "13030100500303030303" },
  {
    by: "fast",
    seed: 4,
    size: 64,
    hex: "ff0004043467f95345ee2b748e7a5a2d980a00030f220003505345ee2b74",
  },
  { by: "fast", seed: 5, size: 300, hex: "2f05c10100ff1350c1c1c1c1c1" },
  {
    by: "fast",
    seed: 6,
    size: 1000,
    hex:
      "2f068601001f23a0e534000f0900180c2b000b10000b0f000b10000aa5005db084e5d2ad2400000200063600" +
      "0841000a3e000f02000773976e6c31b3219f2100034c000307000309000b4b00031d00090700030d000f0900" +
      "0e0c28000f1000040b7200000200012a000a18000113000002000509006f970fab486476fd000a0123000035" +
      "00060200013f000f5b00084606ba60f92e000f0200030144000002000c090005100040d32ebddf21000f0200" +
      "050529001ca022000f9b00012c289a2600091c02010f00020200618d0eb438c9eabd0262bb4cb50ed7db1700" +
      "042f000f5d0001041c000393000307000dc30031695e645700002f00010600020200a08d0eb4b30090d8af7a" +
      "b41000023d0080a257a9092a2b691d1200002f000538000e090002310000250001060002020002c500031b00" +
      "0307000409000b0f00035400508686868686",
  },
  {
    by: "hc12",
    seed: 6,
    size: 1000,
    hex:
      "2f068601001f2fa0e509001f0f10000c0f1f000b0aa5005fb084e5d2ad75000c0814000fe300157f976e6c31" +
      "b3219f8900170b24002fa0e51401190f2101140ebd000f8a00010e63006f970fab486476fd000a0123000f5b" +
      "001b4f06ba60f91e02260510004fd32ebddf4200130c1a000f9b00012f289a430015618d0eb438c9ea1a006f" +
      "bb4cb50ed7db5301170fc3000c3f695e6471000476b30090d8af7ab43d008fa257a9092a2b691d2602100fc5" +
      "00080f460319508686868686",
  },
  {
    by: "fast",
    seed: 7,
    size: 4096,
    hex:
      "2f074301000d0f22004c9fba57af0afde4fe45358800010f1d00ff660ff4012a0fb501708d2b307053d89c45" +
      "9454020f9c00530e7f000fe102780fdc01ff600ffd013a0fc202260ff801520fc605110f1e03ff6c0d130505" +
      "02000f5a02150fe401fe0f5a03080f5401150e02000f3a00270802000446000814000a02000422000fd6010d" +
      "0f20000d0002000fda03720fd400030fa401ffe10fda020730a58766af020602000f1e02080302000f220008" +
      "0f6800070f8b02030602000f3a00360e7903030200046200030f000f0200000422000fe0030d0f20000d0002" +
      "000e87000ffb0830408cff8d335d000102000fae00150e02000f3a00d40fa802080302000522005043434343" +
      "43",
  },
  {
    by: "hc12",
    seed: 7,
    size: 4096,
    hex:
      "2f074301000d0f22004c9fba57af0afde4fe45351d00ff7a0fd201ad8f2b307053d89c45947f00760fdc01ff" +
      "eb0f94003a0ff8018b0f1e03ff900fe401ff410f12027c0ff601ec0fa401fff70f3400073fa58766f605ff98" +
      "4f8cff8d33ba0dff43504343434343",
  },
  {
    by: "hc12",
    seed: 8,
    size: 65536,
    hex:
      "7f08297a0cfcd7f20200ffffffffffba3f8f52c5f701ffffffffffffffffffffffffffffffffff4f6f2509cb" +
      "97039de507ffffffffffffb60f1402ffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" +
      "a20fc406ffffffffbe0f3a12ffffffffffffffffffffffff660f773cffffffffffffffffffffffffffffffff" +
      "fffffff20f675cffffffffffffffffffffffffffffffffffffffffffffff310ff535ffffffffffffffffffff" +
      "ffffffffffffffffffff3c0f3a06ffffffffffffffffffffffffffffffffffffffffffffffff1f0f6a03ffad" +
      "7fff647b3279c0e2673cfffffffffffffffffff70f6478ffffffffffffffffffffffffffffffffffffffffff" +
      "ffffffffffffffffff6b0f0200fffffe0fd10bffffffffffe07f919924ce1981f7701dffffffffffffffffff" +
      "ffe94fadb73d719625fffffffffffffe0f0200ffffffffffffffffffffffffffffffffffffffffffffa050f2" +
      "d7f2d7f2",
  },
];

for (const { by, seed, size, hex } of VECTORS) {
  test(`a block of ${size} bytes that liblz4 made (${by}) is read`, () => {
    const input = KINDS["copies"]!(size, seed);
    const block = Buffer.from(hex, "hex");
    assert.ok(Buffer.from(input).equals(decompress(block, size)));
    // Our own is not larger than that of the same search, but for the end and a smaller table.
    if (by === "fast") assert.ok(checkRoundTrip(input) <= block.length * 1.05 + 8);
  });
}

interface Lz4Napi {
  compressSync(data: Buffer): Buffer;
  uncompressSync(data: Buffer): Buffer;
}

/** The peer is an optional binary; its blocks carry the size in four bytes before them. */
async function importPeer(): Promise<Lz4Napi | undefined> {
  const name: string = "lz4-napi";
  try {
    return (await import(name)) as Lz4Napi;
  } catch {
    return undefined;
  }
}

test("lz4-napi reads our blocks, and we read its blocks", async (context) => {
  const peer = await importPeer();
  if (peer === undefined) return context.skip("the package lz4-napi has no binary here");
  for (const [kind, make] of Object.entries(KINDS)) {
    for (const size of [1, 5, 12, 13, 16, 17, 18, 100, 1000, 4096, 20000, SIZE_MAX]) {
      const input = make(size, size + 1);
      const ours = Buffer.concat([Buffer.alloc(4), compress(input)!]);
      ours.writeUInt32LE(size);
      assert.ok(peer.uncompressSync(ours).equals(input), `${kind}, ${size}: it reads ours`);
      const theirs = peer.compressSync(Buffer.from(input)).subarray(4);
      assert.ok(Buffer.from(input).equals(decompress(theirs, size)), `${kind}, ${size}`);
    }
  }
});
