// `zcache top`: live figures of a running daemon. On a terminal, one page is redrawn each second;
// in a pipe, one line for each service is added.
//
// The page uses the terminal's alternate screen, so the previous content is restored at the end,
// even after an error. That takes five control sequences, too few for a library.

import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import type { State } from "../dashboard/api.ts";
import { plural } from "../lab/report/format.ts";
import { askControl, defaultControlPath } from "../monitor/control.ts";
import { EXIT_SIGHUP, endOnSignals } from "./exit.ts";
import { write } from "./output.ts";
import { summaryOf } from "./summaries.ts";
import { pageLines, rowHead, rowLines } from "./top_view.ts";

interface Args {
  readonly socket: string;
  readonly interval: string;
  readonly once?: true;
}

const SECONDS_MIN = 0.1;
const SECONDS_MAX = 3600;
/** In a pipe, the heading is repeated after so many lines. */
const HEAD_EVERY = 40;

const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const REST_OF_LINE = "\x1b[K";
const REST_OF_PAGE = "\x1b[J";
const [BOLD, PLAIN] = ["\x1b[1m", "\x1b[0m"];
const CTRL_C = "\x03";

function intervalMs(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= SECONDS_MIN && seconds <= SECONDS_MAX) return seconds * 1000;
  throw new ZcacheError(
    "ERR_OPTION",
    `--interval: "${text}" is not allowed; write seconds, ${SECONDS_MIN} to ${SECONDS_MAX}`,
  );
}

async function stateOf(socket: string): Promise<State> {
  const state = (await askControl(socket, { state: true })) as Partial<State>;
  if (Array.isArray(state.services)) return state as State;
  throw new ZcacheError("ERR_IO", `${socket}: the daemon's reply has no figures for top`);
}

async function top(args: Args): Promise<void> {
  const everyMs = intervalMs(args.interval);
  const first = await stateOf(args.socket);
  if (args.once) return write(`${pageLines(undefined, first).join("\n")}\n`);
  if (process.stdout.isTTY !== true) return follow(args.socket, everyMs, first);
  const page = new Page();
  try {
    await page.run(args.socket, everyMs, first);
  } finally {
    page.leave();
  }
}

/** Prints lines until a signal, or until the daemon ends. */
async function follow(socket: string, everyMs: number, first: State): Promise<void> {
  let before: State | undefined;
  let now = first;
  for (let lines = 0; ; ) {
    if (lines % HEAD_EVERY === 0) await write(`${rowHead()}\n`);
    const rows = rowLines(before, now);
    await write(`${rows.join("\n")}\n`);
    lines += rows.length;
    await new Promise((done) => setTimeout(done, everyMs));
    [before, now] = [now, await stateOf(socket)];
  }
}

/** The page on the terminal. */
class Page {
  #entered = false;
  #before: State | undefined;
  #now: State | undefined;
  /** Ends the pause between two pages. */
  #wake: () => void = () => {};
  #quit = false;

  /** Draws until the user presses `q`. The caller restores the terminal with `leave`. */
  async run(socket: string, everyMs: number, first: State): Promise<void> {
    this.#enter();
    this.#now = first;
    while (!this.#quit) {
      this.#draw();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, everyMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      if (this.#quit) return;
      [this.#before, this.#now] = [this.#now, await stateOf(socket)];
    }
  }

  leave(): void {
    if (!this.#entered) return;
    this.#entered = false;
    const { stdin, stdout } = process;
    stdout.removeListener("resize", this.#draw);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    stdout.write(LEAVE);
  }

  #enter(): void {
    const { stdin, stdout } = process;
    endOnSignals(() => this.leave());
    process.once("SIGHUP", () => process.exit(EXIT_SIGHUP));
    process.once("exit", () => this.leave());
    this.#entered = true;
    stdout.write(ENTER);
    stdout.on("resize", this.#draw);
    if (stdin.isTTY) stdin.setRawMode(true);
    stdin.setEncoding("utf8");
    stdin.on("data", (keys: string) => {
      if (!/[qQ]/.test(keys) && !keys.includes(CTRL_C)) return;
      this.#quit = true;
      this.#wake();
    });
    // A closed terminal causes an error here.
    stdin.on("error", () => {});
    stdin.resume();
  }

  readonly #draw = (): void => {
    const { columns = 80, rows = 24 } = process.stdout;
    const lines = pageLines(this.#before, this.#now!);
    // The last row stays free, because writing it would scroll the terminal.
    const shown = lines.slice(0, Math.max(1, rows - 2)).map((text) => {
      const cut = [...printable(text)].slice(0, columns).join("");
      return text.startsWith(" ") ? cut : `${BOLD}${cut}${PLAIN}`;
    });
    if (lines.length > shown.length)
      shown.push(`${plural(lines.length - shown.length, "line")} more; q: quit`);
    else shown.push("q: quit");
    process.stdout.write(
      `${HOME}${shown.map((text) => `${text}${REST_OF_LINE}`).join("\r\n")}${REST_OF_PAGE}`,
    );
  };
}

export function topCommand(): Command {
  return new Command("top")
    .description(summaryOf("top"))
    .option("--socket <path>", "the daemon's control socket", defaultControlPath())
    .option("--interval <seconds>", "seconds between two updates", "1")
    .option("--once", "print one page with average rates since the start, and exit")
    .action(top);
}
