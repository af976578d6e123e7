#!/usr/bin/env node
// The command line: which commands there are, and how the program ends.
//
// Of a command that is named, only its own code is loaded: a server, which runs for months, would
// otherwise hold that of all others.
import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";
import { Command } from "commander";
import { printableLines } from "../base/printable.ts";
import { reportError } from "./exit.ts";
import { watchOutput } from "./output.ts";

/**
 * The package's own description; it refers to itself by name, so built and unbuilt both find it.
 */
const { version } = createRequire(import.meta.url)("zcache/package.json") as { version: string };

/** Every command, in the order of the help. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  analyze: async () => (await import("./analyze.ts")).analyzeCommand(version),
  replay: async () => (await import("./replay.ts")).replayCommand(),
  simulate: async () => (await import("./simulate.ts")).simulateCommand(version),
  ctl: async () => (await import("./ctl.ts")).ctlCommand(),
  stats: async () => (await import("./ctl.ts")).statsCommand(),
  codecs: async () => (await import("./lists.ts")).codecsCommand(),
  pools: async () => (await import("./lists.ts")).poolsCommand(),
  serve: async () => {
    // Before a server's code is loaded, which is most of what its heap will have.
    keepHeapSmall();
    return (await import("./serve/serve.ts")).serveCommand(version);
  },
  top: async () => (await import("./top.ts")).topCommand(),
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

/** The command that the first word names; all where it names none: for help, or what is meant. */
async function commandsFor(word = ""): Promise<Command[]> {
  const names = Object.hasOwn(COMMANDS, word) ? [word] : Object.keys(COMMANDS);
  return Promise.all(names.map((name) => COMMANDS[name]!()));
}

async function program(): Promise<Command> {
  const root = new Command("zcache")
    .description("compressed memory for user space: measure it, replay it, serve it")
    .version(version, "-V, --version")
    // `serve` and its subcommands have flags of the same name: each reads those after its own.
    .enablePositionalOptions()
    .configureOutput({
      outputError: (text, out) => out(printableLines(text.replace(/^error:/, "zcache:"))),
    });
  for (const command of await commandsFor(process.argv[2])) root.addCommand(command);
  inherit(root);
  return root;
}

/** Subcommands of subcommands too end by an error that is caught here. */
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
