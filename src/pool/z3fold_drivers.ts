// The drivers of z3fold: the current form, and the patch of 2016.
import type { PoolDriver } from "./driver.ts";
import { Z3foldPool } from "./z3fold.ts";

export const Z3FOLD_DRIVERS: readonly PoolDriver[] = [
  {
    type: "z3fold",
    summary: "three objects to a page, the middle one moves to join holes",
    open: (arena, index, id) => new Z3foldPool(arena, "z3fold", index, id, false),
  },
  {
    type: "z3fold-v4-2016",
    summary: "z3fold exactly as first posted for review",
    variant: true,
    open: (arena, index, id) => new Z3foldPool(arena, "z3fold-v4-2016", index, id, true),
  },
];
