// A progress bar on stderr if that is a terminal; in a pipe it writes nothing. Unlike those of
// libraries it does not hide the cursor, so even a killed process leaves the terminal usable.

const BAR_WIDTH = 24;
/** Frequent enough to look alive, and rare enough to cost nothing. */
const REDRAW_MS = 100;

export class Progress {
  readonly active: boolean;
  readonly #stream: NodeJS.WriteStream;
  #drawnAt = 0;
  #drawn = false;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
    this.active = stream.isTTY === true;
  }

  /** @param share done so far, 0 … 1; undefined if unknown  @param text what is being done */
  update(share: number | undefined, text: string): void {
    const now = performance.now();
    if (!this.active || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const full = Math.min(BAR_WIDTH, Math.floor((share ?? 0) * BAR_WIDTH));
    const bar = `${"█".repeat(full)}${"░".repeat(BAR_WIDTH - full)}`;
    const percent = `${Math.floor(Math.min(1, share ?? 0) * 100)} %`.padStart(5);
    const line = share === undefined ? text : `${bar} ${percent}  ${text}`;
    // A line as wide as the terminal would wrap.
    this.#stream.write(`\r\x1b[K${line.slice(0, (this.#stream.columns ?? 80) - 1)}`);
    this.#drawn = true;
  }

  /** Removes the bar. */
  clear(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
  }
}
