// The configuration: what the flags and the file say, put together and checked. Flags win.
import type { DaemonValues } from "./daemon_settings.ts";
import type { MemcachedValues } from "./memcached_settings.ts";
import type { NbdValues } from "./nbd_settings.ts";
import type { Namer, Section } from "./section.ts";
import {
  DAEMON_SECTION,
  MEMCACHED_SECTION,
  NBD_SECTION,
  SECTIONS,
  WEB_SECTION,
} from "./sections.ts";
import { keyOf, type Raw, type Table, type Values } from "./setting.ts";
import type { WebValues } from "./web_settings.ts";

/** Something that was set, and where. */
export interface Entry {
  readonly raw: Raw;
  /** As somebody has written it: `--nbd-size`, or `nbd.size`. */
  readonly name: string;
  /** What an error begins with: `zcache.toml:7: ` or nothing. */
  readonly where: string;
}

/** By section and key, such as `nbd.memory-max`; those of the daemon itself without a section. */
export type Entries = ReadonlyMap<string, Entry>;

export interface Config {
  readonly daemon: DaemonValues;
  readonly memcached: MemcachedValues;
  readonly nbd: NbdValues;
  readonly web: WebValues;
}

/** The flag of a key, as `zcache serve` or one of its subcommands has it. */
export type FlagNamer = (section: Section, key: string) => string;

/** `nbd.size`; without a section for what belongs to the daemon itself. */
export function pathOf(section: Section, key: string): string {
  return section.name === "" ? key : `${section.name}.${key}`;
}

/**
 * Puts together what was set: each key is as the first of `layers` has it that has it.
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
    // Who uses the file for a section is told of its keys, everybody else of flags.
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

/** A setting that two configurations have differently. */
export interface Change {
  readonly section: Section["name"];
  /** In the table: `memoryMax`. */
  readonly name: string;
  /** As people write it: `nbd.memory-max`. */
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
