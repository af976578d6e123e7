// `zcache replay`: runs a trace of allocations and frees on pools, and prints rows of CSV or JSON.

import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { printableJson } from "../base/printable.ts";
import { REPLAY_COLUMNS, Replay, type ReplayRow } from "../lab/replay.ts";
import { parseTraceLine } from "../lab/trace.ts";
import { ARENA_BYTES_MAX, Arena } from "../memory/arena.ts";
import { createPool, findPoolDriver } from "../pool/registry.ts";
import { csvCell } from "./csv.ts";
import { eachLine } from "./lines.ts";
import { parseList, parsePageSize } from "./options.ts";
import { write } from "./output.ts";
import { summaryOf } from "./summaries.ts";

/** Output is written in pieces of about this many characters. */
const FLUSH_CHARS = 1 << 16;

interface ReplayArgs {
  readonly pool: string;
  readonly pageSize: string;
  readonly json?: true;
}

/** Collects rows and writes them to stdout. */
class RowWriter {
  readonly #json: boolean;
  #text = "";
  #rows = 0;

  constructor(json: boolean) {
    this.#json = json;
    this.#text = json ? "[" : `${REPLAY_COLUMNS.join(",")}\n`;
  }

  add(row: ReplayRow): void {
    if (this.#json) this.#text += `${this.#rows > 0 ? "," : ""}\n${printableJson(row)}`;
    else this.#text += `${REPLAY_COLUMNS.map((column) => csvCell(row[column])).join(",")}\n`;
    this.#rows++;
  }

  async flush(): Promise<void> {
    if (this.#text.length >= FLUSH_CHARS) await this.#write();
  }

  /** Completes the output, also after an error in the trace: earlier rows stay valid. */
  async end(): Promise<void> {
    if (this.#json) this.#text += "\n]\n";
    await this.#write();
  }

  async #write(): Promise<void> {
    const text = this.#text;
    this.#text = "";
    await write(text);
  }
}

async function replayOne(name: string, path: string, pageSize: number, rows: RowWriter) {
  using arena = Arena.create({ sizeBytes: ARENA_BYTES_MAX, pageSize });
  const pool = createPool(name, arena);
  const replay = new Replay(pool, name, (row) => rows.add(row));
  await eachLine(
    path,
    (text, line) => {
      const step = parseTraceLine(text, line);
      if (step !== undefined) replay.step(step, line);
    },
    () => rows.flush(),
  );
  replay.end();
  pool.destroy();
}

async function run(path: string, args: ReplayArgs): Promise<void> {
  const names = parseList(args.pool, "--pool");
  for (const name of names) findPoolDriver(name);
  const pageSize = parsePageSize(args.pageSize);
  const rows = new RowWriter(args.json === true);
  try {
    for (const name of names) await replayOne(name, path, pageSize, rows);
  } catch (error) {
    if (!(error instanceof ZcacheError) || error.code !== "ERR_TRACE") throw error;
    throw new ZcacheError("ERR_TRACE", `${path}: ${error.message}`, { cause: error });
  } finally {
    await rows.end();
  }
}

export function replayCommand(): Command {
  return new Command("replay")
    .description(summaryOf("replay"))
    .argument("<trace>", "CSV file with lines a,SLOT,SIZE and f,SLOT, and #phase NAME between them")
    .requiredOption("--pool <names>", "pools: NAME[,NAME…]; `zcache pools` lists them")
    .option("--page-size <size>", "size of a page frame: 4K, 8K, 16K, 32K or 64K", "4K")
    .option("--json", "print an array of objects instead of CSV")
    .action(run);
}
