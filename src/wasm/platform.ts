// The part of the platform's WebAssembly interface that is used here. TypeScript declares it only
// together with all of a browser's globals, which would hide mistakes in the rest of the code.

/** A shared memory; `postMessage` carries it. */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
/** A function of an instance, for the table of another instance. */
export type WasmFunction = (...args: never[]) => unknown;
/** A table of functions that the code of an instance calls by their index. */
export interface WasmTable {
  readonly length: number;
  /** @returns the length before */
  grow(count: number): number;
  set(index: number, value: WasmFunction): void;
}
export interface WasmModule {
  readonly [Symbol.toStringTag]?: string;
}
export interface WasmInstance {
  readonly exports: unknown;
}

interface WasmPlatform {
  readonly Memory: new (options: { initial: number; maximum: number; shared: true }) => WasmMemory;
  readonly Module: new (binary: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { env: Readonly<Record<string, WasmMemory>> },
  ) => WasmInstance;
  readonly validate: (binary: Uint8Array) => boolean;
}

export const Wasm = (globalThis as unknown as { WebAssembly: WasmPlatform }).WebAssembly;
