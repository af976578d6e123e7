// Admission rules: which pages may enter, by the limits that the kernel's zcache had for persistent
// pages. A page that hardly shrinks costs as much as it saves, and many such pages raise the mean
// size. Pure functions; the store supplies the numbers and counts refusals.
//
// There are two functions, because a page refused by count need not be compressed first.
import { ZcacheError } from "../base/errors.ts";

/** Limits in percent, named after the kernel's settings. */
export interface AdmissionLimits {
  /**
   * A page that compresses to more than this, in percent of a page, is refused (`zv_max_zsize`).
   */
  readonly maxZsizePercent: number;
  /**
   * While the mean size is above this, in percent of a page, a page that compresses to more than
   * this is refused (`zv_max_mean_zsize`): denser pages enter and lower the mean.
   */
  readonly maxMeanZsizePercent: number;
  /**
   * While more pages than this are stored, in percent of the frames that the store may hold, every
   * page is refused (`zv_page_count_policy_percent`). May exceed 100, because a frame can hold
   * several pages.
   */
  readonly pageCountPercent: number;
}

/** The kernel's defaults: seven eighths, five eighths, three quarters. */
export const ZCACHE_LIMITS: AdmissionLimits = {
  maxZsizePercent: 87.5,
  maxMeanZsizePercent: 62.5,
  pageCountPercent: 75,
};

/** Limits that refuse no page. */
export const NO_LIMITS: AdmissionLimits = {
  maxZsizePercent: 100,
  maxMeanZsizePercent: 100,
  pageCountPercent: Number.POSITIVE_INFINITY,
};

/** The page may enter. */
export const ADMITTED = "admitted";
/** The page compresses to more than maxZsizePercent (zswap's counter; zcache's `compress_poor`). */
export const REJECT_COMPRESS_POOR = "reject_compress_poor";
/**
 * The page compresses to more than maxMeanZsizePercent, and so does the mean (zcache's counter).
 */
export const MEAN_COMPRESS_POOR = "mean_compress_poor";
/** More pages than pageCountPercent are stored (zcache's setting; the kernel has no counter). */
export const REJECT_PAGE_COUNT = "reject_page_count";

/** The refusals, by their names in statistics. */
export const REFUSALS = [REJECT_COMPRESS_POOR, MEAN_COMPRESS_POOR, REJECT_PAGE_COUNT] as const;
export type Refusal = (typeof REFUSALS)[number];

/** @throws ZcacheError ERR_OPTION naming the limit that is out of range */
export function checkAdmissionLimits(limits: AdmissionLimits): void {
  for (const name of ["maxZsizePercent", "maxMeanZsizePercent", "pageCountPercent"] as const) {
    const percent = limits[name];
    const most = name === "pageCountPercent" ? Number.POSITIVE_INFINITY : 100;
    if (percent >= 0 && percent <= most) continue;
    const allowed = most === 100 ? "from 0 to 100" : "0 or more";
    throw new ZcacheError("ERR_OPTION", `${name} ${percent}: must be ${allowed}`, {
      context: { [name]: percent },
    });
  }
}

/**
 * The rule that applies before a page is compressed.
 * @param pages pages stored
 * @param framesLimit frames that the store may hold
 */
export function admitCount(
  limits: AdmissionLimits,
  pages: number,
  framesLimit: number,
): typeof ADMITTED | typeof REJECT_PAGE_COUNT {
  return pages > (limits.pageCountPercent * framesLimit) / 100 ? REJECT_PAGE_COUNT : ADMITTED;
}

/**
 * The rules that apply once a page is compressed.
 * @param sizeBytes bytes of the page, compressed
 * @param pageSize bytes of a page
 * @param pages pages stored
 * @param heldBytes compressed bytes of all of them
 */
export function admitSize(
  limits: AdmissionLimits,
  sizeBytes: number,
  pageSize: number,
  pages: number,
  heldBytes: number,
): typeof ADMITTED | typeof REJECT_COMPRESS_POOR | typeof MEAN_COMPRESS_POOR {
  if (sizeBytes > (limits.maxZsizePercent * pageSize) / 100) return REJECT_COMPRESS_POOR;
  const meanMax = (limits.maxMeanZsizePercent * pageSize) / 100;
  const isPoor = pages > 0 && sizeBytes > meanMax && heldBytes / pages > meanMax;
  return isPoor ? MEAN_COMPRESS_POOR : ADMITTED;
}
