// The clock is passed in, so that tests and simulations can control time.

export interface Clock {
  /** @returns nanoseconds since a fixed instant, never decreasing */
  nowNs(): number;
}

/** The platform's clock, `performance.now()`; a call takes 50 to 70 ns in Node. */
export const platformClock: Clock = { nowNs: () => performance.now() * 1e6 };
