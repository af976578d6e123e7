// A knob: a named value of a running service that an operator reads, and may set, with `zcache ctl`
// or in the dashboard. zram's knobs have the names of the kernel's files.

export interface Knob {
  readonly name: string;
  /** One line for the list of knobs: meaning and unit of the value. */
  readonly describe: string;
  get(): string;
  /** Absent if the knob is read-only. @throws ZcacheError ERR_OPTION that says what is allowed */
  set?(text: string): void;
}
