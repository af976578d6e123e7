// Checks the names of options: an unknown name is an error, so that a typing mistake is not
// ignored. The error suggests the name that was probably meant.
import { describe } from "./describe.ts";
import { ZcacheError } from "./errors.ts";

/** Maximum distance of a suggestion: a letter or two. */
const DISTANCE_MAX = 3;

/**
 * Checks that options are an object, and that each name is known.
 * @param what whose options they are, with an article: "a cache"
 * @throws ZcacheError ERR_OPTION
 */
export function checkOptionNames(
  options: unknown,
  known: readonly string[],
  what: string,
): asserts options is object {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new ZcacheError("ERR_OPTION", `options of ${what}: an object, not ${describe(options)}`);
  }
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw unknown(name, known, what);
}

/**
 * Copies options to a plain object, and reads each once: a getter may return another value the next
 * time.
 * @throws ZcacheError ERR_OPTION as `checkOptionNames`, and for null
 */
export function readOptions<O extends object>(
  options: O,
  known: readonly string[],
  what: string,
): O {
  checkOptionNames(options, known, what);
  const read = { ...options };
  for (const [name, value] of Object.entries(read)) {
    if (value !== null) continue;
    const remedy = "leave the option out, or set it to undefined, for its default";
    throw new ZcacheError("ERR_OPTION", `${name} of ${what} is null: ${remedy}`);
  }
  return read;
}

function unknown(name: string, known: readonly string[], what: string): ZcacheError {
  const near = nearest(name, known);
  const hint = near === undefined ? "" : ` did you mean ${near}?`;
  return new ZcacheError(
    "ERR_OPTION",
    `${what} has no option ${describe(name)};${hint} options: ${known.join(", ")}`,
  );
}

/** The name that a misspelt one probably means; undefined if none of `names` is near. */
export function nearest(text: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.min(DISTANCE_MAX, Math.ceil(text.length / 2)) + 1;
  for (const name of names) {
    // A name that goes on where the text ends is meant rather than one of the same letters.
    const distance = name.startsWith(text) ? 1 : editDistance(text, name);
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

/** Letters to insert, delete or replace to turn one name into the other (Levenshtein distance). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
