// A service of the daemon: what it gives to those who look, what can be changed while it runs, and
// how it ends. Each kind has one function that starts it.
import type { Knob } from "../../base/knob.ts";
import type { Observed } from "../../monitor/contract.ts";

/** What a change needs: to be done now, or a restart, with the reason. */
export type Prepared =
  | {
      /** Does it; must not fail. */
      commit(): void;
    }
  | { readonly restart: string };

export interface Service {
  readonly name: "nbd" | "memcached" | "web";
  /** What it says when it has started: where it listens. */
  readonly line: string;
  /** How the metrics and `zcache top` see it; undefined for the web page itself. */
  readonly observed: Observed | undefined;
  /** What `zcache ctl` can look at and set, besides the settings. */
  readonly knobs: readonly Knob[];
  stats(): Readonly<Record<string, unknown>>;
  /**
   * Looks whether a setting can be changed now, and changes nothing yet.
   * @param name in the table: `memoryMax`
   * @throws ZcacheError ERR_OPTION: it can't be so at all
   */
  prepare(name: string, value: unknown): Prepared;
  /**
   * Reads certificates and passwords again, and uses nothing of it yet.
   * @returns what has been read, each with what makes it count
   * @throws ZcacheError ERR_INPUT, ERR_OPTION: a file is missing or is no such file
   */
  refresh(): readonly { readonly what: string; commit(): void }[];
  /**
   * Ends connections, and saves what is to be saved.
   * @param saves false where it began badly: then what was saved before stays as it is
   * @returns a line that says what was saved, "" if there is nothing to say
   */
  close(saves: boolean): Promise<string>;
}

export const NEEDS_RESTART: Prepared = { restart: "it needs a restart" };
