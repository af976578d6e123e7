// What all steps of `attach` and `detach` need, and how they wait.
import { ZcacheError } from "../../base/errors.ts";
import type { Machine } from "./machine.ts";
import type { Attached, StateFolder } from "./state.ts";

export interface Context {
  readonly machine: Machine;
  readonly states: StateFolder;
  /** Ends the work at the next step, with a reason that is thrown. */
  readonly signal: AbortSignal | undefined;
  /** Reports what is not as it should be, but does not end the work. */
  warn(text: string): void;
}

/** The same, but not ended by a signal: for steps that undo others. */
export function unstoppable({ machine, states, warn }: Context): Context {
  return { machine, states, warn, signal: undefined };
}

/** The control group of a device. Devices of other folders of state files have other groups. */
export function groupOf({ states }: Context, id: string): string {
  return `${states.path.replace(/^\/|[^\w/-]/g, "").replaceAll("/", "-")}-${id}`;
}

/**
 * Waits until a fact holds.
 * @param limitMs undefined: no limit
 * @returns whether it holds; false after the limit
 * @throws the reason of the signal; what `isTrue` throws
 */
export async function until(
  { machine, signal }: Context,
  isTrue: () => boolean | Promise<boolean>,
  limitMs?: number,
): Promise<boolean> {
  const end = limitMs === undefined ? Number.POSITIVE_INFINITY : machine.nowMs() + limitMs;
  while (!(await isTrue())) {
    signal?.throwIfAborted();
    if (machine.nowMs() >= end) return false;
    await machine.pause();
  }
  return true;
}

/** Writes a changed state file. @returns the new content */
export function save(
  { states }: Context,
  record: Attached,
  changes: Partial<Attached> = {},
): Attached {
  const changed = { ...record, ...changes };
  states.write(changed);
  return changed;
}

export function systemError(message: string, cause?: unknown): ZcacheError {
  return new ZcacheError("ERR_SYSTEM", message, { cause });
}

/** @param done what root may do: "attached" or "detached" */
export function notRoot(done: string): ZcacheError {
  return systemError(`a block device can be ${done} by root only; run this with sudo`);
}
