// Which page may enter: the rules that the kernel's zcache had for persistent pages. Not every page
// is worth keeping compressed: one that hardly shrinks costs as much as it saves, and too many of
// them spoil the mean. Pure functions of numbers; the store knows the numbers and counts refusals.
//
// Two calls, because what is refused for its number need not be compressed first.
import { ZcacheError } from "../base/errors.ts";

/** Limits in percent; the names are those of the kernel's settings. */
export interface AdmissionLimits {
  /** A page that compresses to more, in percent of a page, is refused (`zv_max_zsize`). */
  readonly maxZsizePercent: number;
  /**
   * While the mean size is above this, in percent of a page, so is a page whose size is
   * (`zv_max_mean_zsize`): better ones come in and bring the mean down.
   */
  readonly maxMeanZsizePercent: number;
  /**
   * As long as there are more pages than that, in percent of the frames that the store may hold, no
   * page comes in (`zv_page_count_policy_percent`). Above 100 where pages are to be more than
   * frames.
   */
  readonly pageCountPercent: number;
}

/** The kernel's: seven eighths, five eighths, three quarters. */
export const ZCACHE_LIMITS: AdmissionLimits = {
  maxZsizePercent: 87.5,
  maxMeanZsizePercent: 62.5,
  pageCountPercent: 75,
};

/** Limits that no page meets. */
export const NO_LIMITS: AdmissionLimits = {
  maxZsizePercent: 100,
  maxMeanZsizePercent: 100,
  pageCountPercent: Number.POSITIVE_INFINITY,
};

/** Admitted: none of the refusals. */
export const ADMITTED = "admitted";
/** Compresses to more than a page may (zswap's counter; zcache's `compress_poor`). */
export const REJECT_COMPRESS_POOR = "reject_compress_poor";
/** Compresses to more than the mean may, and the mean is above it already (zcache's counter). */
export const MEAN_COMPRESS_POOR = "mean_compress_poor";
/** There are too many pages (zcache's setting; the kernel did not count these). */
export const REJECT_PAGE_COUNT = "reject_page_count";

/** The refusals, as statistics name them. */
export const REFUSALS = [REJECT_COMPRESS_POOR, MEAN_COMPRESS_POOR, REJECT_PAGE_COUNT] as const;
export type Refusal = (typeof REFUSALS)[number];

/** @throws ZcacheError ERR_OPTION naming the limit that can't be */
export function checkAdmissionLimits(limits: AdmissionLimits): void {
  for (const name of ["maxZsizePercent", "maxMeanZsizePercent", "pageCountPercent"] as const) {
    const percent = limits[name];
    const most = name === "pageCountPercent" ? Number.POSITIVE_INFINITY : 100;
    if (percent >= 0 && percent <= most) continue;
    const allowed = most === 100 ? "0 to 100" : "0 or more";
    throw new ZcacheError("ERR_OPTION", `${name} ${percent}: allowed is ${allowed}`, {
      context: { [name]: percent },
    });
  }
}

/**
 * Before a page is compressed.
 * @param pages pages that the store holds  @param framesLimit frames that it may hold
 */
export function admitCount(
  limits: AdmissionLimits,
  pages: number,
  framesLimit: number,
): typeof ADMITTED | typeof REJECT_PAGE_COUNT {
  return pages > (limits.pageCountPercent * framesLimit) / 100 ? REJECT_PAGE_COUNT : ADMITTED;
}

/**
 * After a page is compressed.
 * @param sizeBytes to how many bytes it compressed  @param pageSize bytes of a page
 * @param pages pages that the store holds  @param heldBytes what they take, all together
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
