// Reads a text file of any size line by line, plain or compressed (.gz, .zst).
import { ZcacheError } from "../base/errors.ts";
import { readText } from "../node/text_stream.ts";

/** The longest line. A longer one is a mistake, such as a binary file, and would fill memory. */
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
  for await (const chunk of readText(path)) {
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
