// A configuration as text of a file: the commented example with all defaults
// (`--print-example`), and the settings in force (`--print-config`).
import { type Config, pathOf } from "./config.ts";
import { keyOf, type Raw, type Section } from "./setting.ts";
import { SECTIONS } from "./settings.ts";

const WIDTH = 98;

/**
 * The example: every key as a comment, with its default, or with a placeholder if it has none.
 * @param head lines at the top of the file
 */
export function exampleConfig(head: readonly string[]): string {
  const lines = head.map((line) => `# ${line}`.trimEnd());
  for (const section of SECTIONS) {
    lines.push("", `# ${section.title}`, ...(section.name === "" ? [] : [`[${section.name}]`]));
    for (const [name, { describe, hint, shape, fallback }] of Object.entries(section.settings)) {
      lines.push("", ...wrap(`${describe}${shape === "list" ? "; a string or a list" : ""}`));
      lines.push(`# ${keyOf(name)} = ${byDefault(hint, fallback)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function byDefault(hint: string, fallback: Raw | undefined): string {
  if (fallback === undefined) return `"<${hint}>"`;
  return hint === "octal" ? JSON.stringify(fallback) : toml(fallback);
}

/** A file that gives exactly this configuration. */
export function configText(config: Config): string {
  const lines = SECTIONS.flatMap((section) => {
    const values = config[section.name === "" ? "daemon" : section.name];
    const set = Object.entries(values).flatMap(([name, value]) => {
      const text = written(section, name, value);
      return text === undefined ? [] : [`${keyOf(name)} = ${text}`];
    });
    return section.name === "" ? set : ["", `[${section.name}]`, ...set];
  });
  return `${lines.join("\n").replace(/^\n/, "")}\n`;
}

/** A value in the notation that its setting reads; undefined if it is not set. */
function written(section: Section, name: string, value: unknown): string | undefined {
  const { hint } = section.settings[name]!;
  if (value === undefined) return undefined;
  // In quotes, because TOML reads 600 as a decimal number.
  if (hint === "octal") return JSON.stringify((value as number).toString(8));
  return toml(asRaw(value));
}

/** Turns a value that a setting has read back into one that it reads. */
export function asRaw(value: unknown): Raw {
  if (Array.isArray(value)) return value.map((one) => String(asRaw(one)));
  if (typeof value !== "object" || value === null) return value as Raw;
  if ("port" in value && "host" in value && "prefix" in value) {
    const { host, port, prefix } = value;
    const name = String(host).includes(":") ? `[${host}]` : host;
    return `${prefix === "" ? "" : `${prefix}:`}${name}:${port}`;
  }
  if ("name" in value && "sizeBytes" in value) return `${value.name}=${value.sizeBytes}`;
  throw new TypeError(`no setting has such a value: ${JSON.stringify(value)}`);
}

function toml(raw: Raw): string {
  if (typeof raw === "object") return `[${raw.map(toml).join(", ")}]`;
  if (typeof raw === "string" && /^\d{1,15}$/.test(raw)) return raw;
  return JSON.stringify(raw);
}

function wrap(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1)!.length + word.length + 1 > WIDTH - 2) lines.push("");
    lines.push(`${lines.pop()} ${word}`);
  }
  return lines.map((line) => `#${line}`);
}

/** The paths of all keys, for the tables in the documentation. */
export function allKeys(): string[] {
  return SECTIONS.flatMap((section) =>
    Object.keys(section.settings).map((name) => pathOf(section, keyOf(name))),
  );
}
