// A knob: a named value of a running service that an operator reads and may set, by `zcache ctl`
// or from the dashboard. zram's knobs have the names of the kernel's files.

export interface Knob {
  readonly name: string;
  /** One line for the list of knobs: what the value is, and its unit. */
  readonly describe: string;
  get(): string;
  /** Absent if the knob is read-only. @throws ZcacheError ERR_OPTION that says what is allowed */
  set?(text: string): void;
}
