// Encodes a value in one walk, and refuses values that could not be restored.
//
// `v8.serialize` silently turns a URL or a Promise into `{}`, drops the fields of errors and loses
// prototypes. This encoder reads each property once, so a getter runs once; builtin.ts recognizes
// the class of an object; a value that can't be encoded is reported with its path. Documents such
// as JSON can express are encoded in half the time of `v8.serialize`.
import { types } from "node:util";
import {
  builtinOf,
  describeInstance,
  ERROR_CLASSES,
  isOfPlatform,
  VIEW_CLASSES,
} from "./builtin.ts";
import { Kind, Tag } from "./format.ts";
import {
  bytesOfView,
  extraKeysOf,
  getterOf,
  isDetached,
  isIndex,
  primitiveOf,
  viewIndexOf,
} from "./inside.ts";
import { atStep, Refusal, refusalOf, stepOf } from "./refusal.ts";
import { ByteWriter } from "./writer.ts";

/** What to do with instances of application classes. */
export type Classes = "refuse" | "plain";

/** Depth of nested objects that V8 can read in any thread, even with half of the stack in use. */
const DEPTH_MAX = 1500;
/** An array with this many more holes than keys is written as sparse. */
const HOLES_MAX = 64;
/** Fields of errors that are not enumerable. */
const HIDDEN: readonly string[] = ["name", "message", "stack", "cause", "errors"];

const { entries: mapEntries } = Map.prototype;
const { values: setValues } = Set.prototype;

type Contents = () => void;

export class ValueEncoder {
  readonly #classes: Classes;
  readonly #writer = new ByteWriter();
  /** Numbers of the objects written so far, for references to them. */
  readonly #numbers = new Map<object, number>();
  #next = 0;
  #depth = 0;
  /** Write the contents of the host objects, behind the value. */
  readonly #contents: Contents[] = [];

  constructor(classes: Classes) {
    this.#classes = classes;
  }

  /**
   * @returns bytes that are valid until the next call
   * @throws ZcacheError ERR_VALUE with the path to the part that can't be encoded
   */
  encode(value: unknown): Uint8Array {
    this.#next = 0;
    this.#depth = 0;
    this.#writer.begin();
    try {
      this.#value(value);
      // Contents may have further host objects: the list grows during the loop.
      for (const write of this.#contents) write();
      return this.#writer.end();
    } catch (error) {
      throw refusalOf(error).toError();
    } finally {
      this.#numbers.clear();
      this.#contents.length = 0;
    }
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "string":
        this.#writer.string(value);
        break;
      case "number":
        this.#writer.number(value);
        break;
      case "boolean":
        this.#writer.byte(value ? Tag.TRUE : Tag.FALSE);
        break;
      case "undefined":
        this.#writer.byte(Tag.UNDEFINED);
        break;
      case "bigint":
        this.#writer.bigint(value);
        break;
      case "object":
        if (value === null) this.#writer.byte(Tag.NULL);
        else this.#object(value);
        break;
      default:
        throw new Refusal(typeof value);
    }
  }

  #object(value: object): void {
    const number = this.#numbers.get(value);
    if (number !== undefined) {
      this.#writer.byte(Tag.REFERENCE);
      this.#writer.varint(number);
      return;
    }
    if (++this.#depth > DEPTH_MAX) {
      throw new Refusal(`too deep: at most ${DEPTH_MAX} objects within each other`);
    }
    if (types.isProxy(value)) throw new Refusal("a Proxy");
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value)) {
      if (prototype === Array.prototype) this.#array(value);
      else this.#otherArray(value, prototype as object | null);
    } else if (prototype === Object.prototype) {
      this.#checkSymbols(value);
      this.#number(value);
      this.#properties(value, Object.keys(value), Tag.BEGIN_OBJECT, Tag.END_OBJECT);
    } else {
      this.#other(value, prototype as object | null);
    }
    this.#depth--;
  }

  #number(value: object): void {
    this.#numbers.set(value, this.#next++);
  }

  /** @throws Refusal for an enumerable property named by a symbol, and for a class by tag only */
  #checkSymbols(value: object): void {
    const symbols = Object.getOwnPropertySymbols(value);
    if (symbols.length === 0) return;
    for (const symbol of symbols) {
      if (!Object.prototype.propertyIsEnumerable.call(value, symbol)) continue;
      throw atStep(new Refusal("a property that is named by a symbol"), `[${String(symbol)}]`);
    }
    if (types.isArgumentsObject(value)) throw new Refusal("an arguments object");
    if (!symbols.includes(Symbol.toStringTag)) return;
    throw new Refusal(`not a plain object but ${Object.prototype.toString.call(value)}`);
  }

  #properties(value: object, keys: readonly string[], begin: number, end: number): void {
    const writer = this.#writer;
    writer.byte(begin);
    this.#pairs(value as Record<string, unknown>, keys);
    writer.byte(end);
    writer.varint(keys.length);
  }

  #pairs(value: Record<string, unknown>, keys: readonly string[]): void {
    const writer = this.#writer;
    let key = "";
    try {
      for (let i = 0; i < keys.length; i++) {
        key = keys[i]!;
        writer.string(key);
        this.#value(value[key]);
      }
    } catch (error) {
      throw atStep(error, stepOf(key));
    }
  }

  #array(value: readonly unknown[]): void {
    const { length } = value;
    const keys = Object.keys(value);
    this.#checkSymbols(value);
    this.#number(value);
    let extra = 0;
    // Keys that are indexes come first: if the last key is the last index, there are no others.
    if (keys.length !== length || (length > 0 && keys[length - 1] !== `${length - 1}`)) {
      while (extra < keys.length && !isIndex(keys[keys.length - 1 - extra]!)) extra++;
      const holes = length - (keys.length - extra);
      if (holes > keys.length + HOLES_MAX) {
        this.#sparse(value, keys);
        return;
      }
    }
    const writer = this.#writer;
    writer.byte(Tag.BEGIN_DENSE);
    writer.varint(length);
    let i = 0;
    try {
      for (; i < length; i++) {
        const element = value[i];
        if (element === undefined && !Object.hasOwn(value, i)) writer.byte(Tag.HOLE);
        else this.#value(element);
      }
    } catch (error) {
      throw atStep(error, stepOf(i));
    }
    if (extra > 0) this.#pairs(value as never, keys.slice(keys.length - extra));
    writer.byte(Tag.END_DENSE);
    writer.varint(extra);
    writer.varint(length);
  }

  #sparse(value: readonly unknown[], keys: readonly string[]): void {
    const writer = this.#writer;
    writer.byte(Tag.BEGIN_SPARSE);
    writer.varint(value.length);
    let key = "";
    try {
      for (key of keys) {
        if (isIndex(key)) writer.number(Number(key));
        else writer.string(key);
        this.#value((value as unknown as Record<string, unknown>)[key]);
      }
    } catch (error) {
      throw atStep(error, isIndex(key) ? `[${key}]` : stepOf(key));
    }
    writer.byte(Tag.END_SPARSE);
    writer.varint(keys.length);
    writer.varint(value.length);
  }

  #otherArray(value: readonly unknown[], prototype: object | null): void {
    if (builtinOf(prototype) !== "Array") this.#checkClass(value);
    this.#array(value);
  }

  /** @throws Refusal unless instances of classes are stored without their class */
  #checkClass(value: object): void {
    if (this.#classes === "plain") return;
    throw new Refusal(
      `${describeInstance(value)}: store a plain object, or give the cache the option ` +
        'classes: "plain", by which it comes back as one, or a serializer',
    );
  }

  /** An object that is neither an array nor a plain object of this realm. */
  #other(value: object, prototype: object | null): void {
    const builtin = builtinOf(prototype);
    if (types.isModuleNamespaceObject(value)) throw new Refusal("the namespace of a module");
    if (prototype === null) {
      this.#checkSymbols(value);
      this.#host(value, Kind.NULL_PROTOTYPE);
      this.#later(() => this.#plain(value, Object.keys(value)));
    } else if (types.isNativeError(value) && prototype !== DOMException.prototype) {
      // In later versions of Node a DOMException is a native error; #web handles it.
      this.#error(value, builtin);
    } else if (!this.#builtin(value, builtin) && !this.#web(value, prototype)) {
      if (builtin !== "Object") {
        if (isOfPlatform(value)) {
          throw new Refusal(`${describeInstance(value)}, which can't be stored`);
        }
        this.#checkClass(value);
      }
      this.#checkSymbols(value);
      this.#number(value);
      this.#properties(value, Object.keys(value), Tag.BEGIN_OBJECT, Tag.END_OBJECT);
    }
  }

  /** Writes an object of a built-in class that can be restored. @returns false for others */
  #builtin(value: object, builtin: string): boolean {
    let name: string;
    let write: () => void;
    if (types.isDate(value)) {
      name = "Date";
      write = () => this.#date(value);
    } else if (types.isMap(value)) {
      name = "Map";
      write = () => this.#map(value);
    } else if (types.isSet(value)) {
      name = "Set";
      write = () => this.#set(value);
    } else if (types.isRegExp(value)) {
      name = "RegExp";
      write = () => this.#regExp(value);
    } else if (types.isBoxedPrimitive(value)) {
      const primitive = primitiveOf(value);
      if (typeof primitive === "symbol") throw new Refusal("a symbol");
      name = Object(primitive).constructor.name;
      write = () => {
        this.#host(value, Kind.BOXED);
        this.#value(primitive);
      };
    } else if (types.isArrayBuffer(value)) {
      name = "ArrayBuffer";
      write = () => this.#buffer(value);
    } else if (ArrayBuffer.isView(value)) {
      const index = viewIndexOf(value, builtin);
      name = VIEW_CLASSES[index]!.name;
      write = () => this.#view(value, index);
    } else return false;
    if (builtin !== name) this.#checkClass(value);
    this.#withExtras(value, write);
    return true;
  }

  /** Writes an object of a web class that can be restored. @returns false for others */
  #web(value: object, prototype: object): boolean {
    if (prototype === URL.prototype) {
      const href = getterOf(URL.prototype, "href").call(value);
      this.#withExtras(value, () => {
        this.#host(value, Kind.URL);
        this.#value(href);
      });
    } else if (prototype === URLSearchParams.prototype) {
      const text = URLSearchParams.prototype.toString.call(value);
      this.#withExtras(value, () => {
        this.#host(value, Kind.SEARCH_PARAMS);
        this.#value(text);
      });
    } else if (prototype === DOMException.prototype) {
      const read = (name: string) => getterOf(DOMException.prototype, name).call(value);
      this.#checkSymbols(value);
      this.#host(value, Kind.DOM_EXCEPTION);
      this.#value(read("message"));
      this.#value(read("name"));
      this.#later(() => this.#fields(value, undefined));
    } else return false;
    return true;
  }

  /** Writes an object whose format has no place for additional own properties. */
  #withExtras(value: object, write: () => void): void {
    const keys = extraKeysOf(value);
    this.#checkSymbols(value);
    if (keys.length === 0) {
      write();
      return;
    }
    this.#writer.byte(Tag.HOST_OBJECT);
    this.#writer.varint(Kind.EXTRA);
    this.#next++;
    write();
    this.#later(() => this.#plain(value, keys));
  }

  #host(value: object, kind: number): void {
    this.#writer.byte(Tag.HOST_OBJECT);
    this.#writer.varint(kind);
    this.#number(value);
  }

  #later(write: Contents): void {
    this.#contents.push(write);
  }

  /** Writes some properties of an object as a plain object. */
  #plain(value: object, keys: readonly string[]): void {
    this.#next++;
    this.#properties(value, keys, Tag.BEGIN_OBJECT, Tag.END_OBJECT);
  }

  #date(value: Date): void {
    this.#number(value);
    this.#writer.byte(Tag.DATE);
    this.#writer.double(Date.prototype.getTime.call(value));
  }

  #map(value: Map<unknown, unknown>): void {
    const writer = this.#writer;
    this.#number(value);
    writer.byte(Tag.BEGIN_MAP);
    let count = 0;
    // A copy: getters of the entries may change the map.
    for (const [key, one] of [...mapEntries.call(value)] as [unknown, unknown][]) {
      try {
        this.#value(key);
      } catch (error) {
        throw atStep(error, `.keys()[${count}]`);
      }
      try {
        this.#value(one);
      } catch (error) {
        const step =
          typeof key === "string" ? `.get(${JSON.stringify(key)})` : `.values()[${count}]`;
        throw atStep(error, step);
      }
      count++;
    }
    writer.byte(Tag.END_MAP);
    writer.varint(count * 2);
  }

  #set(value: Set<unknown>): void {
    const writer = this.#writer;
    this.#number(value);
    writer.byte(Tag.BEGIN_SET);
    let count = 0;
    try {
      for (const one of [...setValues.call(value)]) {
        this.#value(one);
        count++;
      }
    } catch (error) {
      throw atStep(error, `.values()[${count}]`);
    }
    writer.byte(Tag.END_SET);
    writer.varint(count);
  }

  #regExp(value: RegExp): void {
    const source = getterOf(RegExp.prototype, "source").call(value);
    const flags = getterOf(RegExp.prototype, "flags").call(value);
    this.#host(value, Kind.REGEXP);
    this.#value(source);
    this.#value(flags);
    try {
      this.#value(value.lastIndex);
    } catch (error) {
      throw atStep(error, ".lastIndex");
    }
  }

  #buffer(value: ArrayBuffer): void {
    const { resizable, maxByteLength } = value as { resizable?: boolean; maxByteLength?: number };
    const bytes = isDetached(value) ? new Uint8Array(0) : new Uint8Array(value);
    this.#number(value);
    this.#writer.byte(resizable === true ? Tag.RESIZABLE_BUFFER : Tag.ARRAY_BUFFER);
    this.#writer.varint(bytes.length);
    if (resizable === true) this.#writer.varint(maxByteLength!);
    this.#writer.raw(bytes);
  }

  #view(value: ArrayBufferView, index: number): void {
    const bytes = bytesOfView(value);
    this.#host(value, index);
    this.#writer.varint(bytes.length);
    this.#writer.raw(bytes);
  }

  #error(value: Error, builtin: string): void {
    let index = ERROR_CLASSES.findIndex(({ name }) => name === builtin);
    if (index < 0) this.#checkClass(value);
    for (let at: object | null = value; index < 0 && at !== null; ) {
      at = Object.getPrototypeOf(at) as object | null;
      const name = builtinOf(at);
      index = ERROR_CLASSES.findIndex((one) => one.name === name);
    }
    this.#checkSymbols(value);
    this.#host(value, Kind.ERROR);
    this.#writer.varint(Math.max(0, index));
    // The name of an application class is kept as the error's own name.
    this.#later(() => this.#fields(value, builtin === "" ? value.name : undefined));
  }

  /** Writes the fields of an error: first those that are not enumerable. */
  #fields(value: object, name: unknown): void {
    const hidden: Record<string, unknown> = {};
    for (const key of Object.getOwnPropertyNames(value)) {
      if (!HIDDEN.includes(key)) continue;
      if (Object.prototype.propertyIsEnumerable.call(value, key)) continue;
      hidden[key] = (value as Record<string, unknown>)[key];
    }
    if (typeof name === "string" && !Object.hasOwn(value, "name")) hidden["name"] = name;
    this.#plain(hidden, Object.keys(hidden));
    this.#plain(value, Object.keys(value));
  }
}
