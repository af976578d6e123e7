// A section of the configuration: `[nbd]` in the file, `--nbd-…` among the flags of `zcache serve`.
import type { Table, Values } from "./setting.ts";

/** What somebody would have to write to set a key: `--nbd-tls-key`, or `tls-key` of `[nbd]`. */
export type Namer = (key: string) => string;

export interface Section<T extends Table = Table> {
  /** "" for the settings of the daemon itself, which stand before all sections. */
  readonly name: "" | "nbd" | "memcached" | "web";
  readonly title: string;
  readonly settings: T;
  /**
   * Checks what no setting can check alone.
   * @throws ZcacheError ERR_OPTION
   */
  check?(values: Values<T>, name: Namer): void;
}
