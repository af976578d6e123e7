/** The size of a latency histogram (latency.ts): eight buckets per power of two of nanoseconds. */
export const SUB_BITS = 3;
/** Times below 2⁶ ns share the first bucket, times from 2³⁶ ns (a minute) on the last. */
export const FIRST_LOG2 = 6;
export const LAST_LOG2 = 35;
export const LATENCY_WORDS = (LAST_LOG2 - FIRST_LOG2 + 1) * (1 << SUB_BITS) + 1;
