// The drivers of zblock: two forms for use, and one for each posting.
import type { PoolDriver } from "./driver.ts";
import { ZblockPool } from "./zblock.ts";
import * as Tables from "./zblock_tables.ts";

function driver(
  type: string,
  setting: Tables.ZblockSetting,
  summary: string,
  variant: boolean,
): PoolDriver {
  return {
    type,
    summary,
    variant,
    open: (arena, index, id) => new ZblockPool(arena, type, setting, index, id),
  };
}

export const ZBLOCK_DRIVERS: readonly PoolDriver[] = [
  driver("zblock", Tables.REPAIRED_2022, "slots in blocks of 1 to 8 pages, types of 2022", false),
  driver(
    "zblock-2025",
    Tables.REPAIRED_2025,
    "slots in blocks of 1 to 8 pages, types of 2025",
    false,
  ),
  driver("zblock-v6-2022", Tables.V6_2022, "zblock as posted in 2022, page for page", true),
  driver("zblock-2025-first", Tables.FIRST_2025, "the first zblock of 2025, page for page", true),
  driver("zblock-2025-final", Tables.FINAL_2025, "the last zblock of 2025, page for page", true),
];
