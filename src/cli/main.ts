#!/usr/bin/env node
// The command line: which commands there are, and how the program ends.
import { createRequire } from "node:module";
import { Command } from "commander";
import { analyzeCommand } from "./analyze.ts";
import { ctlCommand, statsCommand } from "./ctl.ts";
import { reportError } from "./exit.ts";
import { codecsCommand, poolsCommand } from "./lists.ts";
import { quietOnClosedPipe } from "./output.ts";
import { replayCommand } from "./replay.ts";
import { serveCommand } from "./serve/serve.ts";
import { simulateCommand } from "./simulate.ts";
import { topCommand } from "./top.ts";

/**
 * The package's own description; it refers to itself by name, so built and unbuilt both find it.
 */
const { version } = createRequire(import.meta.url)("zcache/package.json") as { version: string };

function program(): Command {
  const root = new Command("zcache")
    .description("compressed memory for user space: measure it, replay it, serve it")
    .version(version, "-V, --version")
    // `serve` and its subcommands have flags of the same name: each reads those after its own.
    .enablePositionalOptions()
    .configureOutput({ outputError: (text, out) => out(text.replace(/^error:/, "zcache:")) });
  for (const command of [
    analyzeCommand(version),
    replayCommand(),
    simulateCommand(version),
    ctlCommand(),
    statsCommand(),
    codecsCommand(),
    poolsCommand(),
    serveCommand(version),
    topCommand(),
  ]) {
    root.addCommand(command);
  }
  inherit(root);
  return root;
}

/** Subcommands of subcommands too end by an error that is caught here. */
function inherit(command: Command): void {
  command.exitOverride();
  for (const sub of command.commands) inherit(sub.copyInheritedSettings(command));
}

quietOnClosedPipe();
try {
  await program().parseAsync();
} catch (error) {
  process.exitCode = reportError(error);
}
