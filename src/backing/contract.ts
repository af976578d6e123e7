// The contract of backing devices: a device of bytes, such as a file, to which a store writes pages
// back. Devices are synchronous, because a get is.
//
//   contract.ts                         the device; the key of a record
//   remote_contract.ts                  records on other machines
//   segment_log.ts, segment_log.layout.ts   the write-back file as a log of segments
//   segments.ts                         the table of segments
//   records.ts, record.layout.ts        segment headers and records, byte by byte
//   verify.ts                           checks for tests
//
// Devices know nothing of pages. They write what they are given; what they read is checked by the
// caller (records.ts), so that a device that returns wrong bytes is noticed.
//
// Concurrency: methods that end in `Locked` are called under the arena's lock; file I/O runs
// without it.
//
// Limits: a file of at most 64 GiB, in segments of 64 or 128 KiB.

/** What another thread of the process needs to open the same device. A plain object. */
export interface BackingShare {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytesMax: number;
}

export interface BackingDevice {
  /** Maximum size of the device, in bytes. */
  readonly sizeBytesMax: number;

  /**
   * Fills `target` from `offsetBytes` on.
   * @throws ZcacheError ERR_IO, with the system's code in `context.code`; EIO for a read beyond the
   *   end
   */
  read(offsetBytes: number, target: Uint8Array): void;

  /** Writes all of `source`. @throws ZcacheError ERR_IO, with the system's code: ENOSPC, EIO, … */
  write(offsetBytes: number, source: Uint8Array): void;

  /** What another thread of the process needs to open this device. */
  share(): BackingShare;

  /** Closes the device for all threads; called by the thread that opened it. */
  close(): void;
}

/** The key of a page as in a record: the words of a TmemKey (tmem/key.ts). */
export interface RecordKey {
  readonly id: Int32Array;
  idShape: number;
  indexLow: number;
  indexHigh: number;
}
