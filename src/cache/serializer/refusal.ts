// The reason why a value can't be encoded, and the path to the part that can't.
import { types } from "node:util";
import { ZcacheError } from "../../base/errors.ts";

/** Steps of a path that a message shows. */
const STEPS_MAX = 12;
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

/** Thrown at the part that can't be encoded; each container around it adds a step to the path. */
export class Refusal {
  readonly reason: string;
  readonly cause: unknown;
  /** Steps of the path, the innermost first. */
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

/** An error while a container was encoded, with a step added to its path. */
export function atStep(error: unknown, step: string): Refusal {
  const refusal = refusalOf(error);
  refusal.steps.push(step);
  return refusal;
}

/** Any error as a refusal: getters of the value may throw, and the stack may overflow. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (types.isNativeError(error) && /call stack/.test(messageOf(error))) {
    return new Refusal("too deep: so many objects within each other can't be stored", error);
  }
  return new Refusal("reading it failed", error);
}

/** The message of an error; runs no getter. */
function messageOf(error: Error): string {
  return String(Object.getOwnPropertyDescriptor(error, "message")?.value);
}

export function stepOf(key: string | number): string {
  if (typeof key === "number") return `[${key}]`;
  return IDENTIFIER.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}
