// A knob: a named value of a running service that an operator reads, and may set, with `zcache ctl`
// or in the dashboard. zram's knobs have the names of the kernel's files.
import { ZcacheError } from "./errors.ts";

export interface Knob {
  readonly name: string;
  /** One line for the list of knobs: meaning and unit of the value. */
  readonly describe: string;
  get(): string;
  /** Absent if the knob is read-only. @throws ZcacheError ERR_OPTION that says what is allowed */
  set?(text: string): void;
  /**
   * Runs the command that `text` is, if it is one and not a setting.
   * @returns what was done; undefined for a setting, which `set` takes
   * @throws ZcacheError as `set`, also as a rejection; ERR_BUSY while another command runs
   */
  run?(text: string): Promise<string> | undefined;
}

export function isWritable({ set, run }: Knob): boolean {
  return set !== undefined || run !== undefined;
}

/** Sets a knob, or runs a command of it. @returns the new value, or what the command has done */
export async function useKnob(knob: Knob, text: string): Promise<string> {
  const done = await knob.run?.(text);
  if (done !== undefined) return done;
  if (knob.set === undefined) throw new ZcacheError("ERR_OPTION", `${knob.name} is read-only`);
  knob.set(text);
  return knob.get();
}
