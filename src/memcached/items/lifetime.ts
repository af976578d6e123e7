// When an item is gone: it has expired, by memcached's rules for the times that clients give, or a
// flush has come after it.
import { FLUSH_MASK } from "./items.layout.ts";

/** Up to thirty days a time is counted from now; beyond, it is seconds since 1970. */
const RELATIVE_MAX_S = 60 * 60 * 24 * 30;
/** An expiry that has long passed, and is not 0, which means never. */
const LONG_AGO_S = 1;
/** The last second that a word can hold: nothing expires later, in 2106. */
const LAST_S = 0xffff_ffff;

/**
 * @param given what the client says, in seconds: 0 never, negative at once, up to 30 days from
 *   now, beyond that a date
 * @param now seconds since 1970
 * @returns the first second in which the item is gone, 0 for never
 */
export function expiryOf(given: number, now: number): number {
  if (given === 0) return 0;
  if (given < 0) return LONG_AGO_S;
  const at = given > RELATIVE_MAX_S ? given : now + given;
  return Math.min(at, LAST_S);
}

export function hasExpired(expires: number, now: number): boolean {
  return expires !== 0 && expires <= now;
}

/** Which of two numbers of flushes, modulo 2²⁴, is the later one. */
export function laterFlushes(one: number | undefined, other: number): number {
  return one === undefined || ((other - one) & FLUSH_MASK) <= FLUSH_MASK / 2 ? other : one;
}
