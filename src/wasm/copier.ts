// Copies from one memory to another in a single instruction. JavaScript does so with a view of the
// source, which takes three times as long for 1 KiB. An instance with two memories is what
// AssemblyScript can't compile, and engines before V8 12 (Node.js 22) can't run; so the module, one
// function, is written here byte by byte, and is used where it is valid.
import { Wasm, type WasmFunction, type WasmMemory, type WasmModule } from "./platform.ts";

const I32 = 0x7f;

const BINARY = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // "\0asm", version 1
  ...section(0x01, [0x01, 0x60, 0x03, I32, I32, I32, 0x00]), // a type: (i32, i32, i32) → nothing
  ...section(0x02, [0x02, ...importOf("to"), ...importOf("from")]), // two memories
  ...section(0x03, [0x01, 0x00]), // a function of that type
  ...section(0x07, [0x01, ...name("copy"), 0x00, 0x00]), // its name
  // Its code: memory.copy of its parameters, to memory 0 from memory 1.
  ...section(0x0a, [
    ...[0x01, 0x0c, 0x00, 0x20, 0x00, 0x20, 0x01, 0x20, 0x02],
    ...[0xfc, 0x0a, 0x00, 0x01, 0x0b],
  ]),
]);

function section(id: number, content: readonly number[]): number[] {
  return [id, content.length, ...content];
}

/** A shared memory of 1 … 65,535 pages, of "env". */
function importOf(memory: string): number[] {
  return [...name("env"), ...name(memory), 0x02, 0x03, 0x01, 0xff, 0xff, 0x03];
}

function name(letters: string): number[] {
  return [letters.length, ...Array.from(letters, (letter) => letter.charCodeAt(0))];
}

let compiled: WasmModule | undefined;

/**
 * @returns copy(target, source, bytes), with addresses in the one and in the other memory, for the
 *   calling thread; undefined where the engine has no such instances
 */
export function copierBetween(to: WasmMemory, from: WasmMemory): WasmFunction | undefined {
  if (!Wasm.validate(BINARY)) return undefined;
  compiled ??= new Wasm.Module(BINARY);
  const { exports } = new Wasm.Instance(compiled, { env: { to, from } });
  return (exports as { copy: WasmFunction }).copy;
}
