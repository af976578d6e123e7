// `zcache serve`: what is served, one subcommand for each.
import { Command } from "commander";
import { serveMemcachedCommand } from "./memcached.ts";
import { serveNbdCommand } from "./nbd.ts";

export function serveCommand(): Command {
  return new Command("serve")
    .description("serve compressed memory to clients of other protocols")
    .addCommand(serveMemcachedCommand())
    .addCommand(serveNbdCommand());
}
