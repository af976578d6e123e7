#!/usr/bin/env node
// The command line of zcache: its commands and the exit of the program.
//
//   analyze, replay, simulate   measure compression; run traces on pools and on eviction policies
//   serve/                      the daemon
//   attach/                     `attach`, `detach` and `list`: block devices of this machine
//   ctl, top                    `ctl`, `stats` and `top`: read and set a running daemon
//   lists                       `codecs` and `pools`
//   options, lines, progress    option values, text files by line, the progress bar
//   output, csv, exit           stdout and files, CSV, exit codes and error lines
//
// Only the code of the command that is named is loaded, because a server that runs for months would
// otherwise keep the code of all others in memory.
import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";
import { Command } from "commander";
import { printableLines } from "../base/printable.ts";
import { reportError } from "./exit.ts";
import { watchOutput } from "./output.ts";
import { type CommandName, SUMMARIES } from "./summaries.ts";

/**
 * The version of the package. The package imports itself by name, which works built and unbuilt.
 */
const { version } = createRequire(import.meta.url)("zcache/package.json") as { version: string };

/** Every command, in the order of the help. */
const COMMANDS: Readonly<Record<CommandName, () => Promise<Command>>> = {
  analyze: async () => (await import("./analyze.ts")).analyzeCommand(version),
  replay: async () => (await import("./replay.ts")).replayCommand(),
  simulate: async () => (await import("./simulate.ts")).simulateCommand(version),
  ctl: async () => (await import("./ctl.ts")).ctlCommand(),
  stats: async () => (await import("./ctl.ts")).statsCommand(),
  codecs: async () => (await import("./lists.ts")).codecsCommand(),
  pools: async () => (await import("./lists.ts")).poolsCommand(),
  serve: async () => {
    // Called before the server's code is loaded, because loading is the peak of its heap.
    keepHeapSmall();
    return (await import("./serve/serve.ts")).serveCommand(version);
  },
  memcached: async () => {
    keepHeapSmall();
    return (await import("./serve/memcached_flags.ts")).memcachedCommand(version);
  },
  top: async () => (await import("./top.ts")).topCommand(),
  attach: async () => (await import("./attach/attach.ts")).attachCommand(),
  detach: async () => (await import("./attach/detach.ts")).detachCommand(),
  list: async () => (await import("./attach/list.ts")).listCommand(),
};

/**
 * Keeps the heap small in all threads; an early call keeps it smaller.
 *
 * The young generation would grow to 32 MiB over time, whatever is in it. For a server with a limit
 * of 64 MiB that is half as much again, and collections would only be half as frequent.
 *
 * The old generation is collected when it has grown by a fifth, instead of to twice or three times
 * its live objects: ten thousand connections leave 8 MiB of dead ones. A server hardly adds to it,
 * so such collections stay rare.
 */
function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--heap-growing-percent=20");
}

/**
 * The command that the first word names, or all commands for suggestions. For nothing but the help,
 * what it says of them is enough.
 */
async function commandsFor([word = "", ...more]: readonly string[]): Promise<Command[]> {
  if (more.length === 0 && ["", "-h", "--help"].includes(word)) return summaries();
  const names = Object.keys(COMMANDS) as CommandName[];
  const named = names.filter((name) => name === word);
  return Promise.all((named.length > 0 ? named : names).map((name) => COMMANDS[name]()));
}

/** In the place of each command, what the help says of it. */
function summaries(): Command[] {
  return Object.entries(SUMMARIES).map(([name, [args, summary]]) => {
    // The help says of each command that it has options, and not which.
    const command = new Command(name).description(summary).option("--any");
    return args === "" ? command : command.argument(args);
  });
}

async function program(): Promise<Command> {
  const root = new Command("zcache")
    .description("compressed memory for user space: measure, simulate and serve it")
    .version(version, "-V, --version")
    // `serve` and its subcommands have flags of the same name; each takes those after its own name.
    .enablePositionalOptions()
    .configureOutput({
      outputError: (text, out) => out(printableLines(text.replace(/^error:/, "zcache:"))),
    });
  for (const command of await commandsFor(process.argv.slice(2))) root.addCommand(command);
  inherit(root);
  return root;
}

/** Makes all subcommands report errors by an exception, which is caught below. */
function inherit(command: Command): void {
  command.exitOverride();
  for (const sub of command.commands) inherit(sub.copyInheritedSettings(command));
}

watchOutput();
try {
  await (await program()).parseAsync();
} catch (error) {
  process.exitCode = reportError(error);
}
