// The kinds of settings that a daemon has. Each setting is written in one place, with its default
// and what is allowed; flags, the file, `--print-config` and the errors are made of that.
import { ZcacheError } from "../../base/errors.ts";
import { parseSizeIn, parseWhole } from "../options.ts";
import { type Address, parseAddress } from "./address.ts";

/** A value as somebody has written it: in a flag, or in the file, whose numbers are numbers. */
export type Raw = string | number | boolean | readonly (string | number)[];

export interface Setting<V> {
  /** "switch": on or off; "list": a flag that may stand there several times. */
  readonly shape: "value" | "switch" | "list";
  /** What stands for the value in the help. */
  readonly hint: string;
  readonly describe: string;
  /** As it would be written; undefined: there is none. */
  readonly fallback: Raw | undefined;
  /** A value that can also be switched off, by `--no-…`. */
  readonly canBeOff?: boolean;
  /** Of a switch that is on: what it does to switch it off. */
  readonly off?: string;
  /** The flag, if it is not the key: `--no-web` reads better than `--no-web-enabled`. */
  readonly flag?: string;
  /** @throws ZcacheError ERR_OPTION that begins with `what` and says what is allowed */
  read(raw: Raw, what: string): V;
}

/** Settings by name: `memoryMax` here is `memory-max` to people. */
export type Table = Readonly<Record<string, Setting<unknown>>>;
export type Values<T extends Table> = {
  readonly [K in keyof T]: T[K] extends Setting<infer V> ? V : never;
};

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
        throw notAllowed(what, raw, `one value, a ${hint}`);
      }
      return read(String(raw), what) as Given<F, V>;
    },
  };
}

/** Bytes, or a number with K, M, G; in [min, max]. */
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

/** Text that is taken as it is, or as `check` likes it. */
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

/** Who may open a file, in octal. In the file a string, because TOML's 600 is not octal. */
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
      if (typeof raw === "boolean") throw notAllowed(what, raw, `one or more ${hint}s`);
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

/** A path; or `false`, by the flag `--no-…`. Undefined: nobody has said anything. */
export function pathOrOff(describe: string): Setting<string | false | undefined> {
  return {
    ...{ shape: "value", hint: "path", describe, fallback: undefined, canBeOff: true },
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

/** `memoryMax` as people write it: `memory-max`. */
export function keyOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
