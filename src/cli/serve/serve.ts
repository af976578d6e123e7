// `zcache serve`: all services in one process. `zcache serve memcached` and `zcache serve nbd`
// start one of them. Each command takes its settings (settings.ts) as flags and from a file.
//
//   setting, settings, readers   kinds of settings, the tables, readers of values
//   flags, config_file           settings from the command line and from TOML
//   memcached_flags              `zcache memcached`, with memcached's own flags
//   config, config_text          both merged and checked; printed as a file
//   daemon, reload               signals, start and end; changes at SIGHUP
//   service                      the interface of a service
//   nbd, memcached, web          the services; each is loaded only if it runs
//   address                      TCP addresses

import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { write } from "../output.ts";
import { summaryOf } from "../summaries.ts";
import { type Config, type Entries, resolveConfig } from "./config.ts";
import { configText, exampleConfig } from "./config_text.ts";
import type { Scope } from "./daemon.ts";
import { addFlags, flagEntries, flagName } from "./flags.ts";
import type { Section } from "./setting.ts";
import { DAEMON_SECTION, devicesOf, MEMCACHED_SECTION, NBD_SECTION, SECTIONS } from "./settings.ts";

const SCOPES: Readonly<
  Record<Scope, { readonly describe: string; readonly sections: readonly Section[] }>
> = {
  all: {
    describe: summaryOf("serve"),
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

/** The first lines of the output of `--print-example`, which is also `contrib/zcache.toml`. */
const EXAMPLE_HEAD = [
  "Configuration of zcache, for `zcache serve --config FILE`. The file lists every key with its",
  "default; remove the `# ` before a key to change it. Flags override this file, --check-config",
  "checks it, and SIGHUP makes a daemon read it again. Made by `zcache serve --print-example`.",
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
    .option("--config <file>", "read settings from a TOML file; flags override it")
    .option("--check-config", "check flags and file, and exit")
    .option("--print-config", "print the resulting settings as a TOML file, and exit")
    .option("--print-example", "print a TOML file with all keys explained, and exit");
  for (const section of sections) addFlags(command, section, style);
  /** A function that reads the configuration anew with each call. */
  const loader = async (): Promise<() => Config> => {
    const { config: path } = command.opts<FileArgs>();
    if (path === undefined) return () => load();
    // The TOML parser is loaded only if there is a file.
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
      // `enabled` is on by default, without any device. Set explicitly, it needs a device.
      const asked = layers.map((layer) => layer.get("nbd.enabled")).find((one) => one);
      if (scope === "all" && asked?.raw === true) {
        const name = `${asked.where}${asked.name}`;
        const how = "give --nbd-size SIZE, or --nbd-export NAME=SIZE, or both";
        throw new ZcacheError("ERR_OPTION", `${name}: no device is configured; ${how}`);
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
      return write(`${args.config ?? "the command line"} is valid\n`);
    }
    const { Daemon } = await import("./daemon.ts");
    return Daemon.run({ scope, version, load: read });
  });
}

/** Refuses `zcache serve --config x nbd`: the flag belongs to `serve`, which does not run then. */
function refuseFlagsBefore(command: Command): void {
  const { parent } = command;
  if (parent?.parent === undefined || parent?.parent === null) return;
  for (const option of parent.options) {
    const attribute = option.attributeName();
    if (parent.getOptionValueSource(attribute) !== "cli") continue;
    // `--x` and `--no-x` share an attribute: report the one that was given.
    if (option.negate !== (parent.getOptionValue(attribute) === false)) continue;
    const name = command.name();
    throw new ZcacheError(
      "ERR_OPTION",
      `${option.long}: write flags of \`zcache serve ${name}\` after "${name}"`,
    );
  }
}

export function serveCommand(version: string): Command {
  return commandFor("all", version, "serve")
    .addCommand(commandFor("memcached", version, "memcached"))
    .addCommand(commandFor("nbd", version, "nbd"));
}
