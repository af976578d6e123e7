// Kinds of settings: what a setting is, and one constructor for each kind of value (a size, a
// number, a path, a list, a switch …). A setting is declared once, in settings.ts, with its default
// and its allowed values; flags, the configuration file, `--print-config` and error texts are
// derived from that declaration.
import { ZcacheError } from "../../base/errors.ts";
import { machineMemory } from "../../node/machine_memory.ts";
import { SHARDS_MAX } from "../../store/options.ts";
import { parseSizeIn, parseWhole } from "../options.ts";
import { type Address, parseAddress } from "./address.ts";

/** A value as it is written: text in a flag, or a value of TOML in the file. */
export type Raw = string | number | boolean | readonly (string | number)[];

export interface Setting<V> {
  /** `switch`: on or off. `list`: a flag that may be repeated. */
  readonly shape: "value" | "switch" | "list";
  /** The placeholder for the value in help texts, such as `size`. */
  readonly hint: string;
  readonly describe: string;
  /** The default as it would be written; undefined if there is none. */
  readonly fallback: Raw | undefined;
  /** What `--no-…` does; a value without this text has no such flag. */
  readonly off?: string;
  /** The flag, if it differs from the key: `--no-web` reads better than `--no-web-enabled`. */
  readonly flag?: string;
  /** @throws ZcacheError ERR_OPTION that begins with `what` and says what is allowed */
  read(raw: Raw, what: string): V;
}

/** Settings by name. The name `memoryMax` is the key `memory-max`. */
export type Table = Readonly<Record<string, Setting<unknown>>>;
export type Values<T extends Table> = {
  readonly [K in keyof T]: T[K] extends Setting<infer V> ? V : never;
};

/** Names a key as the user writes it: `--nbd-tls-key` or `nbd.tls-key`. */
export type Namer = (key: string) => string;

/** A section of the configuration: `[nbd]` in the file, `--nbd-…` among the flags. */
export interface Section<T extends Table = Table> {
  /** Empty for the settings of the daemon itself, which stand before all sections. */
  readonly name: "" | "nbd" | "memcached" | "web";
  readonly title: string;
  readonly settings: T;
  /**
   * Checks settings that depend on each other.
   * @throws ZcacheError ERR_OPTION
   */
  check?(values: Values<T>, name: Namer): void;
}

type Given<F, V> = F extends undefined ? V | undefined : V;

export function notAllowed(what: string, raw: Raw, allowed: string): ZcacheError {
  const shown = typeof raw === "string" ? `"${raw}"` : JSON.stringify(raw);
  return new ZcacheError("ERR_OPTION", `${what}: ${shown} is not allowed; write ${allowed}`);
}

function value<V, F extends string | undefined>(
  hint: string,
  fallback: F,
  describe: string,
  read: (text: string, what: string) => V,
): Setting<Given<F, V>> {
  return {
    ...{ shape: "value", hint, describe, fallback },
    read: (raw, what) => {
      if (typeof raw !== "string" && typeof raw !== "number") {
        throw notAllowed(what, raw, hint === "n" ? "a number" : `one ${hint}`);
      }
      return read(String(raw), what) as Given<F, V>;
    },
  };
}

/** Bytes, or a number with K, M or G, in [min, max]. */
export function size<F extends string | undefined>(
  describe: string,
  fallback: F,
  { min = 1, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number } = {},
): Setting<Given<F, number>> {
  return value("size", fallback, describe, (text, what) => {
    const bytes = parseSizeIn(text, what, max);
    if (bytes < min) throw notAllowed(what, text, `at least ${min} bytes`);
    return bytes;
  });
}

/** As `size`, or per cent of the memory that this process may use, such as 25%. */
export function memory<F extends string | undefined>(
  describe: string,
  fallback: F,
  limits: { readonly min: number; readonly max: number },
): Setting<Given<F, number>> {
  const bytes = size(describe, fallback, limits);
  return {
    ...bytes,
    hint: "size|%",
    read: (raw, what) => {
      const percent = typeof raw === "string" ? /^([0-9.]+)%$/.exec(raw)?.[1] : undefined;
      if (percent === undefined) return bytes.read(raw, what);
      const part = Number(percent) / 100;
      if (!(part > 0 && part <= 1)) throw notAllowed(what, raw, "a size, or 1% to 100%");
      return bytes.read(Math.floor(machineMemory().bytes * part), what);
    },
  };
}

/** A number of shards, or auto. */
export function shards(describe: string): Setting<"auto" | number> {
  return value("n|auto", "auto", describe, (text, what) =>
    text === "auto" ? text : parseWhole(text, what, 1, SHARDS_MAX),
  );
}

export function whole<F extends string | undefined>(
  describe: string,
  fallback: F,
  [min, max]: readonly [number, number],
  hint = "n",
): Setting<Given<F, number>> {
  return value(hint, fallback, describe, (text, what) => parseWhole(text, what, min, max));
}

export function choice<const A extends string, F extends A | undefined>(
  describe: string,
  fallback: F,
  allowed: readonly A[],
  hint = "name",
): Setting<Given<F, A>> {
  return value(hint, fallback, `${describe}: ${allowed.join(", ")}`, (text, what) => {
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw notAllowed(what, text, `one of ${allowed.join(", ")}`);
  });
}

/** Text that is not empty. @param check throws for text that is not allowed */
export function text<F extends string | undefined>(
  hint: string,
  describe: string,
  fallback: F,
  check: (text: string, what: string) => void = () => {},
): Setting<Given<F, string>> {
  return value(hint, fallback, describe, (given, what) => {
    if (given === "") throw notAllowed(what, given, `a ${hint} that is not empty`);
    check(given, what);
    return given;
  });
}

/** A file mode in octal. In the file it is a string, because TOML reads 600 as decimal. */
export function mode(describe: string, fallback: string): Setting<number> {
  return {
    ...{ shape: "value", hint: "octal", describe, fallback },
    read: (raw, what) => {
      if (typeof raw === "string" && /^0?[0-7]{3}$/.test(raw)) return Number.parseInt(raw, 8);
      throw notAllowed(what, raw, 'three octal digits in quotes, such as "600"');
    },
  };
}

export function list<V>(
  hint: string,
  describe: string,
  readOne: (text: string, what: string) => V,
): Setting<readonly V[]> {
  return {
    ...{ shape: "list", hint, describe, fallback: [] },
    read: (raw, what) => {
      if (typeof raw === "boolean") throw notAllowed(what, raw, `one ${hint} or a list of them`);
      const all = typeof raw === "object" ? raw : [raw];
      return all.map((one) => readOne(String(one), what));
    },
  };
}

export function addresses(
  describe: string,
  defaultPort: number,
  prefixes: readonly string[] = [],
): Setting<readonly Address[]> {
  return list("host:port", describe, (one, what) => parseAddress(one, what, defaultPort, prefixes));
}

export function address(describe: string, fallback: string, defaultPort: number): Setting<Address> {
  return value("host:port", fallback, describe, (text, what) =>
    parseAddress(text, what, defaultPort),
  );
}

/** A path, or `false` by the flag `--no-…`; undefined if neither is given. */
export function pathOrOff(describe: string, off: string): Setting<string | false | undefined> {
  return {
    ...{ shape: "value", hint: "path", describe, off, fallback: undefined },
    read: (raw, what) => {
      if (raw === false || (typeof raw === "string" && raw !== "")) return raw;
      throw notAllowed(what, raw, "a path, or false for none");
    },
  };
}

export function toggle(
  describe: string,
  fallback: boolean,
  more: { readonly off?: string; readonly flag?: string } = {},
): Setting<boolean> {
  return {
    ...{ shape: "switch", hint: "", describe, fallback, ...more },
    read: (raw, what) => {
      if (typeof raw === "boolean") return raw;
      throw notAllowed(what, raw, "true or false");
    },
  };
}

/** The key of a setting's name: `memory-max` of `memoryMax`. */
export function keyOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
