// The built-in classes, and which of them a value belongs to. A value is recognized by its internal
// slots (node:util/types), never by its properties; its prototype tells whether it belongs to the
// class itself or to a class that an application derived from it.
import { Buffer } from "node:buffer";
import { types } from "node:util";
import { AssertionError, ZcacheError } from "../../base/errors.ts";

type ErrorClass = new (message?: string) => Error;

/** Error classes that errors keep. The position is the number in the format: append only. */
export const ERROR_CLASSES: readonly { readonly name: string; make(): Error }[] = [
  ...[Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map(
    (Class: ErrorClass) => ({ name: Class.name, make: () => new Class() }),
  ),
  { name: "AggregateError", make: () => new AggregateError([]) },
  { name: "ZcacheError", make: () => new ZcacheError("ERR_VALUE", "") },
  { name: "AssertionError", make: () => new AssertionError("") },
];

/** Views of buffers, in the order of Node's own numbers for them. */
const { Float16Array: Float16 } = globalThis as { Float16Array?: Uint8ArrayConstructor };
export const VIEW_CLASSES: readonly (Uint8ArrayConstructor | DataViewConstructor | undefined)[] = [
  ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array],
  ...[Uint32Array, Float32Array, Float64Array, DataView, Buffer, BigInt64Array, BigUint64Array],
  Float16,
] as never;

/** Iterators and generators have no internal slot that can be tested, only a tag. */
const ITERATOR = /(Iterator|Generator|Iterator Helper)\]$/;

const PROTOTYPES = new Map<object, string>();
for (const Class of [Object, Array, Date, RegExp, Map, Set, ArrayBuffer]) add(Class);
for (const Class of [Number, String, Boolean, BigInt]) add(Class);
for (const Class of [Error, EvalError, RangeError, ReferenceError, SyntaxError]) add(Class);
for (const Class of [TypeError, URIError, AggregateError, ZcacheError, AssertionError]) add(Class);
for (const Class of VIEW_CLASSES) if (Class !== undefined) add(Class as { name: string });

function add(Class: { readonly name: string; readonly prototype?: unknown }): void {
  PROTOTYPES.set(Class.prototype as object, Class.name);
}

/** The name of the built-in class with this prototype, in any realm; "" for other prototypes. */
export function builtinOf(prototype: object | null): string {
  if (prototype === null) return "";
  const known = PROTOTYPES.get(prototype);
  if (known !== undefined) return known;
  const Class = constructorOf(prototype);
  if (Class === undefined || !isNative(Class)) return "";
  const { name } = Class;
  return [...PROTOTYPES.values()].includes(name) ? name : "";
}

/** The constructor of a prototype, if it is a function; runs no getter. */
export function constructorOf(prototype: object): (new () => unknown) | undefined {
  if (types.isProxy(prototype)) return undefined;
  const Class: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  return typeof Class === "function" && !types.isProxy(Class) ? (Class as never) : undefined;
}

/** Describes an object for a message: "an instance of User". */
export function describeInstance(value: object): string {
  const tag = Object.prototype.toString.call(value);
  if (ITERATOR.test(tag)) return `a ${tag.slice("[object ".length, -1)}`;
  for (let at = prototypeOf(value); at !== null; at = prototypeOf(at)) {
    const Class = constructorOf(at);
    if (Class === undefined || builtinOf(at) === "Object") continue;
    const name: unknown = Object.getOwnPropertyDescriptor(Class, "name")?.value;
    if (typeof name === "string" && name !== "") return `an instance of ${name}`;
  }
  return "an object with a prototype of its own";
}

/**
 * Whether an object belongs to a class of the platform or to a class derived from one: such an
 * object has state outside of its properties, and can't be restored from them.
 */
export function isOfPlatform(value: object): boolean {
  if (types.isModuleNamespaceObject(value) || types.isExternal(value)) return true;
  if (ITERATOR.test(Object.prototype.toString.call(value))) return true;
  for (let at = prototypeOf(value); at !== null; at = prototypeOf(at)) {
    const Class = constructorOf(at);
    if (Class === undefined || builtinOf(at) === "Object") continue;
    if (isNative(Class)) return true;
    const global = Object.getOwnPropertyDescriptor(globalThis, Class.name);
    if (global !== undefined && (global.value ?? global.get?.call(globalThis)) === Class)
      return true;
  }
  return false;
}

function prototypeOf(value: object): object | null {
  return types.isProxy(value) ? null : (Object.getPrototypeOf(value) as object | null);
}

function isNative(Class: unknown): boolean {
  return /\{\s*\[native code\]\s*\}\s*$/.test(Function.prototype.toString.call(Class));
}
