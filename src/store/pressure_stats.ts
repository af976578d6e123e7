// What memory pressure did to a store's limit (node/memory_pressure.ts).

/** Kept by the thread that made the store, and zero in all others. */
export interface PressureStats {
  /** Where memory is, or was last, nearest to its end; "none": pressure is not followed. */
  source: "none" | "machine" | "control group";
  /** Bytes that were available there at the last look. */
  availableBytes: number;
  /** The limit that was set by the user, in bytes; `mem_limit` is below it under pressure. */
  wantedBytes: number;
  /** Times that the limit was lowered, and raised again. */
  lowered: number;
  raised: number;
}

export function noPressure(): PressureStats {
  return { source: "none", availableBytes: 0, wantedBytes: 0, lowered: 0, raised: 0 };
}
