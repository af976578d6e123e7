// A line of the text protocol, cut at its spaces. The positions are written to tables that are
// allocated once.
import { NEWLINE, RETURN, SPACE } from "./text.ts";

/** A line of 2048 bytes has at most half as many tokens. */
const TOKENS_MAX = 1025;

export class Tokens {
  /** Where each token begins, and where the byte behind it stands. */
  readonly from = new Int32Array(TOKENS_MAX);
  readonly to = new Int32Array(TOKENS_MAX);
  count = 0;
  /** Behind the newline of the line that was read. */
  next = 0;

  /**
   * Reads the line that begins at `from`. Tokens beyond the table are ignored: only a list of keys
   * may be so long, and that is read another way.
   * @returns whether its newline lies before `to`; if not, nothing else is meaningful
   */
  read(bytes: Uint8Array, from: number, to: number): boolean {
    let count = 0;
    let begun = -1;
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      if (byte > SPACE) {
        if (begun < 0) begun = at;
        continue;
      }
      if (byte === NEWLINE) {
        // A return that stands alone in a token is kept, as memcached keeps "\r\n" on its own.
        const end = at - 1 > from && bytes[at - 1] === RETURN ? at - 1 : at;
        if (begun >= 0 && begun < end && count < TOKENS_MAX) {
          this.from[count] = begun;
          this.to[count++] = end;
        }
        this.count = count;
        this.next = at + 1;
        return true;
      }
      if (byte !== SPACE) {
        if (begun < 0) begun = at;
      } else if (begun >= 0) {
        if (count < TOKENS_MAX) {
          this.from[count] = begun;
          this.to[count++] = at;
        }
        begun = -1;
      }
    }
    return false;
  }

  length(token: number): number {
    return this.to[token]! - this.from[token]!;
  }
}
