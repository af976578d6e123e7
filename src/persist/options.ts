// The option `persist` of a cache: where the files are from which the next process begins.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import { checkOptionNames } from "../base/option_names.ts";
import { KIB, MIB, parseSize } from "../base/units.ts";

export interface PersistOptions {
  /** The files are PATH.log.N and PATH.snapshot.N (default: the path of `writeBack`). */
  readonly path?: string;
  /**
   * Bytes of all of them at most, or text such as "8GiB": 16 MiB or more (default 32 GiB). They
   * take up to five times as much as is stored; with less, some of that is not kept.
   */
  readonly max?: number | string;
  /** What a process that is killed may have lost: the changes of so many ms (default 20). */
  readonly flushMs?: number;
  /** What to do with files that are there (default "recover": it has what they had). */
  readonly existing?: "recover" | "discard";
}

/** All of them, checked. */
export interface ResolvedPersist {
  readonly path: string;
  readonly maxBytes: number;
  readonly flushMs: number;
  readonly existing: "recover" | "discard";
}

const KEYS: readonly string[] = ["path", "max", "flushMs", "existing"];
const MAX_BYTES = 32 * 1024 * MIB;
/** Less has no room for a log and a snapshot beside the ones before them. */
const MAX_BYTES_MIN = 16 * MIB;
const FLUSH_MS = 20;
const FLUSH_MS_MAX = 60_000;

/** @throws ZcacheError ERR_OPTION naming the option and what is allowed */
export function resolvePersist(
  option: boolean | PersistOptions | undefined,
  writeBackPath: string | undefined,
): ResolvedPersist | undefined {
  if (option === undefined || option === false) return undefined;
  if (option !== true && (typeof option !== "object" || option === null)) {
    throw wrong("persist", option, "true, false and an object with a path");
  }
  if (option !== true) checkOptionNames(option, KEYS, "persist");
  const {
    path = writeBackPath,
    max = MAX_BYTES,
    flushMs = FLUSH_MS,
    existing = "recover",
  } = option === true ? {} : option;
  if (typeof path !== "string" || path === "") {
    throw new ZcacheError("ERR_OPTION", "persist.path: a path is needed, or one in writeBack");
  }
  const maxBytes = parseSize(max, "persist.max");
  if (maxBytes < MAX_BYTES_MIN)
    throw wrong("persist.max", max, `${MAX_BYTES_MIN / KIB} KiB or more`);
  if (!(Number.isFinite(flushMs) && flushMs >= 1 && flushMs <= FLUSH_MS_MAX)) {
    throw wrong("persist.flushMs", flushMs, `1 to ${FLUSH_MS_MAX} ms`);
  }
  if (existing !== "recover" && existing !== "discard") {
    throw wrong("persist.existing", existing, '"recover" and "discard"');
  }
  return { path, maxBytes, flushMs, existing };
}

function wrong(name: string, value: unknown, allowed: string): ZcacheError {
  return new ZcacheError("ERR_OPTION", `${name} ${describe(value)}: allowed are ${allowed}`);
}
