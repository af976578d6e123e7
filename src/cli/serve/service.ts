// A service of the daemon: the interface through which the daemon starts, monitors, changes and
// ends it. nbd.ts, memcached.ts and web.ts each have one function that starts such a service.
import type { Knob } from "../../base/knob.ts";
import type { Monitor } from "../../monitor/monitor.ts";

/** How a change can be made: at once by `commit`, or only by a restart, with the reason. */
export type Prepared =
  | {
      /** Applies the change; must not fail. */
      commit(): void;
    }
  | { readonly restart: string };

export interface Service {
  readonly name: "nbd" | "memcached" | "web";
  /** The line that the daemon prints at start: where the service listens. */
  readonly line: string;
  /** The source of metrics and `zcache top`; undefined for the web page itself. */
  readonly monitor: Monitor | undefined;
  /** What `zcache ctl` can print and set, besides the settings. */
  readonly knobs: readonly Knob[];
  stats(): Readonly<Record<string, unknown>>;
  /**
   * Checks whether a setting can be changed now, and changes nothing yet.
   * @param name the name in the table: `memoryMax`
   * @throws ZcacheError ERR_OPTION: the value is not possible at all
   */
  prepare(name: string, value: unknown): Prepared;
  /**
   * Reads certificates and passwords again, and uses none of them yet.
   * @returns what has been read, each with a function that puts it into effect
   * @throws ZcacheError ERR_INPUT, ERR_OPTION: a file is missing or invalid
   */
  refresh(): readonly { readonly what: string; commit(): void }[];
  /**
   * Ends connections and saves the service's data.
   * @param saves false if the start failed: then the data saved by an earlier run stays as it is
   * @returns a line that says what was saved, "" if nothing was
   */
  close(saves: boolean): Promise<string>;
}

/** For a memory limit above what the daemon can grow to, which is `most` bytes. */
export function needsCeiling(most: number): { readonly restart: string } {
  const more = "more needs a restart with a larger memory-max-ceiling";
  return { restart: `the daemon can grow to ${most} bytes, and ${more}` };
}

export const NEEDS_RESTART: Prepared = { restart: "a change needs a restart" };
