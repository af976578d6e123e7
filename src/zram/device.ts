// The size and the tmem pool of a zram device. Each device has a pool of its own, so two devices of
// a store never share pages. The pool is found by the device's number, so two devices of a store
// can't have the same number.
import { describe } from "../base/describe.ts";
import { ZcacheError } from "../base/errors.ts";
import type { Store } from "../store/store.ts";
import type { TmemKey } from "../tmem/key.ts";

/** The largest device; page numbers stay far below 2⁵³. */
export const DEVICE_BYTES_MAX = 2 ** 50;
const WORD = 2 ** 32;
const NAME = "zcache zram ";
const NUMBER_MAX = 2 ** 31 - 1;

/**
 * Makes the pool of a new device.
 * @throws ZcacheError ERR_OPTION for a number that can't be or that a device has, or if there is no
 *   room for another pool
 */
export function createDevicePool(store: Store, number: number): number {
  if (!(Number.isInteger(number) && number >= 0 && number <= NUMBER_MAX)) {
    throw new ZcacheError(
      "ERR_OPTION",
      `device number ${describe(number)}: must be a whole number from 0 to ${NUMBER_MAX}`,
    );
  }
  const uuid = Uint8Array.from(NAME.padEnd(16), (char) => char.charCodeAt(0));
  new DataView(uuid.buffer).setInt32(NAME.length, number, true);
  const pool = store.createPool({ persistent: true, keepsOld: true, uuid });
  if (pool < 0) throw new ZcacheError("ERR_OPTION", "the store has no room for another pool");
  if (store.poolInfo(pool)?.users === 1) return pool;
  store.destroyPool(pool);
  throw new ZcacheError(
    "ERR_OPTION",
    `device number ${number}: the store has a device of that number`,
  );
}

/** @throws ZcacheError ERR_OPTION for a size that a device can't have */
export function checkSize(sizeBytes: number): void {
  if (Number.isInteger(sizeBytes) && sizeBytes >= 1 && sizeBytes <= DEVICE_BYTES_MAX) return;
  throw new ZcacheError(
    "ERR_OPTION",
    `size of ${describe(sizeBytes)} bytes: must be from 1 to ${DEVICE_BYTES_MAX}`,
  );
}

/** The number of the page that a key names. */
export function pageOf(key: TmemKey): number {
  return (key.indexHigh >>> 0) * WORD + (key.indexLow >>> 0);
}
