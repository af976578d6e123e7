// What `attach` and `detach` have in common as commands: the machine, the state files, signals.
import { ZcacheError } from "../../base/errors.ts";
import { complain, EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM } from "../exit.ts";
import type { Context } from "./context.ts";
import { LinuxMachine } from "./linux.ts";
import { StateFolder } from "./state.ts";

const SIGNALS = { SIGHUP: EXIT_SIGHUP, SIGINT: EXIT_SIGINT, SIGTERM: EXIT_SIGTERM } as const;

/** The reason with which a signal ends the work. */
class Interrupted extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super("interrupted");
    this.exitCode = exitCode;
  }
}

/**
 * Does work that a signal ends at its next step. A second signal ends the process at once; the next
 * `attach` or `detach` then finds what was done.
 */
export async function contextUntilSignal(work: (context: Context) => Promise<void>): Promise<void> {
  if (process.platform !== "linux") {
    throw new ZcacheError("ERR_SYSTEM", "block devices can be attached on Linux only");
  }
  const controller = new AbortController();
  const signals = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
  const end = (signal: keyof typeof SIGNALS) => {
    for (const one of signals) process.removeListener(one, end);
    controller.abort(new Interrupted(SIGNALS[signal]));
  };
  for (const signal of signals) process.on(signal, end);
  try {
    await work({
      machine: new LinuxMachine(),
      states: new StateFolder(),
      signal: controller.signal,
      warn: complain,
    });
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    process.exitCode = error.exitCode;
  }
  // The listeners stay: a signal after the last step must not look like an interrupted `attach`.
}
