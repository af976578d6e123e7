// Exports: block devices by name, with the flags that clients see.
import { ZcacheError } from "../base/errors.ts";
import { DEVICE_BYTES_MAX } from "../zram/device.ts";
import type { Zram } from "../zram/zram.ts";
import { Flag, NAME_BYTES_MAX } from "./protocol/protocol.ts";

/** One export in one thread. */
export interface NbdExport {
  readonly name: string;
  readonly description: string;
  readonly readOnly: boolean;
  readonly device: Zram;
}

const CAN =
  Flag.HAS_FLAGS |
  Flag.SEND_FLUSH |
  Flag.SEND_FUA |
  Flag.SEND_TRIM |
  Flag.SEND_WRITE_ZEROES |
  Flag.SEND_FAST_ZERO |
  Flag.SEND_CACHE |
  // A write that was acknowledged on one connection is seen by reads on all others.
  Flag.CAN_MULTI_CONN;

/** Transmission flags of an export. */
export function flagsOf(one: NbdExport, isStructured: boolean): number {
  return CAN | (one.readOnly ? Flag.READ_ONLY : 0) | (isStructured ? Flag.SEND_DF : 0);
}

/** @throws ZcacheError ERR_OPTION for a name or size that can't be */
export function checkExport(name: string, sizeBytes: number): void {
  if (new TextEncoder().encode(name).length > NAME_BYTES_MAX) {
    throw new ZcacheError("ERR_OPTION", `an export's name has at most ${NAME_BYTES_MAX} bytes`);
  }
  if (Number.isInteger(sizeBytes) && sizeBytes >= 1 && sizeBytes <= DEVICE_BYTES_MAX) return;
  throw new ZcacheError(
    "ERR_OPTION",
    `export "${name}": ${sizeBytes} bytes: must be from 1 to ${DEVICE_BYTES_MAX}`,
  );
}
