// Errors of loaders as bytes, for threads that wait for the load, and back.
//
// The error classes of the language, DOMException and ZcacheError keep their class; an error of any
// other class becomes an Error with its name. Message, code, cause, stack and all fields that can
// be cloned are kept, within limits. A loader may throw any value, of which no property can be
// relied on: reading one may throw.
import { inspect, types } from "node:util";
import { deserialize, serialize } from "node:v8";
import { ZcacheError } from "../base/errors.ts";

/** Characters of a message or a stack; the rest is cut. */
const TEXT_MAX = 32 * 1024;
/** Errors in a chain of causes or in an AggregateError. */
const ERRORS_MAX = 100;
/** Fields of an error. */
const FIELDS_MAX = 32;
/** Bytes of a field; larger ones are left out. */
const FIELD_BYTES_MAX = 16 * 1024;
/** Bytes of a thrown value that is not an error. */
const VALUE_BYTES_MAX = 256 * 1024;
/** Characters and bytes of an error with all its causes; the rest is left out. */
const CHARACTERS_MAX = 512 * 1024;

/** The classes that errors keep. */
const CLASSES: Record<string, { prototype: object; make(packed: PackedError): Error }> = {
  Error: { prototype: Error.prototype, make: ({ message }) => new Error(message) },
  EvalError: { prototype: EvalError.prototype, make: ({ message }) => new EvalError(message) },
  RangeError: { prototype: RangeError.prototype, make: ({ message }) => new RangeError(message) },
  ReferenceError: {
    prototype: ReferenceError.prototype,
    make: ({ message }) => new ReferenceError(message),
  },
  SyntaxError: {
    prototype: SyntaxError.prototype,
    make: ({ message }) => new SyntaxError(message),
  },
  TypeError: { prototype: TypeError.prototype, make: ({ message }) => new TypeError(message) },
  URIError: { prototype: URIError.prototype, make: ({ message }) => new URIError(message) },
  AggregateError: {
    prototype: AggregateError.prototype,
    make: ({ message }) => new AggregateError([], message),
  },
  DOMException: {
    prototype: DOMException.prototype,
    make: ({ message, name }) => new DOMException(message, name) as Error,
  },
  ZcacheError: {
    prototype: ZcacheError.prototype,
    make: ({ message, fields }) => new ZcacheError(fields["code"] as "ERR_IO", message),
  },
};

/** SuppressedError, if the engine has it; its constructor takes error, suppressed and message. */
const Suppressed = (globalThis as { SuppressedError?: new (...of: unknown[]) => Error })
  .SuppressedError;
if (Suppressed !== undefined) {
  const make = ({ message }: PackedError) => new Suppressed(undefined, undefined, message);
  CLASSES["SuppressedError"] = { prototype: Suppressed.prototype as object, make };
}
/** The fields of a SuppressedError, which are not enumerable. */
const SUPPRESSED_FIELDS = ["error", "suppressed"] as const;

/** A thrown value in a form that can be cloned. */
type Packed =
  | PackedError
  | { readonly kind: "symbol"; readonly text: string; isShared: boolean }
  | PackedValue;

interface PackedValue {
  readonly kind: "value";
  readonly value: unknown;
}

interface PackedError {
  readonly kind: "error";
  /** Name of the class in CLASSES. */
  readonly of: string;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly fields: Record<string, unknown>;
  cause?: Packed;
  errors?: Packed[];
  /** Of a SuppressedError. */
  error?: Packed;
  suppressed?: Packed;
}

/** @param thrown any value @returns bytes for `unpackError`, some 500 KB at most */
export function packError(thrown: unknown): Uint8Array {
  try {
    return serialize(new Packer().pack(thrown));
  } catch (cause) {
    // Getters of the error may have changed it while it was read.
    const message = `an error that can't be sent to another thread was thrown: ${inspect(cause)}`;
    return serialize(new Packer().pack(new Error(message)));
  }
}

/** @param bytes the result of `packError` */
export function unpackError(bytes: Uint8Array): unknown {
  return unpack(deserialize(bytes) as Packed, new Map());
}

class Packer {
  /** The errors that are packed or being packed: causes may be cyclic. */
  readonly #packed = new Map<object, Packed>();
  #characters = CHARACTERS_MAX;

  pack(thrown: unknown): Packed {
    if (typeof thrown === "symbol") return packSymbol(thrown);
    const isObject = typeof thrown === "object" || typeof thrown === "function";
    if (!isObject || thrown === null) {
      const text = typeof thrown === "string" ? this.#cut(thrown) : thrown;
      return { kind: "value", value: text };
    }
    const before = this.#packed.get(thrown);
    if (before !== undefined) return before;
    if (isError(thrown)) return this.#packError(thrown);
    const value = cloned(thrown, Math.min(VALUE_BYTES_MAX, this.#characters));
    if (value === undefined) return this.#packError(thrown, `${describeThrown(thrown)} was thrown`);
    this.#characters -= value.bytes;
    return { kind: "value", value: value.copy };
  }

  /** @param message for an object that is not an error */
  #packError(error: object, message?: string): PackedError {
    const of = message === undefined ? classOf(error) : "Error";
    const stack = message === undefined ? read(error, "stack") : undefined;
    const packed: PackedError = {
      kind: "error",
      of,
      name: message === undefined ? this.#text(read(error, "name")) : "Error",
      message: message ?? this.#text(read(error, "message")),
      stack: typeof stack === "string" ? this.#cut(stack) : undefined,
      fields: {},
    };
    this.#packed.set(error, packed);
    this.#packFields(error, packed.fields);
    const hasMore = this.#packed.size < ERRORS_MAX && this.#characters > 0;
    if (hasMore && has(error, "cause")) packed.cause = this.pack(read(error, "cause"));
    for (const name of of === "SuppressedError" ? SUPPRESSED_FIELDS : []) {
      if (hasMore) packed[name] = this.pack(read(error, name));
    }
    const errors = of === "AggregateError" ? read(error, "errors") : undefined;
    if (Array.isArray(errors)) packed.errors = this.#packAll(errors);
    return packed;
  }

  #packAll(errors: readonly unknown[]): Packed[] {
    const all: Packed[] = [];
    const count = Number(read(errors, "length"));
    for (let nth = 0; nth < count && all.length < ERRORS_MAX; nth++) {
      if (this.#packed.size >= ERRORS_MAX || this.#characters <= 0) break;
      all.push(this.pack(read(errors, nth)));
    }
    return all;
  }

  #packFields(error: object, fields: Record<string, unknown>): void {
    // `code` is kept even if it is inherited or not enumerable.
    const names = ["code", ...fieldsOf(error)];
    for (const name of names) {
      if (STANDARD.has(name) || Object.keys(fields).length >= FIELDS_MAX) continue;
      const value = read(error, name);
      if (value === undefined || (name === "code" && typeof value === "function")) continue;
      const field = cloned(value, Math.min(FIELD_BYTES_MAX, this.#characters));
      if (field === undefined) continue;
      this.#characters -= field.bytes;
      // An assignment would not create a field with the name "__proto__".
      Object.defineProperty(fields, name, { ...OWN, enumerable: true, value: field.copy });
    }
  }

  #text(value: unknown): string {
    if (typeof value === "string") return this.#cut(value);
    return typeof value === "symbol" || isObjectLike(value) ? "" : String(value ?? "");
  }

  #cut(text: string): string {
    const limit = Math.max(0, Math.min(TEXT_MAX, this.#characters));
    this.#characters -= Math.min(text.length, limit);
    return text.length <= limit ? text : `${text.slice(0, limit)}…`;
  }
}

/** Properties of PackedError. */
const STANDARD: ReadonlySet<string> = new Set(["name", "message", "stack", "cause", "errors"]);
const OWN = { configurable: true, writable: true, enumerable: false };

function unpack(packed: Packed, unpacked: Map<Packed, unknown>): unknown {
  if (packed.kind === "value") return packed.value;
  if (packed.kind === "symbol")
    return packed.isShared ? Symbol.for(packed.text) : Symbol(packed.text);
  const before = unpacked.get(packed);
  if (before !== undefined) return before;
  const error = CLASSES[packed.of]!.make(packed);
  unpacked.set(packed, error);
  const own = (name: string, value: unknown, enumerable = false) => {
    Object.defineProperty(error, name, { ...OWN, enumerable, value });
  };
  own("stack", packed.stack ?? `${packed.name}: ${packed.message}`);
  if (error.name !== packed.name) own("name", packed.name);
  for (const [name, value] of Object.entries(packed.fields)) {
    // The code of a DOMException follows from its name.
    if (name !== "code" || packed.of !== "DOMException") own(name, value, true);
  }
  if (packed.cause !== undefined) own("cause", unpack(packed.cause, unpacked));
  for (const name of SUPPRESSED_FIELDS) {
    if (packed[name] !== undefined) own(name, unpack(packed[name], unpacked));
  }
  if (packed.errors !== undefined) {
    own(
      "errors",
      packed.errors.map((one) => unpack(one, unpacked)),
    );
  }
  return error;
}

function packSymbol(thrown: symbol): Packed {
  const key = Symbol.keyFor(thrown);
  const text = key ?? thrown.description ?? "";
  return { kind: "symbol", text: text.slice(0, TEXT_MAX), isShared: key !== undefined };
}

function isObjectLike(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function isError(thrown: object): boolean {
  try {
    return types.isNativeError(thrown) || thrown instanceof Error;
  } catch {
    return false;
  }
}

/** The name in CLASSES of the error's own class; Error for subclasses and all others. */
function classOf(error: object): string {
  try {
    const prototype: object | null = Object.getPrototypeOf(error);
    const own = Object.entries(CLASSES).find(([, one]) => one.prototype === prototype);
    if (own !== undefined) return own[0];
    // An error of another vm context has other class objects with the same names.
    if (error instanceof Error || !types.isNativeError(error)) return "Error";
    const name = String(read(prototype ?? {}, "name"));
    return Object.hasOwn(prototype ?? {}, "name") && name in CLASSES ? name : "Error";
  } catch {
    return "Error";
  }
}

function read(from: object, name: string | number): unknown {
  try {
    return (from as Record<string | number, unknown>)[name];
  } catch {
    return undefined;
  }
}

function has(from: object, name: string): boolean {
  try {
    return name in from;
  } catch {
    return false;
  }
}

function fieldsOf(error: object): string[] {
  try {
    return Object.keys(error);
  } catch {
    return [];
  }
}

/** A clone of a value, and its size; undefined if it can't be cloned or is too large. */
function cloned(value: unknown, bytesMax: number): { copy: unknown; bytes: number } | undefined {
  try {
    const bytes = serialize(value);
    if (bytes.length > bytesMax) return undefined;
    return { copy: deserialize(bytes), bytes: bytes.length };
  } catch {
    return undefined;
  }
}

/** Describes a thrown object that can't be sent to another thread. */
function describeThrown(thrown: object): string {
  const what = typeof thrown === "function" ? "a function" : "an object";
  try {
    const text = inspect(thrown, {
      depth: 1,
      breakLength: Number.POSITIVE_INFINITY,
      customInspect: false,
    });
    return `${what} that can't be sent to another thread (${text.slice(0, 1000)})`;
  } catch {
    return `${what} that can't be sent to another thread`;
  }
}
