// The three kinds of failure: an expected outcome is a value (errno.ts); an error of the outside
// world or in options is a ZcacheError with a code; a bug is an AssertionError, which is never
// caught.

/** Every code of a ZcacheError; docs/errors.md has cause and remedy of each. */
export type ErrorCode =
  | "ERR_OPTION"
  | "ERR_ARENA_SHARE"
  | "ERR_ARENA_CLOSED"
  | "ERR_ARENA_DAMAGED"
  | "ERR_ARENA_FULL"
  | "ERR_ARENA_MEMORY"
  | "ERR_ARENA_THREADS"
  | "ERR_POOL_UNKNOWN"
  | "ERR_POOL_CLOSED"
  | "ERR_CODEC_UNKNOWN"
  | "ERR_CODEC_UNAVAILABLE"
  | "ERR_CODEC_CORRUPT"
  | "ERR_TRACE"
  | "ERR_INPUT"
  | "ERR_MISMATCH"
  | "ERR_IO"
  | "ERR_KEY"
  | "ERR_CORRUPT"
  | "ERR_FILE_LOCKED"
  | "ERR_STORE_CLOSED"
  | "ERR_DEVICE_CLOSED"
  | "ERR_STORE_SHARE"
  | "ERR_VALUE"
  | "ERR_LOAD_CYCLE"
  | "ERR_WORKER"
  | "ERR_REMOTE"
  | "ERR_REMOTE_OWNED"
  | "ERR_REMOTE_PAGE"
  | "ERR_SYSTEM"
  | "ERR_BUSY"
  | "ERR_INTERNAL";

/** An error that a caller can act on: `code` says which, `context` has the values involved. */
export class ZcacheError extends Error {
  readonly code: ErrorCode;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    details: { context?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "ZcacheError";
    this.code = code;
    this.context = details.context ?? {};
  }
}

/** A broken invariant: a bug in this library, not in its caller. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(`assertion failed: ${message}`);
    this.name = "AssertionError";
  }
}

/** Checks a fact, in every build; `what` states the fact, not the failure. */
export function assert(fact: boolean, what: string): asserts fact {
  if (!fact) throw new AssertionError(what);
}
