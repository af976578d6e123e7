// A copy of the built program in which some functions throw and some files are missing.
import assert from "node:assert/strict";
import {
  copyFileSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/** Text of a built file, such as the head of a method, and what is put behind it. */
export type Damage = readonly [file: string, behind: string, code: string];

/** @returns the path of the copy's program */
export function damagedCopy(damages: readonly Damage[], missing: readonly string[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), "zcache-damaged-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const src = join(folder, "dist/src");
  cpSync(join(ROOT, "dist/src"), src, { recursive: true });
  copyFileSync(join(ROOT, "package.json"), join(folder, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  for (const [file, behind, code] of damages) {
    const path = join(src, file);
    const text = readFileSync(path, "utf8");
    assert.equal(text.split(behind).length, 2, `${file} has "${behind}" once`);
    writeFileSync(
      path,
      text.replace(behind, () => `${behind}\n${code}\n`),
    );
  }
  for (const file of missing) rmSync(join(src, file));
  return join(src, "cli/main.js");
}
