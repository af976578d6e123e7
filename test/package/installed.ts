// The package as an application has it: from the packed tarball, in an empty folder, with its
// dependencies copied from this clone, so that no registry is needed.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
export const EXERCISE = join(ROOT, "test/package/exercise.mjs");

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** What an application must have in `node_modules` besides the package: paths from the root. */
export function runtimePackages(): string[] {
  const lock = readFileSync(join(ROOT, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(lock) as { packages: Record<string, LockedPackage> };
  const found = new Set<string>();
  const add = (from: string): void => {
    for (const name of Object.keys(packages[from]?.dependencies ?? {})) {
      // As Node looks for it: beside whoever asks, then further up.
      const nested = `${from}/node_modules/${name}`;
      const path = packages[nested] === undefined ? `node_modules/${name}` : nested;
      if (found.has(path)) continue;
      found.add(path);
      add(path);
    }
  };
  add("");
  return [...found].sort();
}

/** @returns a new folder with the package and its dependencies installed in it */
export function installTarball(): string {
  const folder = mkdtempSync(join(tmpdir(), "zcache-package-"));
  const pack = ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder];
  execFileSync("npm", pack, { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] });
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"))!;
  execFileSync("tar", ["-xzf", tarball], { cwd: folder });
  mkdirSync(join(folder, "node_modules"));
  renameSync(join(folder, "package"), join(folder, "node_modules/zcache"));
  for (const path of runtimePackages()) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(ROOT, path), join(folder, path), { recursive: true });
  }
  return folder;
}
