// Decodes the bytes that encoder.ts or `v8.serialize` has made of a value.
import { Buffer } from "node:buffer";
import { DefaultDeserializer } from "node:v8";
import { ERROR_CLASSES, VIEW_CLASSES } from "./builtin.ts";
import { KIND_MIN, Kind } from "./format.ts";

type Fields = Record<string, unknown>;

/** V8's deserializer, extended by the host objects of format.ts. */
class Decoder extends DefaultDeserializer {
  /** Read the contents of the host objects, in their order in the value. */
  readonly #contents: (() => void)[] = [];

  decode(): unknown {
    this.readHeader();
    const value: unknown = this.readValue();
    // Contents may have further host objects: the list grows during the loop.
    for (const read of this.#contents) read();
    return value;
  }

  /** Called by V8. */
  _readHostObject(): object {
    const kind = this.readUint32();
    if (kind < KIND_MIN) return this.#view(kind);
    switch (kind) {
      case Kind.EXTRA:
        return this.#filled(this.readValue() as object);
      case Kind.NULL_PROTOTYPE:
        return this.#filled(Object.create(null) as object);
      case Kind.ERROR:
        return this.#error(ERROR_CLASSES[this.readUint32()]!.make());
      case Kind.DOM_EXCEPTION: {
        const message = this.readValue() as string;
        return this.#error(new DOMException(message, this.readValue() as string));
      }
      case Kind.REGEXP: {
        const source = this.readValue() as string;
        const made = new RegExp(source, this.readValue() as string);
        made.lastIndex = this.readValue() as number;
        return made;
      }
      case Kind.BOXED:
        return Object(this.readValue()) as object;
      case Kind.URL:
        return new URL(this.readValue() as string);
      case Kind.SEARCH_PARAMS:
        return new URLSearchParams(this.readValue() as string);
      default:
        throw new Error(`a value of an unknown kind, ${kind}`);
    }
  }

  /** A view of a buffer of its own; V8's raw bytes belong to the whole input. */
  #view(index: number): object {
    const bytes = this.readRawBytes(this.readUint32());
    const own = new Uint8Array(bytes.length);
    own.set(bytes);
    const Class = VIEW_CLASSES[index];
    if (Class === undefined) throw new Error(`a view of an unknown class, ${index}`);
    if (Class === (Buffer as unknown)) return Buffer.from(own.buffer);
    return new (Class as Uint8ArrayConstructor)(own.buffer);
  }

  #filled(made: object): object {
    this.#contents.push(() => assign(made, this.readValue() as Fields, true));
    return made;
  }

  #error(made: Error): Error {
    this.#contents.push(() => {
      const hidden = this.readValue() as Fields;
      const shown = this.readValue() as Fields;
      for (const key of Object.getOwnPropertyNames(made)) delete made[key as keyof Error];
      assign(made, hidden, false);
      assign(made, shown, true);
    });
    return made;
  }
}

/** @throws Error for bytes that are not an encoded value */
export function decodeValue(bytes: Uint8Array): unknown {
  return new Decoder(bytes).decode();
}

function assign(target: object, fields: Fields, enumerable: boolean): void {
  for (const key of Object.keys(fields)) {
    const value = fields[key];
    Object.defineProperty(target, key, { value, enumerable, writable: true, configurable: true });
  }
}
