// Chart.js as one script, for pages that draw charts: from the package's folder, because its
// exports do not name that file.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** Source text that defines the global `Chart`. */
export function chartLibrary(): string {
  const main = createRequire(import.meta.url).resolve("chart.js");
  const source = readFileSync(join(dirname(main), "chart.umd.min.js"), "utf8");
  return source.replace(/^\/\/# sourceMappingURL=.*$/m, "");
}
