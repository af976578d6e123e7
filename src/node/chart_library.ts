// Chart.js as one script, for pages that draw charts. The build copies it from its package.
import { readFileSync } from "node:fs";

/** The web page's files: beside the built modules, also for sources that run unbuilt. */
export const PAGE_FOLDER = new URL(
  import.meta.url.endsWith(".ts") ? "../../dist/src/dashboard/" : "../dashboard/",
  import.meta.url,
);

/** Source text that defines the global `Chart`. */
export function chartLibrary(): string {
  return readFileSync(new URL("chart.js", PAGE_FOLDER), "utf8");
}
