// The kernels of several memories called through one instance: each call does what the memory's own
// kernels do, in that memory only.
import assert from "node:assert/strict";
import { test } from "node:test";
import { KernelSwitch } from "../../src/wasm/kernel_switch.ts";
import { instantiateKernels, type Kernels, LZ4_TABLE_BYTES } from "../../src/wasm/kernels.ts";
import { Wasm } from "../../src/wasm/platform.ts";

const TABLE_AT = 4096;
const TEXT_AT = TABLE_AT + LZ4_TABLE_BYTES;
const PACKED_AT = TEXT_AT + 4096;
const BACK_AT = PACKED_AT + 4096;
const TEXT = Buffer.from("the quick brown fox ".repeat(100));

/** A memory with words and a text that differ from those of other memories. */
function memoryOf(nth: number) {
  const memory = new Wasm.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  for (let at = 0; at < 64; at++) bytes[at] = at + nth;
  bytes.set(TEXT, TEXT_AT);
  bytes[TEXT_AT] = 65 + nth;
  bytes.fill(nth, 2048, 4096);
  return { memory, bytes, kernels: instantiateKernels(memory) };
}

function compress(kernels: Kernels): number {
  return kernels.lz4Compress(TEXT_AT, TEXT.length, PACKED_AT, TEXT.length, TABLE_AT);
}

const CALLS: Readonly<Record<string, (kernels: Kernels) => unknown>> = {
  copy: (kernels) => kernels.copy(128, 0, 40),
  compareExchange: (kernels) => kernels.compareExchange(0, 0x03020100, 77),
  exchange: (kernels) => kernels.exchange(4, 78),
  enterReader: (kernels) => [kernels.enterReader(8, 600), kernels.enterReader(8, 12)],
  leaveReader: (kernels) => kernels.leaveReader(8),
  firstSet: (kernels) => kernels.firstSet(1024 - 8 * 16, 0, 24, 16),
  sameFilled: (kernels) => [kernels.sameFilled(2048, 2048), kernels.sameFilled(TEXT_AT, 2048)],
  lz4Compress: compress,
  lz4Decompress: (kernels) =>
    kernels.lz4Decompress(PACKED_AT, compress(kernels), BACK_AT, TEXT.length),
  increment: (kernels) => kernels.increment(12),
};

for (const [name, call] of Object.entries(CALLS)) {
  test(`${name} through a switch, in each of three memories`, () => {
    const owns = [0, 1, 2].map(memoryOf);
    const through = [0, 1, 2].map(memoryOf);
    const kernelSwitch = new KernelSwitch();
    const switched = through.map(({ kernels }) => kernelSwitch.add(kernels));
    for (const nth of [2, 0, 1]) {
      assert.deepEqual(call(switched[nth]!), call(owns[nth]!.kernels), `memory ${nth}`);
      for (const [other, { bytes }] of through.entries()) {
        const isSame = Buffer.compare(bytes, owns[other]!.bytes) === 0;
        assert.ok(isSame, `a call in memory ${nth} leaves memory ${other} as its own kernels do`);
      }
    }
  });
}
