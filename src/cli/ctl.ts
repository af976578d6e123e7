// `zcache ctl` and `zcache stats`: read and set the knobs of a running daemon, and read its
// statistics, through the control socket.

import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { printable, printableLines } from "../base/printable.ts";
import { alignTable } from "../lab/report/text.ts";
import { askControl, defaultControlPath } from "../monitor/control.ts";
import { write, writeJson } from "./output.ts";
import { summaryOf } from "./summaries.ts";

/** A command such as `recompress=type=idle` may go through all pages of large devices. */
const COMMAND_MS = 24 * 3600 * 1000;

interface Args {
  readonly socket: string;
  readonly json?: true;
}

async function control(words: readonly string[], { socket, json }: Args): Promise<void> {
  const sets = words.filter((word) => word.includes("="));
  if (sets.length > 0 && sets.length < words.length) {
    throw new ZcacheError("ERR_OPTION", "ctl: give either KEY or KEY=VALUE arguments, not both");
  }
  const pairs = sets.map((word) => {
    const at = word.indexOf("=");
    return [word.slice(0, at), word.slice(at + 1)] as const;
  });
  if (words.length === 0) {
    const all = (await askControl(socket, { list: true })) as Record<string, Listed>;
    if (json) return writeJson(all);
    const rows = Object.entries(all).map(([name, one]) => [
      name,
      one.writable ? "rw" : "r",
      printable(String(one.value)),
      printable(String(one.describe)),
    ]);
    const head = ["key", "", "value", "description"];
    return write(`${alignTable({ head, rows, names: head.length }).join("\n")}\n`);
  }
  const request = pairs.length > 0 ? { set: Object.fromEntries(pairs) } : { get: words };
  const isCommand = pairs.some(([, value]) => value.includes("="));
  const values = await askControl(socket, request, isCommand ? COMMAND_MS : undefined);
  if (json) return writeJson(values);
  return write(lines(values));
}

interface Listed {
  readonly value: string;
  readonly describe: string;
  readonly writable: boolean;
}

async function stats({ socket, json }: Args): Promise<void> {
  const all = await askControl(socket, { stats: true });
  return json ? writeJson(all) : write(lines(flat(all)));
}

function lines(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(([name, value]) => {
      const text = String(value);
      // The content of a file, which ends with its last line.
      if (text.endsWith("\n")) return `${printable(name)}=\n${printableLines(text)}`;
      return `${printable(`${name}=${text}`)}\n`;
    })
    .join("");
}

/** Flattens nested statistics into names with dots. */
function flat(values: Readonly<Record<string, unknown>>, before = ""): Record<string, unknown> {
  const all = Object.entries(values).flatMap(([name, value]) =>
    typeof value === "object" && value !== null
      ? Object.entries(flat(value as Record<string, unknown>, `${before}${name}.`))
      : [[`${before}${name}`, value] as const],
  );
  return Object.fromEntries(all);
}

export function ctlCommand(): Command {
  return new Command("ctl")
    .description(summaryOf("ctl"))
    .argument(
      "[keys...]",
      "KEY prints, KEY=VALUE changes; without any, lists all with descriptions",
    )
    .option("--socket <path>", "the daemon's control socket", defaultControlPath())
    .option("--json", "print JSON")
    .action(control);
}

export function statsCommand(): Command {
  return new Command("stats")
    .description(summaryOf("stats"))
    .option("--socket <path>", "the daemon's control socket", defaultControlPath())
    .option("--json", "print JSON")
    .action(stats);
}
