// The configuration: flags and the configuration file merged and checked. Flags override the file.
import { keyOf, type Namer, type Raw, type Section, type Table, type Values } from "./setting.ts";
import {
  DAEMON_SECTION,
  type DaemonValues,
  MEMCACHED_SECTION,
  type MemcachedValues,
  NBD_SECTION,
  type NbdValues,
  SECTIONS,
  WEB_SECTION,
  type WebValues,
} from "./settings.ts";

/** A setting that was given, and its origin. */
export interface Entry {
  readonly raw: Raw;
  /** The name as the user wrote it: `--nbd-size` or `nbd.size`. */
  readonly name: string;
  /** The prefix of an error text: `zcache.toml:7: ` for the file, "" for a flag. */
  readonly where: string;
}

/** Entries by path, such as `nbd.memory-max`; keys of the daemon itself have no section. */
export type Entries = ReadonlyMap<string, Entry>;

export interface Config {
  readonly daemon: DaemonValues;
  readonly memcached: MemcachedValues;
  readonly nbd: NbdValues;
  readonly web: WebValues;
}

/** Names the flag of a key; `zcache serve` and its subcommands have different flags. */
export type FlagNamer = (section: Section, key: string) => string;

/** The path of a key: `nbd.size`, or the key alone for the daemon itself. */
export function pathOf(section: Section, key: string): string {
  return section.name === "" ? key : `${section.name}.${key}`;
}

/**
 * Merges layers of entries: the first layer that has a key decides its value.
 * @throws ZcacheError ERR_OPTION that names the key, the value and what is allowed
 */
export function resolveConfig(layers: readonly Entries[], flagOf: FlagNamer): Config {
  const find = (path: string) => layers.map((layer) => layer.get(path)).find((one) => one);
  const read = <T extends Table>(section: Section<T>): Values<T> => {
    const values = Object.entries(section.settings).map(([name, setting]) => {
      const entry = find(pathOf(section, keyOf(name)));
      const raw = entry?.raw ?? setting.fallback;
      if (raw === undefined) return [name, undefined];
      return [name, setting.read(raw, `${entry?.where ?? ""}${entry?.name ?? keyOf(name)}`)];
    });
    const config = Object.fromEntries(values) as Values<T>;
    section.check?.(config, namer(section));
    return config;
  };
  const namer = (section: Section): Namer => {
    // An error names keys of the file if the file has this section, otherwise flags.
    const keys = Object.keys(section.settings).map(keyOf);
    const usesFile = keys.some((key) => find(pathOf(section, key))?.where);
    return (key) => {
      const entry = find(pathOf(section, key));
      return entry?.name ?? (usesFile ? pathOf(section, key) : flagOf(section, key));
    };
  };
  return {
    daemon: read(DAEMON_SECTION),
    memcached: read(MEMCACHED_SECTION),
    nbd: read(NBD_SECTION),
    web: read(WEB_SECTION),
  };
}

/** A setting whose value differs between two configurations. */
export interface Change {
  readonly section: Section["name"];
  /** The name in the table: `memoryMax`. */
  readonly name: string;
  /** The path in the file: `nbd.memory-max`. */
  readonly path: string;
  readonly value: unknown;
}

export function changesBetween(before: Config, after: Config): Change[] {
  return SECTIONS.flatMap((section) => {
    const part = section.name === "" ? "daemon" : section.name;
    const old = before[part] as Readonly<Record<string, unknown>>;
    return Object.entries(after[part])
      .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name]))
      .map(([name, value]) => ({
        section: section.name,
        name,
        path: pathOf(section, keyOf(name)),
        value,
      }));
  });
}
