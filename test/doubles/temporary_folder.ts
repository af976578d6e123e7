// A folder for the files of the tests of one file.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

/** Makes a folder that is removed after the tests. @param name what it is for */
export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `zcache-${name}-`));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
