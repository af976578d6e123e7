// What stands behind a store: a device of bytes, as a file is. Synchronous, because a get is.
//
// Devices know nothing of pages. What they are given they write, what they read is checked by
// whoever asked (records.ts): a device that lies is found out, never believed.

/** What another thread of the process needs to open the same device: plain. */
export interface BackingShare {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytesMax: number;
}

export interface BackingDevice {
  /** Bytes that it may grow to. */
  readonly sizeBytesMax: number;

  /**
   * Fills `target` from `offsetBytes` on.
   * @throws ZcacheError ERR_IO, with the system's code in `context.code`; EIO for what lies behind
   *   the end
   */
  read(offsetBytes: number, target: Uint8Array): void;

  /** Writes all of `source`. @throws ZcacheError ERR_IO, with the system's code: ENOSPC, EIO, … */
  write(offsetBytes: number, source: Uint8Array): void;

  share(): BackingShare;

  /** Closes it for all threads; by who opened it. */
  close(): void;
}

/** The key of a page as a record holds it: the words of a TmemKey (tmem/key.ts). */
export interface RecordKey {
  readonly id: Int32Array;
  idShape: number;
  indexLow: number;
  indexHigh: number;
}
