// Reads the internal state of objects through the getters and methods of their classes, which an
// object's own properties can't override.
import { Buffer } from "node:buffer";
import { isDeepStrictEqual, types } from "node:util";
import { builtinOf, VIEW_CLASSES } from "./builtin.ts";

const TYPED_ARRAY = Object.getPrototypeOf(Uint8Array.prototype) as object;

export function isIndex(key: string): boolean {
  const number = Number(key);
  return `${number}` === key && Number.isInteger(number) && number >= 0 && number < 2 ** 32 - 1;
}

/** Own properties beside those that all instances of the class have. */
export function extraKeysOf(value: object): readonly string[] {
  // A view has a key for each element: comparing it with a fresh view of the same bytes is faster.
  if (ArrayBuffer.isView(value) && isDeepStrictEqual(value, likeOf(value))) return [];
  const keys = Object.keys(value);
  if (ArrayBuffer.isView(value)) return keys.filter((key) => !isIndex(key));
  return types.isStringObject(value) ? keys.slice(primitiveOf(value).toString().length) : keys;
}

/** Another view of the same bytes. */
export function likeOf(value: ArrayBufferView): ArrayBufferView {
  const Class = VIEW_CLASSES[viewIndexOf(value, builtinOf(Object.getPrototypeOf(value)))]!;
  const { buffer, byteOffset, length } = bytesOfView(value);
  if (Class === (Buffer as unknown)) return Buffer.from(buffer, byteOffset, length);
  const width = (Class as Uint8ArrayConstructor).BYTES_PER_ELEMENT ?? 1;
  return new (Class as Uint8ArrayConstructor)(buffer, byteOffset, length / width);
}

export function primitiveOf(value: object): string | number | boolean | bigint | symbol {
  if (types.isStringObject(value)) return String.prototype.valueOf.call(value);
  if (types.isNumberObject(value)) return Number.prototype.valueOf.call(value);
  if (types.isBooleanObject(value)) return Boolean.prototype.valueOf.call(value);
  if (types.isBigIntObject(value)) return BigInt.prototype.valueOf.call(value);
  return Symbol.prototype.valueOf.call(value);
}

/** Index of a view's class in VIEW_CLASSES: by its internal slots; Buffer by its prototype. */
export function viewIndexOf(value: ArrayBufferView, builtin: string): number {
  if (types.isDataView(value)) return VIEW_CLASSES.indexOf(DataView);
  const name =
    builtin === "Buffer" ? builtin : getterOf(TYPED_ARRAY, Symbol.toStringTag).call(value);
  return VIEW_CLASSES.findIndex((one) => one?.name === name);
}

export function bytesOfView(value: ArrayBufferView): Uint8Array {
  const prototype = types.isDataView(value) ? DataView.prototype : TYPED_ARRAY;
  const buffer = getterOf(prototype, "buffer").call(value) as ArrayBuffer;
  if (isDetached(buffer)) return new Uint8Array(0);
  const offset = getterOf(prototype, "byteOffset").call(value) as number;
  const count = getterOf(prototype, "byteLength").call(value) as number;
  return new Uint8Array(buffer, offset, count);
}

export function isDetached(buffer: ArrayBuffer): boolean {
  if (buffer.byteLength > 0 || types.isSharedArrayBuffer(buffer)) return false;
  try {
    return new Uint8Array(buffer).length < 0;
  } catch {
    return true;
  }
}

export function getterOf(prototype: object, name: PropertyKey): () => unknown {
  return Object.getOwnPropertyDescriptor(prototype, name)!.get!;
}
