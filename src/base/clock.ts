// Time comes in from outside, so that a test or a simulation can own it.

export interface Clock {
  /** @returns nanoseconds since some fixed instant, never decreasing */
  nowNs(): number;
}

/** The clock of the platform: `performance.now()`, a call takes 50 to 70 ns in Node. */
export const platformClock: Clock = { nowNs: () => performance.now() * 1e6 };
