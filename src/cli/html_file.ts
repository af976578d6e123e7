// Writing a report as a page (`--html FILE`).
import { accessSync, constants, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
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

/** @throws ZcacheError ERR_IO naming the file */
export function writePage(file: string, page: string): void {
  try {
    writeFileSync(file, page);
  } catch (cause) {
    throw new ZcacheError("ERR_IO", `can't write ${file}: ${reasonOf(cause)}`, { cause });
  }
}
