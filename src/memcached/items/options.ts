// What items are made of, and what may be chosen of them.
import type { ItemStore } from "./contract.ts";
import type { Counters } from "./counters.ts";
import type { ItemsShared } from "./shared.ts";

export interface ItemsOptions {
  readonly store: ItemStore;
  readonly shared: ItemsShared;
  readonly counters: Counters;
  /** Key, value and 50 bytes of an item, at most. */
  readonly itemBytesMax: number;
  /** Without cas numbers all of them are 0, and none can be compared with. */
  readonly casEnabled?: boolean;
}
