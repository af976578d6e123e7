// The settings as flags: of one section without its name (`zcache serve nbd --size`), of all with
// it (`zcache serve --nbd-size`).
import { type Command, Option } from "commander";
import { type Entries, type Entry, pathOf } from "./config.ts";
import type { Section } from "./section.ts";
import { keyOf, type Setting } from "./setting.ts";

export interface FlagStyle {
  /** Whether a flag begins with the name of its section. */
  readonly prefixed: boolean;
}

/** Such as `nbd-size`, without the dashes. */
export function flagName(section: Section, key: string, { prefixed }: FlagStyle): string {
  const setting = Object.entries(section.settings).find(([name]) => keyOf(name) === key)?.[1];
  if (setting?.flag !== undefined) return setting.flag;
  return prefixed && section.name !== "" ? `${section.name}-${key}` : key;
}

/** Who starts one service by name has no flag to switch it off. */
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
    // The other way round is there too: a flag wins against the file.
    return [on.hideHelp(isOn), no.hideHelp(!isOn)];
  }
  const byDefault = fallback === undefined || shape === "list" ? "" : ` (default: ${fallback})`;
  const more = shape === "list" ? "; may be repeated" : "";
  const option = new Option(`--${flag} <${hint}>`, `${describe}${more}${byDefault}`);
  if (shape === "list") {
    option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  }
  return setting.canBeOff === true ? [option, new Option(`--no-${flag}`, "none")] : [option];
}

/** What the flags of a section say. */
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
