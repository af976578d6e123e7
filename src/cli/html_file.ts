// Writing a report as a page (`--html FILE`), with the charting library in it.
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { ZcacheError } from "../base/errors.ts";
import { reasonOf } from "../node/inputs.ts";

/** Before the work, not after it: whether the page can be written at all. */
export function checkFolder(file: string): void {
  const folder = dirname(resolve(file));
  try {
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new ZcacheError("ERR_OPTION", `--html: can't write to ${folder}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** Chart.js as one script, from the package's folder; its exports do not name that file. */
export function chartLibrary(): string {
  const main = createRequire(import.meta.url).resolve("chart.js");
  const source = readFileSync(join(dirname(main), "chart.umd.min.js"), "utf8");
  return source.replace(/^\/\/# sourceMappingURL=.*$/m, "");
}

/** @throws ZcacheError ERR_IO naming the file */
export function writePage(file: string, page: string): void {
  try {
    writeFileSync(file, page);
  } catch (cause) {
    throw new ZcacheError("ERR_IO", `can't write ${file}: ${reasonOf(cause)}`, { cause });
  }
}
