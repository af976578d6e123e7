// Dictionaries against the reference programs: liblz4 with an external dictionary, and `zstd` with
// its trainer.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { documents } from "../../bench/documents.ts";
import { trainDictionary } from "../../src/codec/dictionary/train.ts";
import { finalizeZstdDictionary } from "../../src/codec/dictionary/zstd_dictionary.ts";
import { nodeCodecs } from "../../src/node/codecs.ts";
import { CodecFixture, FIXTURE_BYTES } from "../doubles/codec_fixture.ts";
import { BareCodecMemory } from "../doubles/codec_memory.ts";
import { temporaryFolder } from "../doubles/temporary_folder.ts";

const KIB = 1024;
const MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
const SAMPLES = documents(0, 1600);
const HELD_OUT = documents(100_000, 400);
const folder = temporaryFolder("dictionaries");

/** The C source lies beside the TypeScript source, not in the built tree. */
const C_SOURCE = ["./lz4_dictionary.c", "../../../test/interop/lz4_dictionary.c"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path))!;

function buildLz4(): string | undefined {
  const program = join(folder, "lz4_dictionary");
  try {
    execFileSync("gcc", ["-O2", "-o", program, C_SOURCE, "-llz4"], { stdio: "pipe" });
    return program;
  } catch {
    return undefined;
  }
}

function hasZstd(): boolean {
  try {
    execFileSync("zstd", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const inCi = process.env["CI"] === "true";
const lz4Program = buildLz4();
const skipLz4 = lz4Program === undefined && !inCi && "gcc or liblz4-dev is not installed";
const skipZstd = !hasZstd() && !inCi && "zstd is not installed";

function open(name: string, dictionary: Uint8Array): CodecFixture {
  const memory = new BareCodecMemory(FIXTURE_BYTES);
  return new CodecFixture(nodeCodecs().create(name, memory, { dictionary }), memory);
}

/** Runs the C program over all objects. @returns what each gives, undefined where it is refused */
function runLz4(
  mode: "c" | "d",
  dictionary: Uint8Array,
  objects: readonly { bytes: Uint8Array; limit: number }[],
): (Uint8Array | undefined)[] {
  const number = (value: number) => Uint8Array.from(new Uint8Array(Int32Array.of(value).buffer));
  const input = Buffer.concat([
    number(dictionary.length),
    dictionary,
    ...objects.flatMap(({ bytes, limit }) => [number(bytes.length), number(limit), bytes]),
  ]);
  const output = execFileSync(lz4Program!, [mode], { input, maxBuffer: 2 ** 28 });
  let at = 0;
  return objects.map(() => {
    const size = output.readInt32LE(at);
    at += 4;
    if (size < 0) return undefined;
    at += size;
    return new Uint8Array(output.subarray(at - size, at));
  });
}

test("liblz4 and this codec read each other's blocks", { skip: skipLz4 }, () => {
  for (const size of [8, 1000, 16 * KIB, 64 * KIB]) {
    const dictionary = trainDictionary(SAMPLES, size);
    const fixture = open("lz4", dictionary);
    const own = HELD_OUT.map((data) => ({ bytes: fixture.compress(data)!, limit: data.length }));
    assert.deepEqual(runLz4("d", dictionary, own), HELD_OUT);
    const plain = HELD_OUT.map((bytes) => ({ bytes, limit: 16 * KIB }));
    const theirs = runLz4("c", dictionary, plain);
    HELD_OUT.forEach((data, n) => {
      assert.deepEqual(fixture.decompress(theirs[n]!, data.length), data);
    });
    const [ownBytes, theirBytes] = [own.map((one) => one.bytes), theirs].map((blocks) =>
      blocks.reduce((sum, block) => sum + block!.length, 0),
    );
    assert.ok(ownBytes! <= theirBytes! * 1.01, `${ownBytes} against ${theirBytes} bytes`);
  }
});

test("liblz4 refuses the blocks that this codec refuses", { skip: skipLz4 }, () => {
  const dictionary = trainDictionary(SAMPLES, 500);
  const fixture = open("lz4", dictionary);
  const damaged = HELD_OUT.flatMap((data) => {
    const block = fixture.compress(data)!;
    return [1, 7, 40].map((n) => {
      const bytes = block.slice();
      bytes[(n * 31) % bytes.length]! ^= 1 << (n & 7);
      return { bytes, limit: data.length };
    });
  });
  const theirs = runLz4("d", dictionary, damaged);
  let refused = 0;
  damaged.forEach(({ bytes, limit }, n) => {
    const own = fixture.decompress(bytes, limit);
    if (own === undefined) refused++;
    const whole = theirs[n]?.length === limit ? theirs[n] : undefined;
    assert.deepEqual(own, whole);
  });
  assert.ok(refused > 20, `${refused} refused`);
});

function trainWithZstd(sizeBytes: number): Uint8Array {
  const samples = join(folder, `samples-${sizeBytes}`);
  mkdirSync(samples);
  SAMPLES.forEach((data, n) => {
    writeFileSync(join(samples, String(n)), data);
  });
  const path = join(folder, `trained-${sizeBytes}`);
  const args = ["-q", "--train", "-r", samples, `--maxdict=${sizeBytes}`, "-o", path];
  execFileSync("zstd", args, { stdio: "ignore" });
  return new Uint8Array(readFileSync(path));
}

test("documents are as small as with a dictionary of zstd's trainer", { skip: skipZstd }, () => {
  for (const sizeBytes of [16 * KIB, 64 * KIB]) {
    const theirs = trainWithZstd(sizeBytes);
    const content = trainDictionary(SAMPLES, sizeBytes - 512);
    const own = finalizeZstdDictionary(content, SAMPLES);
    assert.ok(own.length <= sizeBytes);
    for (const name of ["zstd", "lz4"]) {
      const [ownBytes, theirBytes] = [name === "lz4" ? content : own, theirs].map((dictionary) => {
        const fixture = open(name, dictionary);
        return HELD_OUT.reduce((sum, data) => sum + fixture.compress(data)!.length, 0);
      });
      const what = `${name}, ${sizeBytes}: ${ownBytes} against ${theirBytes} bytes`;
      assert.ok(ownBytes! <= theirBytes! * 1.03, what);
    }
  }
});

test("zstd reads stored objects with the dictionary", { skip: skipZstd }, () => {
  const content = trainDictionary(SAMPLES, 16 * KIB);
  for (const dictionary of [content, finalizeZstdDictionary(content, SAMPLES)]) {
    const fixture = open("zstd", dictionary);
    const path = join(folder, `dictionary-${dictionary.length}`);
    writeFileSync(path, dictionary);
    const some = HELD_OUT.slice(0, 50);
    const frames = some.map((data) => Buffer.concat([MAGIC, fixture.compress(data)!]));
    const restored = execFileSync("zstd", ["-q", "-d", "-c", "-D", path], {
      input: Buffer.concat(frames),
    });
    assert.deepEqual(restored, Buffer.concat(some));
  }
});
