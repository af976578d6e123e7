// What a loader throws, as bytes for the threads that wait for it, and back.
//
// The classes of the language, DOMException and ZcacheError stay what they are; an error of any
// other class arrives as an Error with its name. Message, code, cause, stack and the fields that
// can be cloned are kept, within limits. Nothing of an error is certain to be what it should be:
// reading any property may throw.
import { inspect, types } from "node:util";
import { deserialize, serialize } from "node:v8";
import { ZcacheError } from "../base/errors.ts";

/** Characters of a message or a stack that are kept. */
const TEXT_MAX = 32 * 1024;
/** Errors that are kept of a cause's cause's cause, or of an AggregateError. */
const ERRORS_MAX = 100;
/** Fields of an error, and bytes of one, that are kept. */
const FIELDS_MAX = 32;
const FIELD_BYTES_MAX = 16 * 1024;
/** Bytes of something else that is thrown. */
const VALUE_BYTES_MAX = 256 * 1024;
/** What all causes have together, at most; what comes later is left out. */
const CHARACTERS_MAX = 512 * 1024;

/** Classes of errors that a waiting thread has too, and how an error of theirs is made. */
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

/** Of an engine that has it, a SuppressedError: its constructor takes what it is made of. */
const Suppressed = (globalThis as { SuppressedError?: new (...of: unknown[]) => Error })
  .SuppressedError;
if (Suppressed !== undefined) {
  const make = ({ message }: PackedError) => new Suppressed(undefined, undefined, message);
  CLASSES["SuppressedError"] = { prototype: Suppressed.prototype as object, make };
}
/** And the names of that, which are listed nowhere. */
const SUPPRESSED_FIELDS = ["error", "suppressed"] as const;

/** Something thrown, in a form that can be cloned. */
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
  /** One of CLASSES. */
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

/** @param thrown anything @returns bytes that `unpackError` takes; some 500 KB at most */
export function packError(thrown: unknown): Uint8Array {
  try {
    return serialize(new Packer().pack(thrown));
  } catch (cause) {
    // It may have been changed by its own getters while it was read.
    const message = `an error that can't be sent to another thread was thrown: ${inspect(cause)}`;
    return serialize(new Packer().pack(new Error(message)));
  }
}

/** @param bytes what `packError` gave */
export function unpackError(bytes: Uint8Array): unknown {
  return unpack(deserialize(bytes) as Packed, new Map());
}

class Packer {
  /** Those of the errors that are packed already, or just now: causes may lead back to them. */
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
    if (value === undefined) return this.#packError(thrown, `${seen(thrown)} was thrown`);
    this.#characters -= value.bytes;
    return { kind: "value", value: value.copy };
  }

  /** @param message what stands for the message of something that is no error */
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
    // One that is inherited, or that is not listed, is kept too if it is the code.
    const names = ["code", ...fieldsOf(error)];
    for (const name of names) {
      if (STANDARD.has(name) || Object.keys(fields).length >= FIELDS_MAX) continue;
      const value = read(error, name);
      if (value === undefined || (name === "code" && typeof value === "function")) continue;
      const field = cloned(value, Math.min(FIELD_BYTES_MAX, this.#characters));
      if (field === undefined) continue;
      this.#characters -= field.bytes;
      // Not by an assignment: "__proto__" is a name like any other.
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

/** Properties that have places of their own. */
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
    // A DOMException has its code from its name.
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

/** The class of CLASSES that an error is of, and of no subclass; else Error. */
function classOf(error: object): string {
  try {
    const prototype: object | null = Object.getPrototypeOf(error);
    const own = Object.entries(CLASSES).find(([, one]) => one.prototype === prototype);
    if (own !== undefined) return own[0];
    // One of another context of this thread has classes of its own.
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

/** A clone of a value, and how large it is; undefined if it has none or is too large. */
function cloned(value: unknown, bytesMax: number): { copy: unknown; bytes: number } | undefined {
  try {
    const bytes = serialize(value);
    if (bytes.length > bytesMax) return undefined;
    return { copy: deserialize(bytes), bytes: bytes.length };
  } catch {
    return undefined;
  }
}

/** What can be said of something that can't be sent to another thread. */
function seen(thrown: object): string {
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
