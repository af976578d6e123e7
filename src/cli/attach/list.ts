// `zcache list`: the attached devices, in the form of zramctl.

import { Command } from "commander";
import { ZcacheError } from "../../base/errors.ts";
import { complain } from "../exit.ts";
import { write, writeJson } from "../output.ts";
import { summaryOf } from "../summaries.ts";
import {
  ALL_COLUMNS,
  DEFAULT_COLUMNS,
  describeColumns,
  jsonOf,
  parseColumns,
  tableOf,
} from "./columns.ts";
import type { Context } from "./context.ts";
import { findDevice } from "./detach_device.ts";
import { figuresOf } from "./device_figures.ts";
import { LinuxMachine } from "./linux.ts";
import { type Attached, StateFolder } from "./state.ts";

interface Args {
  readonly bytes?: true;
  readonly json?: true;
  readonly noheadings?: true;
  readonly output?: string;
  readonly outputAll?: true;
  readonly raw?: true;
}

/** The state files that can be read; the others are reported. */
function recordsOf({ states, warn }: Context, ids: readonly string[]): Attached[] {
  return ids.flatMap((id) => {
    try {
      return states.read(id) ?? [];
    } catch (error) {
      if (!(error instanceof ZcacheError)) throw error;
      warn(`warning: ${error.message}`);
      return [];
    }
  });
}

async function list(names: readonly string[], args: Args): Promise<void> {
  const columns = args.outputAll
    ? ALL_COLUMNS
    : args.output === undefined
      ? DEFAULT_COLUMNS
      : parseColumns(args.output);
  const context: Context = {
    machine: new LinuxMachine(),
    states: new StateFolder(),
    signal: undefined,
    warn: complain,
  };
  const ids =
    names.length === 0
      ? context.states.ids()
      : [...new Set(names.map((name) => findDevice(context, name)))];
  const records = recordsOf(context, ids);
  const devices = await Promise.all(records.map((record) => figuresOf(context, record)));
  const bytes = args.bytes === true;
  if (args.json) return writeJson(jsonOf(devices, { columns, bytes }));
  const style = { columns, bytes, headings: args.noheadings !== true, raw: args.raw === true };
  return write(tableOf(devices, style));
}

export function listCommand(): Command {
  return new Command("list")
    .description(summaryOf("list"))
    .argument("[device...]", "only these: block device, mount point or ID")
    .option("-b, --bytes", "print sizes in bytes")
    .option("-J, --json", "print JSON")
    .option("-n, --noheadings", "do not print headings")
    .option("-o, --output <columns>", "columns to print, or +COLUMN for one more")
    .option("--output-all", "print all columns")
    .option("-r, --raw", "separate columns by one space")
    .addHelpText("after", describeColumns)
    .action(list);
}
