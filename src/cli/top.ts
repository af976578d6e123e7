// `zcache top`: a running daemon, live. A terminal shows one page, drawn anew each second; a pipe
// gets lines one after the other.
//
// The page stands on the terminal's other screen, so that the one before is back when it ends,
// however it ends. That takes five control sequences, too few for a library.
import { Command } from "commander";
import { ZcacheError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import type { State } from "../dashboard/api.ts";
import { plural } from "../lab/report/format.ts";
import { askControl, defaultControlPath } from "../monitor/control.ts";
import { EXIT_SIGHUP, endOnSignals } from "./exit.ts";
import { write } from "./output.ts";
import { pageLines, rowHead, rowLines } from "./top_view.ts";

interface Args {
  readonly socket: string;
  readonly interval: string;
  readonly once?: true;
}

const SECONDS_MIN = 0.1;
const SECONDS_MAX = 3600;
/** In a pipe, the head of the columns comes again after so many lines. */
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
  throw new ZcacheError("ERR_IO", `${socket}: the daemon does not say what top shows`);
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

/** Lines until somebody ends it, or the daemon has gone. */
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

/** The terminal while the page is on it. */
class Page {
  #entered = false;
  #before: State | undefined;
  #now: State | undefined;
  /** Ends the wait between two pictures. */
  #wake: () => void = () => {};
  #quit = false;

  /** Draws until `q`; the terminal is as before only after `leave`. */
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
    // A terminal that is closed says so here.
    stdin.on("error", () => {});
    stdin.resume();
  }

  readonly #draw = (): void => {
    const { columns = 80, rows = 24 } = process.stdout;
    const lines = pageLines(this.#before, this.#now!);
    // The last row stays free: a full one would make the terminal scroll.
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
    .description("watch a running daemon: memory, ratio, hits, operations, evictions; q quits")
    .option("--socket <path>", "the daemon's control socket", defaultControlPath())
    .option("--interval <seconds>", "between two looks", "1")
    .option("--once", "print one page, with rates since the start, and end")
    .action(top);
}
