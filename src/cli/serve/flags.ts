// Settings as flags. `zcache serve` has the flags of all sections, with the section as prefix
// (`--nbd-size`); a subcommand such as `zcache serve nbd` has those of one section without it
// (`--size`).
import { type Command, Option } from "commander";
import { type Entries, type Entry, pathOf } from "./config.ts";
import { keyOf, type Section, type Setting } from "./setting.ts";

export interface FlagStyle {
  /** Whether flags begin with the name of their section. */
  readonly prefixed: boolean;
}

/** The name of a flag without its dashes, such as `nbd-size`. */
export function flagName(section: Section, key: string, { prefixed }: FlagStyle): string {
  const setting = Object.entries(section.settings).find(([name]) => keyOf(name) === key)?.[1];
  if (setting?.flag !== undefined) return setting.flag;
  return prefixed && section.name !== "" ? `${section.name}-${key}` : key;
}

/** A command that starts one service by name has no flag to switch that service off. */
function hasFlag(key: string, { prefixed }: FlagStyle): boolean {
  return prefixed || key !== "enabled";
}

export function addFlags(command: Command, section: Section, style: FlagStyle): void {
  for (const [name, setting] of Object.entries(section.settings)) {
    const key = keyOf(name);
    if (!hasFlag(key, style)) continue;
    for (const option of optionsOf(flagName(section, key, style), setting)) {
      command.addOption(option);
    }
  }
}

function optionsOf(flag: string, setting: Setting<unknown>): Option[] {
  const { shape, hint, describe, fallback, off } = setting;
  if (shape === "switch") {
    const isOn = fallback === true;
    const on = new Option(`--${flag}`, describe);
    const no = new Option(`--no-${flag}`, off ?? `not: ${describe}`);
    // Both forms exist, so that a flag can override the file in either direction.
    return [on.hideHelp(isOn), no.hideHelp(!isOn)];
  }
  const byDefault = fallback === undefined || shape === "list" ? "" : ` (default: ${fallback})`;
  const more = shape === "list" ? "; may be repeated" : "";
  const option = new Option(`--${flag} <${hint}>`, `${describe}${more}${byDefault}`);
  if (shape === "list") {
    option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  }
  return off === undefined ? [option] : [option, new Option(`--no-${flag}`, off)];
}

/** The entries that the flags of a section give. */
export function flagEntries(command: Command, section: Section, style: FlagStyle): Entries {
  const entries = new Map<string, Entry>();
  for (const name of Object.keys(section.settings)) {
    const key = keyOf(name);
    if (!hasFlag(key, style)) continue;
    const flag = flagName(section, key, style);
    const attribute = new Option(`--${flag}`).attributeName();
    if (command.getOptionValueSource(attribute) !== "cli") continue;
    const raw = command.getOptionValue(attribute);
    entries.set(pathOf(section, key), { raw, name: `--${flag}`, where: "" });
  }
  return entries;
}
