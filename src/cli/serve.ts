// `zcache serve`: the daemons, each a command of its own.
import { Command } from "commander";
import { serveNbdCommand } from "./serve_nbd.ts";

export function serveCommand(): Command {
  return new Command("serve")
    .description("serve compressed memory to clients of other programs")
    .addCommand(serveNbdCommand());
}
