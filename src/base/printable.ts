// Makes foreign text (file names, keys, what a client has sent) safe to print: terminals act on
// control characters, and text of mixed direction can be made to read as another text.

// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is replaced
const HIDDEN = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
/** A lone half of a surrogate pair is not a character. */
const HALVES = /[\ud800-\udfff]/gu;

function escaped(letter: string): string {
  const code = letter.charCodeAt(0);
  if (letter === "\n") return "\\n";
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** Text for one line: characters that a terminal would act on become escapes. */
export function printable(text: string): string {
  return text.replace(HIDDEN, escaped).replace(HALVES, escaped);
}

/** As `printable`, for text of several lines, which may have tabs. */
export function printableLines(text: string): string {
  return text
    .replace(HIDDEN, (letter) => (letter === "\n" || letter === "\t" ? letter : escaped(letter)))
    .replace(HALVES, escaped);
}

/** JSON without characters that a terminal would act on; it parses to the same value. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(HIDDEN, (letter) => {
    if (letter === "\n") return letter;
    return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
