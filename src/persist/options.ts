// The option `persist`: defaults and checks.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { KIB, MIB, parseSize } from "../base/units.ts";

/** Where and how values are kept for the next process. */
export interface PersistOptions {
  /** The files are PATH.log.N and PATH.snapshot.N (default: the path of `writeBack`). */
  readonly path?: string;
  /**
   * Limit of all files together: bytes or text such as "8GiB", at least 16 MiB (default 32 GiB).
   * They take up to five times the size of the stored values; of these, at most three eighths of
   * the limit are kept, with n shards 3n ÷ (4n + 4) of it.
   */
  readonly max?: number | string;
  /**
   * Interval at which changes are written, 1 to 60,000 ms (default 20): a process that is killed
   * loses the changes since.
   */
  readonly flushMs?: number;
  /** Whether to recover the values in existing files or to remove the files (default "recover"). */
  readonly existing?: "recover" | "discard";
}

/** The options with defaults, checked. */
export interface ResolvedPersist {
  readonly path: string;
  readonly maxBytes: number;
  readonly flushMs: number;
  readonly existing: "recover" | "discard";
}

const KEYS: readonly string[] = ["path", "max", "flushMs", "existing"];
const MAX_BYTES = 32 * 1024 * MIB;
/** Enough for a log and a snapshot beside their predecessors. */
export const MAX_BYTES_MIN = 16 * MIB;
const FLUSH_MS = 20;
const FLUSH_MS_MAX = 60_000;

/**
 * @param writeBackPath the default of `path`
 * @returns undefined: nothing is to be kept
 * @throws ZcacheError ERR_OPTION naming the option and what is allowed
 */
export function resolvePersist(
  option: boolean | PersistOptions | undefined,
  writeBackPath: string | undefined,
): ResolvedPersist | undefined {
  if (option === undefined || option === false) return undefined;
  if (option !== true && (typeof option !== "object" || option === null)) {
    throw wrong("persist", option, "true, false, or an object with a path");
  }
  if (option !== true) checkOptionNames(option, KEYS, "persist");
  const {
    path = writeBackPath,
    max = MAX_BYTES,
    flushMs = FLUSH_MS,
    existing = "recover",
  } = option === true ? {} : option;
  if (typeof path !== "string" || path === "") {
    throw new ZcacheError(
      "ERR_OPTION",
      "persist.path is missing: give a path here or in writeBack",
    );
  }
  const maxBytes = parseSize(max, "persist.max");
  if (maxBytes < MAX_BYTES_MIN)
    throw wrong("persist.max", max, `${MAX_BYTES_MIN / KIB} KiB or more`);
  if (!(Number.isFinite(flushMs) && flushMs >= 1 && flushMs <= FLUSH_MS_MAX)) {
    throw wrong("persist.flushMs", flushMs, `from 1 to ${FLUSH_MS_MAX} ms`);
  }
  if (existing !== "recover" && existing !== "discard") {
    throw wrong("persist.existing", existing, '"recover" or "discard"');
  }
  return { path, maxBytes, flushMs, existing };
}

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: must be ${allowed}`);
}
