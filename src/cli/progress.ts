// A progress bar on stderr, if that is a terminal; in a pipe it is silent. Thirty lines of our own:
// one line that is drawn over itself, without hiding the cursor, so that even a kill leaves the
// terminal as it was.

const BAR_WIDTH = 24;
/** Often enough to look alive, and seldom enough to cost nothing. */
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

  /** @param share 0 … 1, or undefined where the end is not known  @param text what is being done */
  update(share: number | undefined, text: string): void {
    const now = performance.now();
    if (!this.active || now - this.#drawnAt < REDRAW_MS) return;
    this.#drawnAt = now;
    const full = Math.min(BAR_WIDTH, Math.floor((share ?? 0) * BAR_WIDTH));
    const bar = `${"█".repeat(full)}${"░".repeat(BAR_WIDTH - full)}`;
    const percent = `${Math.floor(Math.min(1, share ?? 0) * 100)} %`.padStart(5);
    const line = share === undefined ? text : `${bar} ${percent}  ${text}`;
    // One column less than there are, or the terminal would break the line.
    this.#stream.write(`\r\x1b[K${line.slice(0, (this.#stream.columns ?? 80) - 1)}`);
    this.#drawn = true;
  }

  /** Takes the bar away. */
  clear(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
  }
}
