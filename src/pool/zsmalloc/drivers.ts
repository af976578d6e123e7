// The drivers of zsmalloc: that of Linux 6.12, that of 2012, and variants of the former: one for
// each length of chains that the kernel can be built with, at both distances of size classes.
import type { PoolDriver } from "../driver.ts";
import { ZsmallocPool } from "./zsmalloc.ts";
import { Zsmalloc2012Pool } from "./zsmalloc2012.ts";

/** Frames in a chain: the kernel's settings, and its default. */
const CHAIN_MIN = 4;
const CHAIN_MAX = 16;
const CHAIN_DEFAULT = 8;

function variants(): PoolDriver[] {
  const drivers: PoolDriver[] = [];
  for (const [classesPerPage, suffix, step] of [
    [256, "", 16],
    [512, "d8", 8],
  ] as const) {
    for (let chainMax = CHAIN_MIN; chainMax <= CHAIN_MAX; chainMax++) {
      if (chainMax === CHAIN_DEFAULT && suffix === "") continue;
      const type = `zs612_c${chainMax}${suffix}`;
      drivers.push({
        type,
        summary: `zsmalloc with chains of up to ${chainMax} pages, a class every ${step} bytes`,
        variant: true,
        open: (arena, index, id) =>
          new ZsmallocPool(arena, type, index, id, { chainMax, classesPerPage }),
      });
    }
  }
  return drivers;
}

export const ZSMALLOC_DRIVERS: readonly PoolDriver[] = [
  {
    type: "zsmalloc",
    aliases: [`zs612_c${CHAIN_DEFAULT}`],
    summary: "objects across chains of up to 8 pages, compaction; the kernel's densest",
    open: (arena, index, id) =>
      new ZsmallocPool(arena, "zsmalloc", index, id, {
        chainMax: CHAIN_DEFAULT,
        classesPerPage: 256,
      }),
  },
  {
    type: "zsmalloc-2012",
    summary: "objects across chains of up to 4 pages, direct handles, as first proposed",
    open: (arena, index, id) => new Zsmalloc2012Pool(arena, "zsmalloc-2012", index, id),
  },
  ...variants(),
];
