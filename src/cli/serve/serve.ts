// `zcache serve`: everything that one machine needs, or one service of it by name. All take their
// settings from the same tables, as flags and from a file.
import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { write } from "../output.ts";
import { type Config, type Entries, resolveConfig } from "./config.ts";
import { configText, exampleConfig } from "./config_text.ts";
import type { Scope } from "./daemon.ts";
import { addFlags, flagEntries, flagName } from "./flags.ts";
import { devicesOf } from "./nbd_settings.ts";
import type { Section } from "./section.ts";
import { DAEMON_SECTION, MEMCACHED_SECTION, NBD_SECTION, SECTIONS } from "./sections.ts";

const SCOPES: Readonly<
  Record<Scope, { readonly describe: string; readonly sections: readonly Section[] }>
> = {
  all: {
    describe: "serve memcached, block devices if --nbd-size is given, and a web page",
    sections: SECTIONS,
  },
  nbd: {
    describe: "serve compressed block devices (zram) to NBD clients",
    sections: [NBD_SECTION, DAEMON_SECTION],
  },
  memcached: {
    describe: "serve the memcached protocol: text, meta and binary",
    sections: [MEMCACHED_SECTION, DAEMON_SECTION],
  },
};

/** The head of what `--print-example` prints, which is `contrib/zcache.toml` too. */
const EXAMPLE_HEAD = [
  "Configuration of zcache: `zcache serve --config FILE`. Every key with its default; take away",
  "the `# ` before those that you change. Flags win against the file, --check-config checks it,",
  "and SIGHUP reads it again. Made by `zcache serve --print-example`.",
];

interface FileArgs {
  readonly config?: string;
  readonly checkConfig?: true;
  readonly printConfig?: true;
  readonly printExample?: true;
}

function commandFor(scope: Scope, version: string, name: string): Command {
  const { describe, sections } = SCOPES[scope];
  const style = { prefixed: scope === "all" };
  const command = new Command(name)
    .description(describe)
    .option("--config <file>", "settings from a TOML file; flags win against it")
    .option("--check-config", "check flags and file, start nothing")
    .option("--print-config", "print the settings in force as a file, start nothing")
    .option("--print-example", "print a file with all keys, their defaults and what they mean");
  for (const section of sections) addFlags(command, section, style);
  /** The configuration, read anew each time that it is asked for. */
  const loader = async (): Promise<() => Config> => {
    const { config: path } = command.opts<FileArgs>();
    if (path === undefined) return () => load();
    // What reads TOML is loaded by who has a file of it.
    const { readConfigFile } = await import("./config_file.ts");
    return () => load(readConfigFile(path));
  };
  const load = (file?: Entries): Config => {
    const flags: Entries = new Map(
      sections.flatMap((section) => [...flagEntries(command, section, style)]),
    );
    const layers = file === undefined ? [flags] : [flags, file];
    const config = resolveConfig(layers, (section, key) => `--${flagName(section, key, style)}`);
    if (devicesOf(config.nbd).length === 0) {
      if (scope === "nbd") {
        throw new ZcacheError("ERR_OPTION", "give --size SIZE, or --export NAME=SIZE, or both");
      }
      // By default block devices are on, and there are none; who says so wants some.
      const asked = layers.map((layer) => layer.get("nbd.enabled")).find((one) => one);
      if (scope === "all" && asked?.raw === true) {
        const name = `${asked.where}${asked.name}`;
        const how = "give --nbd-size SIZE, or --nbd-export NAME=SIZE, or both";
        throw new ZcacheError("ERR_OPTION", `${name}: which size? ${how}`);
      }
    }
    return config;
  };
  return command.action(async (args: FileArgs) => {
    refuseFlagsBefore(command);
    if (args.printExample) return write(exampleConfig(EXAMPLE_HEAD));
    const read = await loader();
    if (args.printConfig) return write(configText(read()));
    if (args.checkConfig) {
      read();
      return write(`${args.config ?? "the command line"} is good\n`);
    }
    const { Daemon } = await import("./daemon.ts");
    return Daemon.run({ scope, version, load: read });
  });
}

/** `zcache serve --config x nbd`: the flag belongs to `serve`, which does not run then. */
function refuseFlagsBefore(command: Command): void {
  const { parent } = command;
  if (parent?.parent === undefined || parent?.parent === null) return;
  for (const option of parent.options) {
    const attribute = option.attributeName();
    if (parent.getOptionValueSource(attribute) !== "cli") continue;
    // Of the two of a switch, the one that stands there.
    if (option.negate !== (parent.getOptionValue(attribute) === false)) continue;
    const name = command.name();
    throw new ZcacheError(
      "ERR_OPTION",
      `${option.long}: flags of \`zcache serve ${name}\` stand after "${name}"`,
    );
  }
}

export function serveCommand(version: string): Command {
  return commandFor("all", version, "serve")
    .addCommand(commandFor("memcached", version, "memcached"))
    .addCommand(commandFor("nbd", version, "nbd"));
}
