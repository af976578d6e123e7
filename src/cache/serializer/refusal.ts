// Why a value can't be kept, and where in it that is.
import { types } from "node:util";
import { ZcacheError } from "../../base/errors.ts";

/** Steps of a path that a message shows at most. */
const STEPS_MAX = 12;
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** Thrown where it is found; each container on the way out says how it got there. */
export class Refusal {
  readonly reason: string;
  readonly cause: unknown;
  /** The innermost first. */
  readonly steps: string[] = [];

  constructor(reason: string, cause?: unknown) {
    this.reason = reason;
    this.cause = cause;
  }

  toError(): ZcacheError {
    const steps = this.steps.reverse();
    const shown = steps.slice(0, STEPS_MAX).join("");
    const path = `value${shown}${steps.length > STEPS_MAX ? "…" : ""}`;
    return new ZcacheError("ERR_VALUE", `${path}: ${this.reason}`, {
      context: { path },
      cause: this.cause,
    });
  }
}

/** What was thrown while a container was written, one step further out. */
export function further(error: unknown, step: string): Refusal {
  const refusal = refusalOf(error);
  refusal.steps.push(step);
  return refusal;
}

/** What the caller's code, or the engine, has thrown as a refusal. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (types.isNativeError(error) && /call stack/.test(messageOf(error))) {
    return new Refusal("too deep: so many objects within each other can't be stored", error);
  }
  return new Refusal("reading it failed", error);
}

/** Without a getter of the caller's. */
function messageOf(error: Error): string {
  return String(Object.getOwnPropertyDescriptor(error, "message")?.value);
}

export function stepOf(key: string | number): string {
  if (typeof key === "number") return `[${key}]`;
  return IDENTIFIER.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}
