// Time comes in from outside, so that a test or a simulation can own it.

export interface Clock {
  /** @returns nanoseconds since some fixed instant, never decreasing */
  nowNs(): number;
}

/** The clock of the platform: `performance.now()`, whose resolution in Node is about 30 ns. */
export const platformClock: Clock = { nowNs: () => performance.now() * 1e6 };
