// Reads byte arrays of the caller without running the caller's code. A subclass of Uint8Array, or a
// property defined on an array, may report any length, buffer or method; only the getters and
// methods of %TypedArray% itself tell the truth.

import { describe } from "./describe.ts";
import { ZcacheError } from "./errors.ts";

const TYPED_ARRAY = Object.getPrototypeOf(Uint8Array.prototype) as object;
const TAG = getterOf(Symbol.toStringTag);
const BUFFER = getterOf("buffer");
const LENGTH = getterOf("length");
const OFFSET = getterOf("byteOffset");
const { set: SET } = Uint8Array.prototype;

/** Whether a value is a Uint8Array or an instance of a subclass such as Buffer, of any realm. */
export function isBytes(value: unknown): value is Uint8Array {
  return TAG.call(value) === "Uint8Array";
}

/** The number of bytes; 0 for an array whose buffer is detached or has become too small. */
export function byteCountOf(bytes: Uint8Array): number {
  return LENGTH.call(bytes) as number;
}

/**
 * The bytes as an array whose length and place stay the same until code of the caller runs: the
 * array itself if only this thread can change it, else a view of a fixed length.
 */
export function heldBytes(bytes: Uint8Array): Uint8Array {
  const isOwn = BUFFER.call(bytes) instanceof ArrayBuffer && LENGTH.call(bytes) !== 0;
  return isOwn ? bytes : plainBytes(bytes);
}

/** A plain Uint8Array of a fixed length over the same bytes. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  const count = LENGTH.call(bytes) as number;
  if (count === 0) return new Uint8Array(0);
  return new Uint8Array(BUFFER.call(bytes) as ArrayBuffer, OFFSET.call(bytes) as number, count);
}

/** `target.set(source, at)`, even if the target overrides `set`. */
export function copyBytes(target: Uint8Array, source: Uint8Array, at = 0): void {
  SET.call(target, source, at);
}

/**
 * The bytes of an argument, as `plainBytes`.
 * @param what names the argument in messages
 * @param count the required number of bytes (default: any)
 * @throws ZcacheError ERR_OPTION for anything else
 */
export function bytesOf(value: unknown, what: string, count?: number): Uint8Array {
  const wanted = count === undefined ? "a Uint8Array" : `a Uint8Array of ${count} bytes`;
  if (!isBytes(value)) {
    throw new ZcacheError("ERR_OPTION", `${what}: ${wanted}, not ${describe(value)}`);
  }
  const bytes = plainBytes(value);
  if (count === undefined || bytes.length === count) return bytes;
  throw new ZcacheError("ERR_OPTION", `${what}: ${wanted}, not ${bytes.length}`);
}

function getterOf(name: PropertyKey): () => unknown {
  return Object.getOwnPropertyDescriptor(TYPED_ARRAY, name)!.get!;
}
