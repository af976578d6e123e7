// A text file line by line, of any size, with numbers for messages.
import { createReadStream, statSync } from "node:fs";
import { ZcacheError } from "../base/errors.ts";
import { reasonOf } from "../node/inputs.ts";

/**
 * A longer line is a mistake, such as a binary file: it would have to be held in memory as a
 * whole.
 */
const LINE_CHARS_MAX = 4096;

/**
 * Calls `onLine` for each line, without its line break.
 * @param pause awaited after each chunk of the file, for output to drain
 * @throws ZcacheError ERR_INPUT naming the file; ERR_TRACE for a line that is too long
 */
export async function eachLine(
  path: string,
  onLine: (text: string, line: number) => void,
  pause: () => Promise<void>,
): Promise<void> {
  let line = 0;
  let rest = "";
  for await (const chunk of chunks(path)) {
    const texts = (rest + chunk).split("\n");
    rest = texts.pop()!;
    for (const text of texts) onLine(text, ++line);
    if (rest.length > LINE_CHARS_MAX) {
      throw new ZcacheError(
        "ERR_TRACE",
        `line ${line + 1}: longer than ${LINE_CHARS_MAX} characters`,
      );
    }
    await pause();
  }
  if (rest !== "") onLine(rest, line + 1);
}

async function* chunks(path: string): AsyncGenerator<string> {
  try {
    // A FIFO could be read only once, and there may be several pools to replay on.
    if (!statSync(path).isFile()) throw new Error("not a regular file");
    yield* createReadStream(path, { encoding: "utf8" }) as AsyncIterable<string>;
  } catch (cause) {
    if (cause instanceof ZcacheError) throw cause;
    throw new ZcacheError("ERR_INPUT", `can't read ${path}: ${reasonOf(cause)}`, { cause });
  }
}
