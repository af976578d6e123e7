// The configuration file: TOML with the sections and keys of settings.ts. Any other key is an
// error.
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { parse, TomlError } from "smol-toml";
import { ZcacheError } from "../../base/errors.ts";
import { nearest } from "../../base/option_names.ts";
import { type Entries, type Entry, pathOf } from "./config.ts";
import { keyOf, type Raw, type Section } from "./setting.ts";
import { DAEMON_SECTION, SECTIONS } from "./settings.ts";

/** A file with every key and long comments has about ten kilobytes. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * @throws ZcacheError ERR_INPUT if the file can't be read; ERR_OPTION, with the line number, if it
 *   is not TOML or has an unknown key
 */
export function readConfigFile(path: string): Entries {
  let text: string;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) throw new Error("it is larger than 1 MiB");
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ZcacheError("ERR_INPUT", `--config ${path}: ${(cause as Error).message}`, { cause });
  }
  return parseConfig(text, basename(path));
}

/** @param file the name of the file, for error texts */
export function parseConfig(text: string, file: string): Entries {
  const entries = new Map<string, Entry>();
  const where = (section: string, key: string) => {
    const line = lineOf(text, section, key);
    return line === undefined ? `${file}: ` : `${file}:${line}: `;
  };
  const add = (section: Section, table: readonly (readonly [string, unknown])[]) => {
    const known = Object.keys(section.settings).map(keyOf);
    for (const [key, value] of table) {
      const name = pathOf(section, key);
      const place = where(section.name, key);
      if (!known.includes(key)) throw unknownKey(`${place}${name}`, key, known);
      entries.set(name, { raw: rawOf(value, `${place}${name}`), name, where: place });
    }
  };
  const own: [string, unknown][] = [];
  for (const [key, value] of Object.entries(parseToml(text, file))) {
    const section = SECTIONS.find((one) => one.name === key && key !== "");
    if (section === undefined) {
      if (isTable(value)) throw unknownSection(`${where(key, "")}[${key}]`, key);
      own.push([key, value]);
    } else if (isTable(value)) add(section, Object.entries(value));
    else
      throw new ZcacheError("ERR_OPTION", `${where("", key)}${key} is a section; write [${key}]`);
  }
  add(DAEMON_SECTION, own);
  return entries;
}

function parseToml(text: string, file: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The further lines of the message quote the place, which line and column already name.
    const [first = ""] = cause.message.replace(/^Invalid TOML document: /, "").split("\n");
    const { line, column } = cause;
    throw new ZcacheError("ERR_OPTION", `${file}:${line}:${column}: not TOML: ${first}`, { cause });
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return !(value instanceof Date);
}

function rawOf(value: unknown, what: string): Raw {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    return value;
  }
  const isList = Array.isArray(value);
  if (isList && value.every((one) => typeof one === "string" || typeof one === "number")) {
    return value;
  }
  throw new ZcacheError(
    "ERR_OPTION",
    `${what}: ${isList ? "this list" : "this kind of value"} is not allowed; write a string, a \
number, true or false, or a list of strings`,
  );
}

function unknownKey(what: string, key: string, known: readonly string[]): ZcacheError {
  const meant = nearest(key, known);
  const hint = meant === undefined ? `known are ${known.join(", ")}` : `did you mean ${meant}?`;
  return new ZcacheError("ERR_OPTION", `${what}: unknown key; ${hint}`);
}

function unknownSection(what: string, name: string): ZcacheError {
  const known = SECTIONS.flatMap((section) => (section.name === "" ? [] : [section.name]));
  const meant = nearest(name, known);
  const hint = meant === undefined ? `known are ${known.join(", ")}` : `did you mean [${meant}]?`;
  return new ZcacheError("ERR_OPTION", `${what}: unknown section; ${hint}`);
}

/**
 * The line of a key, or of the header of a section for the key "". The parser reports lines only
 * for syntax errors. Undefined for unusual notations, such as an inline table.
 */
function lineOf(text: string, section: string, key: string): number | undefined {
  let inside = "";
  const lines = text.split("\n");
  for (const [index, line] of lines.entries()) {
    const header = /^\s*\[\s*["']?([^\]"']*?)["']?\s*\]/.exec(line)?.[1];
    if (header !== undefined) inside = header;
    if (header !== undefined && key === "" && header === section) return index + 1;
    const name = /^\s*([\w."'-]+)\s*=/.exec(line)?.[1]?.replace(/["']/g, "");
    if (name === undefined || key === "") continue;
    if (inside === section && name === key) return index + 1;
    if (inside === "" && section !== "" && name === `${section}.${key}`) return index + 1;
  }
  return undefined;
}
