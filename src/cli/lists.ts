// `zcache codecs` and `zcache pools`: lists of the codecs and pools to choose from.

import { Command } from "commander";
import { alignTable } from "../lab/report/text.ts";
import { nodeCodecs } from "../node/codecs.ts";
import { findPoolDriver, poolTypes } from "../pool/registry.ts";
import { write, writeJson } from "./output.ts";
import { summaryOf } from "./summaries.ts";

interface ListArgs {
  readonly json?: true;
}

async function print(rows: readonly object[], head: readonly string[], args: ListArgs) {
  if (args.json) return writeJson(rows);
  const cells = rows.map((row) => Object.values(row).map(String));
  return write(`${alignTable({ head, rows: cells, names: head.length }).join("\n")}\n`);
}

export function codecsCommand(): Command {
  return new Command("codecs")
    .description(summaryOf("codecs"))
    .option("--json", "print JSON")
    .action(async (args: ListArgs) => {
      const rows = (await nodeCodecs()).list().map((one) => ({
        codec: one.name,
        available: one.available,
        detail: one.available ? one.implementation : `${one.reason}; ${one.remedy}`,
      }));
      return print(rows, ["codec", "available", "implementation, or reason"], args);
    });
}

export function poolsCommand(): Command {
  return new Command("pools")
    .description(summaryOf("pools"))
    .option("--json", "print JSON")
    .action((args: ListArgs) => {
      const rows = poolTypes(true).map((type) => {
        const { variant = false, aliases = [], summary } = findPoolDriver(type);
        return { pool: type, by_default: !variant, aliases: aliases.join(" "), summary };
      });
      return print(rows, ["pool", "by default", "also called", "summary"], args);
    });
}
